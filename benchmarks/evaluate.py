"""Time and memory of our distances beside torch-fidelity's, on the same pictures and the same network.

    python -m benchmarks.evaluate --pictures 64 128 256

Each side in a process of its own: pictures from disk to the two numbers. The network is EfficientNet-Lite0 on both
sides, for its weights are at hand; with Inception-v3's the ratio is nearer 1, for the network is all that takes time.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch_fidelity import calculate_metrics, register_feature_extractor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase

from portraitist.evaluate._frechet import frechet
from portraitist.evaluate._kernel import kernel
from portraitist.evaluate.registry import by_parts, pooled_features
from portraitist.learning.tensors import to_images
from portraitist.nets.features import Lite0
from portraitist.train.batches import LazyImages

SIDE_PX, FEATURES_PX = 256, 224
SETS = ("painted", "portraits")


class Theirs(FeatureExtractorBase):
    """EfficientNet-Lite0 as torch-fidelity takes a network; the same resize as ours."""

    def __init__(self, name: str, features_list: list[str], **kwargs: Any) -> None:
        super().__init__(name, features_list)
        self.see = pooled_features(Lite0(Path(kwargs["feature_extractor_weights_path"])).pooled, FEATURES_PX)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        """The one layer there is."""
        return ("pooled",)

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        """That one."""
        return "pooled"

    @staticmethod
    def can_be_compiled() -> bool:
        """No."""
        return False

    @staticmethod
    def get_dummy_input_for_compile() -> Tensor:
        """None is compiled."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Bytes to features."""
        return (torch.from_numpy(self.see(images.float() / 127.5 - 1)),)


def draw(folder: Path, count: int) -> None:
    """Two sets of pictures, soft blots of two kinds."""
    for place, name in enumerate(SETS):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            rng = np.random.default_rng([place, number])
            coarse = rng.integers(0, 256 - 60 * place, (6 + 2 * place, 6 + 2 * place, 3)).astype(np.float32)
            picture = cv2.resize(coarse, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC).clip(0, 255)
            Image.fromarray(picture.astype(np.uint8)).save(folder / name / f"{number:05d}.png")


def ours(folder: Path, weights: Path) -> dict[str, float]:
    """Pictures to numbers, as stage evaluate does it."""
    see = pooled_features(Lite0(weights).pooled, FEATURES_PX)

    def read(paths: list[str]) -> Tensor:
        return to_images([np.array(Image.open(path)) for path in paths])

    sets = [LazyImages(sorted(map(str, (folder / name).glob("*.png"))), read) for name in SETS]
    one, other = (by_parts(see, images).astype(np.float64) for images in sets)
    return {"frechet": frechet(one, other), "kernel": kernel(one, other)}


def theirs(folder: Path, weights: Path) -> dict[str, float]:
    """Pictures to numbers by torch-fidelity, its subsets one of all pictures."""
    register_feature_extractor("lite0", Theirs)
    count = len(list((folder / SETS[0]).glob("*.png")))
    found = calculate_metrics(
        input1=str(folder / SETS[0]), input2=str(folder / SETS[1]), fid=True, kid=True, kid_subsets=1,
        kid_subset_size=count, feature_extractor="lite0", feature_extractor_weights_path=str(weights),
        feature_layer_fid="pooled", feature_layer_kid="pooled", cuda=False, cache=False, verbose=False,
        batch_size=16, save_cpu_ram=True,
    )  # fmt: skip
    return {"frechet": found["frechet_inception_distance"], "kernel": found["kernel_inception_distance_mean"]}


def timed(side: str, folder: Path, weights: Path) -> dict[str, float]:
    """One side's numbers, CPU seconds and peak memory, without what it takes to begin."""
    torch.set_num_threads(1)
    start = time.process_time()
    found = {"ours": ours, "theirs": theirs}[side](folder, weights)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found | {"cpu_s": time.process_time() - start, "peak_mb": peak}


def main() -> None:
    """A line for each number of pictures and side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--weights", type=Path, default=Path("models/pretrained/efficientnet_lite0.pth"))
    parser.add_argument("--side", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.side:
        print(json.dumps(timed(told.side, told.folder, told.weights)))
        return
    for count in told.pictures:
        with tempfile.TemporaryDirectory() as folder:
            draw(Path(folder), count)
            for side in ("theirs", "ours"):
                command = [sys.executable, "-m", "benchmarks.evaluate", "--side", side, "--folder", folder]
                ran = subprocess.run(
                    [*command, "--weights", str(told.weights)], stdout=subprocess.PIPE, text=True, check=True
                )
                found = json.loads(ran.stdout.splitlines()[-1])
                print(
                    f"{count:5d} pictures  {side:6s}  Frechet {found['frechet']:.6g}  kernel {found['kernel']:.6g}  "
                    f"{found['cpu_s']:6.1f} CPU s  {found['peak_mb']:5.0f} MB at most",
                    flush=True,
                )


if __name__ == "__main__":
    main()
