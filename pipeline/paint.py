"""Stage paint: stylize the test selfies, unchanged and on all test backgrounds -> data/paint/<method>."""

from pipeline.stage import load_or_exit, path_options
from portraitist.augment.backgrounds import TEST_BACKGROUNDS
from portraitist.crop.params import CropParams
from portraitist.paint import paint_test_selfies


def main() -> None:
    """Paint the test selfies with one model; the shard size is that of the crops."""
    model, crops, masks, split, on_backgrounds, out = path_options(
        "model", "crops", "masks", "split", "on-backgrounds", "out"
    )
    shard_size = load_or_exit(CropParams, "crop").shard_size
    paint_test_selfies(
        model, crops, masks, split, on_backgrounds, out, backgrounds=TEST_BACKGROUNDS, shard_size=shard_size
    )


if __name__ == "__main__":
    main()
