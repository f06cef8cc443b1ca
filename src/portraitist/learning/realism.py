"""Similarity of images to portraits, by features of EfficientNet-Lite2. No training loss uses this network.

The content loss and some discriminators use features of EfficientNet-Lite0, so a generator can overfit to these
features. EfficientNet-Lite2 reveals such overfitting, because no loss uses it. This module is used for validation
during training, and by the stages that compute metrics.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from portraitist.learning.features import lite
from portraitist.learning.tensors import Images, Masks

NAME = "EfficientNet-Lite2"
WEIGHTS_FILE = "efficientnet_lite2.pth"  # in the output folder of pipeline stage `weights`
SIZE_PX = 224  # height and width of the input, the same as for the Lite0 metrics; Lite2 itself was trained at 260 px
RIDGE = 1.0  # ridge penalty of the classifier; the variance of each standardized feature is 1

Features = Float[np.ndarray, "_ channels"]  # one row per image; sets may differ in size
Resamples = Int[np.ndarray, "draws _"]  # indices of the images in each bootstrap resample
Distances = Float[np.ndarray, "draws"]


class Lite2(nn.Module):
    """EfficientNet-Lite2, frozen; `weights` is the file with the network's weights, written by stage `weights`."""

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.net = lite(2, weights)

    def train(self, mode: bool = True) -> "Lite2":
        """Ignore `mode`: the network always stays in evaluation mode."""
        return super().train(False)

    def forward(self, images: Images) -> Float[Tensor, "batch 1280"]:
        """Return the input of EfficientNet's classification layer: 1280 features, each averaged over the image."""
        return self.net.forward_features(images).mean((2, 3))


def lite2_features(pretrained: Path, device: torch.device | str = "cpu") -> Callable[[Images], Features]:
    """Return a function from images to their EfficientNet-Lite2 features, an array (batch, 1280).

    The function takes images of any size, in [-1, 1]. Its caller must first replace the background of the images by
    grey; see `foreground`.

    Args:
        pretrained: output folder of pipeline stage `weights`.
        device: where the network runs.
    """
    return pooled_features(Lite2(pretrained / WEIGHTS_FILE).to(device), SIZE_PX, device)


def pooled_features(
    pooled: Callable[[Images], Tensor], size_px: int, device: torch.device | str = "cpu"
) -> Callable[[Images], Features]:
    """Return a function that resizes images (bicubic, antialiased) and computes their features.

    Args:
        pooled: network from images to feature vectors, (batch, channels).
        size_px: height and width to which images are resized.
        device: where the network runs.
    """

    @torch.no_grad()
    def features(images: Images) -> Features:
        images = images.to(device)
        resized = F.interpolate(images, size=size_px, mode="bicubic", antialias=True, align_corners=False)
        return pooled(resized).cpu().numpy()

    return features


def foreground(images: Images, masks: Masks) -> Images:
    """Replace the background of images by grey (value 0).

    Each pixel is either kept or becomes grey. Pixels with a mask value of at most 0.5 become grey, because pixels at
    the soft edge of a mask show some of the background.
    """
    return images * (masks > 0.5)


def kernel_distance(a: Features, b: Features) -> float:
    """Return the kernel distance between two sets of feature vectors, as in KID (Binkowski et al., ICLR 2018).

    KID is a mean over subsets of images; this function uses all images at once. It returns the unbiased estimate of the
    squared MMD with the kernel (x.y / d + 1)^3, where d is the number of features. For two sets from the same
    distribution, the estimate is 0 on average and may be slightly negative.

    Raises:
        ValueError: a set has fewer than two images.
    """
    return float(kernel_distances(a, b, np.arange(len(a))[None], np.arange(len(b))[None])[0])


def kernel_distances(a: Features, b: Features, resamples_a: Resamples, resamples_b: Resamples) -> Distances:
    """Return one kernel distance per bootstrap resample i: between `a[resamples_a[i]]` and `b[resamples_b[i]]`.

    Pairs of an image with itself or with its copies in the resample do not count, because they would make the distance
    too large. They count only if a resample consists of copies of one image. The kernel is computed only once for all
    resamples.

    Raises:
        ValueError: a set has fewer than two images.
    """
    if min(len(a), len(b)) < 2:
        raise ValueError(f"a kernel distance needs two sets of at least 2 images, found {len(a)} and {len(b)} images")
    a, b = a.astype(np.float64), b.astype(np.float64)
    counts_a, counts_b = _counts(resamples_a, len(a)), _counts(resamples_b, len(b))

    def kernel(x: Features, y: Features) -> np.ndarray:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def mean_within(x: Features, counts: np.ndarray) -> np.ndarray:
        all_pairs, squares = kernel(x, x), counts**2
        sums, n_squared = (counts @ all_pairs * counts).sum(axis=1), counts.sum(axis=1) ** 2
        pairs = n_squared - squares.sum(axis=1)
        without_copies = (sums - squares @ np.diag(all_pairs)) / np.maximum(pairs, 1)
        return np.where(pairs > 0, without_copies, sums / n_squared)

    between = (counts_a @ kernel(a, b) * counts_b).sum(axis=1) / (counts_a.sum(axis=1) * counts_b.sum(axis=1))
    return mean_within(a, counts_a) + mean_within(b, counts_b) - 2 * between


def _counts(resamples: Resamples, images: int) -> Float[np.ndarray, "draws images"]:
    """Return the number of times that each resample (row) contains each image (column)."""
    return np.stack([np.bincount(resample, minlength=images) for resample in resamples]).astype(np.float64)


@dataclass(frozen=True)
class PortraitClassifier:
    """A linear classifier that tells portraits from selfies by their feature vectors.

    Attributes:
        mean: mean of each feature over the training pictures.
        deviation: standard deviation of each feature over the training pictures.
        weights: coefficient of each feature, after `mean` is subtracted and the result is divided by `deviation`.
    """

    mean: Float[np.ndarray, " channels"]
    deviation: Float[np.ndarray, " channels"]
    weights: Float[np.ndarray, " channels"]

    @classmethod
    def fit(cls, selfies: Features, portraits: Features) -> "PortraitClassifier":
        """Fit a classifier by ridge regression, with target -1 for selfies and 1 for portraits.

        Selfies and portraits have the same total weight, even if their numbers differ.

        Raises:
            ValueError: a set has fewer than two images.
        """
        if min(len(selfies), len(portraits)) < 2:
            raise ValueError(
                f"the classifier needs at least 2 selfies and 2 portraits for training, found {len(selfies)} selfies "
                f"and {len(portraits)} portraits"
            )
        features = np.concatenate([selfies, portraits]).astype(np.float64)
        targets = np.repeat([-1.0, 1.0], [len(selfies), len(portraits)])
        importance = np.repeat([0.5 / len(selfies), 0.5 / len(portraits)], [len(selfies), len(portraits)])
        mean = importance @ features
        deviation = np.sqrt(importance @ (features - mean) ** 2).clip(1e-6)
        standardized = (features - mean) / deviation
        weighted = standardized * importance[:, None]
        channels = features.shape[1]
        weights = np.linalg.solve(weighted.T @ standardized + RIDGE * np.eye(channels), weighted.T @ targets)
        return cls(mean, deviation, weights)

    def is_portrait(self, features: Features) -> Bool[np.ndarray, " _"]:
        """Return, for each row of `features`, whether its image is classified as a portrait."""
        return (features - self.mean) / self.deviation @ self.weights > 0

    def rate(self, features: Features) -> float:
        """Return the share of images that are classified as portraits, in [0, 1]."""
        return float(self.is_portrait(features).mean())
