"""Which part of what was painted makes its distance from the portraits: light or colour, the coarse or the fine.

    python -m benchmarks.parts data/paint/cartoongan data/paint/masked_cartoongan

From a checkout where `dvc repro` has run. Each line is the foreground kernel distance (EfficientNet-Lite0) of pictures
that take one part from the painting and the rest from the selfie; the first is the selfies' own.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from portraitist.core.params import load
from portraitist.core.shards import Shards
from portraitist.evaluate._kernel import kernel
from portraitist.evaluate.params import EvaluateParams
from portraitist.evaluate.registry import foreground, pooled_features
from portraitist.learning.tensors import Images, to_images, to_pictures
from portraitist.nets.features import Lite0
from portraitist.train.batches import DatasetPaths, load_images, load_masks, split_ids

COARSE_PX = 2.0  # deviation of the Gaussian that parts the coarse from the fine


def light_and_colour(light: Images, colour: Images) -> Images:
    """The lightness of one, the colours of the other (CIELAB)."""
    mixed = []
    for one, other in zip(to_pictures(light), to_pictures(colour), strict=True):
        first, second = (cv2.cvtColor(each.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for each in (one, other))
        rgb = cv2.cvtColor(np.dstack([first[..., :1], second[..., 1:]]), cv2.COLOR_LAB2RGB)
        mixed.append((rgb.clip(0, 1) * 255).round().astype(np.uint8))
    return to_images(mixed)


def coarse(images: Images) -> Images:
    """The images without what is finer than COARSE_PX."""
    return to_images([cv2.GaussianBlur(picture, (0, 0), COARSE_PX) for picture in to_pictures(images)])


def coarse_and_fine(base: Images, detail: Images) -> Images:
    """The coarse of one, the fine of the other."""
    return (coarse(base) + detail - coarse(detail)).clamp(-1, 1)


class HeldOut:
    """The test selfies, and how far pictures of their persons are from the test portraits'."""

    def __init__(self, pooled: Callable[[Images], Tensor]) -> None:
        torch.set_num_threads(1)
        folders = DatasetPaths(*map(Path, ("data/crop", "data/mask", "data/split.csv", "data/augment/recipes.csv")))
        hung, crops = split_ids(folders, "portraits", "test"), Shards(folders.crops)
        self.ids = split_ids(folders, "selfies", "test")
        self.selfies, self.masks = load_images(crops, self.ids), load_masks(folders, self.ids)[:]
        self.features = pooled_features(pooled, load(EvaluateParams, "evaluate").features_px)
        self.portraits = self.features(foreground(load_images(crops, hung), load_masks(folders, hung)[:]))

    def painted(self, folder: Path) -> Images:
        """What stage paint has left of them."""
        return load_images(Shards(folder), self.ids)

    def told(self, name: str, images: Images) -> None:
        """A line with the distance."""
        print(f"{name:52} {kernel(self.features(foreground(images, self.masks)), self.portraits):.4f}", flush=True)


def main(painted: list[Path]) -> None:
    """A table of all parts of all methods."""
    held = HeldOut(Lite0(Path("models/pretrained/efficientnet_lite0.pth")).pooled)
    selfies, told = held.selfies, held.told
    told("selfies", selfies)
    for folder in painted:
        ours = held.painted(folder)
        told(folder.name, ours)
        told(f"{folder.name}: its light, the selfie's colour", light_and_colour(ours, selfies))
        told(f"{folder.name}: the selfie's light, its colour", light_and_colour(selfies, ours))
        told(f"{folder.name}: its coarse, the selfie's fine", coarse_and_fine(ours, selfies))
        told(f"{folder.name}: the selfie's coarse, its fine", coarse_and_fine(selfies, ours))


if __name__ == "__main__":
    main(list(map(Path, sys.argv[1:])))
