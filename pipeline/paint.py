"""Stage paint: stylize the test selfies, unchanged and on all test backgrounds -> data/paint/<method>."""

from pipeline.stage import path_options
from portraitist.augment.backgrounds import TEST_BACKGROUNDS
from portraitist.paint import paint_test_selfies


def main() -> None:
    """Paint the test selfies with one model."""
    model, crops, masks, split, on_backgrounds, out = path_options(
        "model", "crops", "masks", "split", "on-backgrounds", "out"
    )
    paint_test_selfies(model, crops, masks, split, on_backgrounds, out, backgrounds=TEST_BACKGROUNDS)


if __name__ == "__main__":
    main()
