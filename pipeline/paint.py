"""Stage paint: stylize each test selfie, on its own background and on each test background -> data/paint/<method>."""

from pipeline.stage import load_or_exit, path_options
from portraitist.augment.backgrounds import TEST_BACKGROUNDS
from portraitist.learning.params import PaintParams
from portraitist.paint import paint_test_selfies


def main() -> None:
    """Stylize the test selfies with the model of one method."""
    paths = path_options("model", "crops", "masks", "split", "on-backgrounds", "pretrained", "out")
    paint_test_selfies(*paths, style=load_or_exit(PaintParams, "paint").style, backgrounds=TEST_BACKGROUNDS)


if __name__ == "__main__":
    main()
