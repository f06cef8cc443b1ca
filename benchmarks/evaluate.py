"""Compare CPU time and memory of our distances between sets of pictures with those of torch-fidelity.

    python -m benchmarks.evaluate --pictures 64 128 256

The distances are the Frechet and the kernel distance, on the same pictures. Each implementation runs in its own
process, which reads the picture files and computes both distances. Both implementations use EfficientNet-Lite0, because
its weights are available offline. With Inception-v3, they would differ less, because the network would take most of the
time. MB are 2^20 bytes.
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

from portraitist.evaluate.data import map_batches
from portraitist.evaluate.distances import frechet_distance
from portraitist.learning.dataset import LazyImages
from portraitist.learning.features import Lite0
from portraitist.learning.realism import kernel_distance, pooled_features
from portraitist.learning.tensors import to_images

SIDE_PX, FEATURES_PX = 256, 224
SETS = ("stylized", "portraits")


class Lite0Extractor(FeatureExtractorBase):
    """EfficientNet-Lite0 as a feature extractor of torch-fidelity, with the same resizing as ours."""

    def __init__(self, name: str, features_list: list[str], **kwargs: Any) -> None:
        super().__init__(name, features_list)
        net = Lite0(Path(kwargs["feature_extractor_weights_path"]))
        self.extract = pooled_features(net.pooled, FEATURES_PX)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        """Return the names of the layers."""
        return ("pooled",)

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        """Return the only layer."""
        return "pooled"

    @staticmethod
    def can_be_compiled() -> bool:
        """Return False."""
        return False

    @staticmethod
    def get_dummy_input_for_compile() -> Tensor:
        """Raise NotImplementedError: the extractor is not compiled."""
        raise NotImplementedError

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the features of 8-bit images."""
        return (torch.from_numpy(self.extract(images.float() / 127.5 - 1)),)


def write_pictures(folder: Path, count: int) -> None:
    """Write two sets of smooth random pictures with different statistics."""
    for index, name in enumerate(SETS):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            rng = np.random.default_rng([index, number])
            coarse = rng.integers(0, 256 - 60 * index, (6 + 2 * index, 6 + 2 * index, 3)).astype(np.float32)
            picture = cv2.resize(coarse, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC).clip(0, 255)
            Image.fromarray(picture.astype(np.uint8)).save(folder / name / f"{number:05d}.png")


def ours(folder: Path, weights: Path) -> dict[str, float]:
    """Return both distances, computed as in stage evaluate."""
    extract = pooled_features(Lite0(weights).pooled, FEATURES_PX)

    def read(paths: list[str]) -> Tensor:
        return to_images([np.array(Image.open(path)) for path in paths])

    sets = [LazyImages(sorted(map(str, (folder / name).glob("*.png"))), read) for name in SETS]
    a, b = (map_batches(extract, images).astype(np.float64) for images in sets)
    return {"frechet": frechet_distance(a, b), "kernel": kernel_distance(a, b)}


def theirs(folder: Path, weights: Path) -> dict[str, float]:
    """Return both distances of torch-fidelity, with one subset of all pictures for the kernel distance."""
    register_feature_extractor("lite0", Lite0Extractor)
    count = len(list((folder / SETS[0]).glob("*.png")))
    metrics = calculate_metrics(
        input1=str(folder / SETS[0]), input2=str(folder / SETS[1]), fid=True, kid=True, kid_subsets=1,
        kid_subset_size=count, feature_extractor="lite0", feature_extractor_weights_path=str(weights),
        feature_layer_fid="pooled", feature_layer_kid="pooled", cuda=False, cache=False, verbose=False,
        batch_size=16, save_cpu_ram=True,
    )  # fmt: skip
    return {"frechet": metrics["frechet_inception_distance"], "kernel": metrics["kernel_inception_distance_mean"]}


def measure(side: str, folder: Path, weights: Path) -> dict[str, float]:
    """Return one implementation's distances, its CPU seconds without imports, and its peak memory."""
    torch.set_num_threads(1)
    start = time.process_time()
    distances = {"ours": ours, "theirs": theirs}[side](folder, weights)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return distances | {"cpu_s": time.process_time() - start, "peak_mb": peak}


def main() -> None:
    """Print a line for each number of pictures and each implementation."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, nargs="+", default=[64, 128, 256])
    parser.add_argument("--weights", type=Path, default=Path("models/pretrained/efficientnet_lite0.pth"))
    parser.add_argument("--side", choices=("ours", "theirs"), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        print(json.dumps(measure(args.side, args.folder, args.weights)))
        return
    for count in args.pictures:
        with tempfile.TemporaryDirectory() as folder:
            write_pictures(Path(folder), count)
            for side in ("theirs", "ours"):
                command = [sys.executable, "-m", "benchmarks.evaluate", "--side", side, "--folder", folder]
                run = subprocess.run(
                    [*command, "--weights", str(args.weights)], stdout=subprocess.PIPE, text=True, check=True
                )
                result = json.loads(run.stdout.splitlines()[-1])
                print(
                    f"{count:5d} pictures  {side:6s}  Frechet {result['frechet']:.6g}  kernel {result['kernel']:.6g}  "
                    f"{result['cpu_s']:6.1f} CPU s  peak memory {result['peak_mb']:5.0f} MB",
                    flush=True,
                )


if __name__ == "__main__":
    main()
