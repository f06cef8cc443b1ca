"""Find out which components of an avatar reduce its distance from portraits: lightness or colour, coarse or fine.

    python -m benchmarks.parts data/paint/cartoongan data/paint/masked_cartoongan

Run the command in a checkout in which `dvc repro` has run. The first line is the distance of the unchanged selfies from
the portraits. Each further line is the distance of images that combine one component of the avatar with the other
component of the selfie. The distance is the kernel distance of the persons, on features of EfficientNet-Lite0; lower is
better.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from benchmarks.paths import DATASET
from portraitist.core.params import load
from portraitist.core.shards import Shards
from portraitist.evaluate.params import EvaluateParams
from portraitist.learning.dataset import load_images, load_masks, split_ids
from portraitist.learning.features import Lite0
from portraitist.learning.realism import foreground, kernel_distance, pooled_features
from portraitist.learning.tensors import Images, to_images, to_pictures

SIGMA_PX = 2.0  # of the Gaussian that separates coarse and fine components


def combine_lightness_and_colour(lightness: Images, colour: Images) -> Images:
    """Return images with the lightness of one set and the colours of the other (CIELAB)."""
    combined = []
    for pair in zip(to_pictures(lightness), to_pictures(colour), strict=True):
        first, second = (cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for picture in pair)
        rgb = cv2.cvtColor(np.dstack([first[..., :1], second[..., 1:]]), cv2.COLOR_LAB2RGB)
        combined.append((rgb.clip(0, 1) * 255).round().astype(np.uint8))
    return to_images(combined)


def coarse(images: Images) -> Images:
    """Return the images blurred by a Gaussian of SIGMA_PX."""
    return to_images([cv2.GaussianBlur(picture, (0, 0), SIGMA_PX) for picture in to_pictures(images)])


def combine_coarse_and_fine(base: Images, detail: Images) -> Images:
    """Return the coarse component of one set plus the fine component of the other."""
    return (coarse(base) + detail - coarse(detail)).clamp(-1, 1)


class HeldOutSet:
    """The test selfies, and the distance between stylized selfies and the test portraits, persons only."""

    def __init__(self, pooled: Callable[[Images], Tensor]) -> None:
        torch.set_num_threads(1)
        portraits, crops = split_ids(DATASET, "portraits", "test"), Shards(DATASET.crops)
        self.ids = split_ids(DATASET, "selfies", "test")
        self.selfies, self.masks = load_images(crops, self.ids), load_masks(DATASET, self.ids)[:]
        self.features = pooled_features(pooled, load(EvaluateParams, "evaluate").features_px)
        self.portraits = self.features(foreground(load_images(crops, portraits), load_masks(DATASET, portraits)[:]))

    def stylized(self, folder: Path) -> Images:
        """Load the stylized test selfies from an output folder of stage paint."""
        return load_images(Shards(folder), self.ids)

    def print_distance(self, name: str, images: Images) -> None:
        """Print the kernel distance of the persons in `images` from those of the portraits."""
        distance = kernel_distance(self.features(foreground(images, self.masks)), self.portraits)
        print(f"{name:52} {distance:.4f}", flush=True)


def main(folders: list[Path]) -> None:
    """Print the distance of each combination for each method."""
    held_out = HeldOutSet(Lite0(Path("models/pretrained/efficientnet_lite0.pth")).pooled)
    selfies, report = held_out.selfies, held_out.print_distance
    report("selfies", selfies)
    for folder in folders:
        name, stylized = folder.name, held_out.stylized(folder)
        report(name, stylized)
        report(f"{name}: lightness of avatar, colour of selfie", combine_lightness_and_colour(stylized, selfies))
        report(f"{name}: lightness of selfie, colour of avatar", combine_lightness_and_colour(selfies, stylized))
        report(f"{name}: coarse of avatar, fine of selfie", combine_coarse_and_fine(stylized, selfies))
        report(f"{name}: coarse of selfie, fine of avatar", combine_coarse_and_fine(selfies, stylized))


if __name__ == "__main__":
    main(list(map(Path, sys.argv[1:])))
