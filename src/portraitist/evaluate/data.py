"""The inputs of all metrics: images, masks and feature networks. Images are loaded in batches, to limit memory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from portraitist.core.types import Picture
from portraitist.crop.geometry import Face
from portraitist.crop.params import CropParams
from portraitist.learning.realism import Features, Resamples, foreground
from portraitist.learning.tensors import Images, Masks

BATCH_SIZE = 16  # images of each set that are in memory at the same time

ImageSet = Literal["stylized", "selfies", "portraits", "training_selfies", "training_portraits"]
Pixels = Literal["person on grey", "whole picture"]  # whether the background is replaced by grey before comparison

MASKS_OF: dict[ImageSet, str] = {
    "stylized": "masks",
    "selfies": "masks",
    "portraits": "portrait_masks",
    "training_selfies": "training_selfie_masks",
    "training_portraits": "training_portrait_masks",
}


@runtime_checkable
class ImageSequence(Protocol):
    """A sequence of images or masks: a tensor, or an object that loads them when it is sliced."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Tensor: ...


@dataclass(frozen=True)
class Network:
    """A feature network, and the details that are stored with each metric computed from it.

    Attributes:
        features: function from a batch of images in [-1, 1] to feature vectors, (batch, channels).
        details: name of the network ("network"), size and method of resizing ("resize"), and library versions
            ("version").
    """

    features: Callable[[Images], Features]
    details: dict[str, str]


@dataclass(frozen=True)
class EvaluationData:
    """The stylized test selfies of one method, and all images with which they are compared.

    Attributes:
        ids: ids of the test selfies; `selfies`, `masks`, `stylized` and each of `on_backgrounds` have the same order.
        selfies: the unchanged test selfies.
        masks: masks of the persons in the selfies, as `load_masks` returns them.
        stylized: the selfies as stylized by the method.
        on_backgrounds: one sequence for each of the eight test backgrounds. It contains the stylized images of all
            selfies on this background.
        portraits: the test portraits; no method was trained on them.
        portrait_masks: masks of the persons in `portraits`.
        training_selfies: the selfies in the train part.
        training_selfie_masks: masks of the persons in `training_selfies`.
        training_portraits: the portraits in the train part.
        training_portrait_masks: masks of the persons in `training_portraits`.
        segmenter: the U-Net of stage `train_mask`; it predicts the masks of images.
        find_face: function that returns the largest face in a picture, or None.
        crop_params: position and size of the face in a crop.
        networks: feature networks, by name: "lite0", "lite2", and if available "inception" and "identity".
        cost: cost of one avatar, with keys "gflop" and "megabytes".
        bootstrap: number of bootstrap resamples for each interval.
        seed: seed of the resamples.
        cache: intermediate results that several metrics use.
    """

    ids: list[str]
    selfies: ImageSequence
    masks: ImageSequence
    stylized: ImageSequence
    on_backgrounds: list[ImageSequence]
    portraits: ImageSequence
    portrait_masks: ImageSequence
    training_selfies: ImageSequence
    training_selfie_masks: ImageSequence
    training_portraits: ImageSequence
    training_portrait_masks: ImageSequence
    segmenter: Callable[[Images], Masks]
    find_face: Callable[[Picture], Face | None]
    crop_params: CropParams
    networks: Mapping[str, Network]
    cost: Mapping[str, float]
    bootstrap: int
    seed: int
    cache: dict[Any, Any] = field(default_factory=dict)

    def cached(self, key: Any, compute: Callable[[], Any]) -> Any:
        """Return the result of `compute()`; call it only once for each key."""
        if key not in self.cache:
            self.cache[key] = compute()
        return self.cache[key]

    def features(self, network: str, image_set: ImageSet, pixels: Pixels) -> Features:
        """Return the feature vectors of a set of images, one row per image; they are computed only once.

        Args:
            network: name of the feature network.
            image_set: the set of images: "stylized" selects the images in the attribute `stylized`, and so on.
            pixels: "person on grey" replaces the background by grey first; "whole picture" does not.
        """
        extract = self.networks[network].features

        def features(images: Images, masks: Masks) -> Features:
            return extract(foreground(images, masks) if pixels == "person on grey" else images)

        images, masks = getattr(self, image_set), getattr(self, MASKS_OF[image_set])
        return self.cached(
            (network, image_set, pixels), lambda: map_batches(features, images, masks).astype(np.float64)
        )

    def resamples(self, count: int, of: Literal["faces", "portraits"] = "faces") -> Resamples:
        """Return bootstrap resamples of `count` images, as indices: an array (number of resamples, `count`).

        The resamples are the same for all metrics and methods, so that methods are compared on the same faces.

        Args:
            count: number of images.
            of: what the images are. Faces and portraits are resampled with different seeds.
        """
        rng = np.random.default_rng([self.seed, 0 if of == "faces" else 1])
        return rng.integers(count, size=(self.bootstrap, count))


def map_batches(function: Callable[..., np.ndarray], *sequences: ImageSequence) -> np.ndarray:
    """Apply a function to batches of sequences, and concatenate the results.

    Args:
        function: is called with one batch from each sequence, as positional arguments. All batches cover the same
            indices. It returns an array with one row for each index.
        sequences: sequences of equal length.
    """
    starts = range(0, len(sequences[0]), BATCH_SIZE)
    return np.concatenate(
        [function(*(sequence[start : start + BATCH_SIZE] for sequence in sequences)) for start in starts]
    )


def predict_masks(segmenter: nn.Module) -> Callable[[Images], Masks]:
    """Return a function from images to masks. It runs the segmenter in evaluation mode, without gradients."""

    @torch.no_grad()
    def masks(images: Images) -> Masks:
        return torch.cat([segmenter.eval()(batch) for batch in images.split(BATCH_SIZE)])

    return masks
