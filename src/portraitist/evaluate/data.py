"""The inputs of the metrics: images, masks and feature networks. Images are decoded in batches, to limit memory."""

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

BATCH_SIZE = 16  # images in memory at a time, for sets of any size

ImageSet = Literal["stylized", "selfies", "portraits", "training_selfies", "training_portraits"]
Pixels = Literal["person on grey", "whole picture"]

MASKS_OF: dict[ImageSet, str] = {
    "stylized": "masks",
    "selfies": "masks",
    "portraits": "portrait_masks",
    "training_selfies": "training_selfie_masks",
    "training_portraits": "training_portrait_masks",
}


@runtime_checkable
class ImageSequence(Protocol):
    """A sequence of images or masks that are loaded on slicing, or a tensor."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Tensor: ...


@dataclass(frozen=True)
class Network:
    """A feature network and the details that are stored with every value computed from it.

    Attributes:
        features: maps a batch of images to pooled features.
        details: network name, preprocessing ("resize") and library versions.
    """

    features: Callable[[Images], Features]
    details: dict[str, str]


@dataclass(frozen=True)
class EvaluationData:
    """The stylized test selfies of one method, and the images that they are compared with.

    Attributes:
        masks: masks of the selfies; exact ones if all are known, otherwise the pipeline's.
        on_backgrounds: for each test background, all selfies stylized on that background.
        portraits: the test portraits; no method was trained on them.
        segmenter: the U-Net of stage train_mask.
        find_face: returns the largest face of a picture, or None.
        crop_params: position and size of the face in a crop.
        networks: feature networks by name: lite0, lite2, inception, identity.
        cost: gflop and megabytes of one avatar.
        bootstrap: number of resamples for each interval.
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
        """Return the result of `compute()`, which is called once per key."""
        if key not in self.cache:
            self.cache[key] = compute()
        return self.cache[key]

    def features(self, network: str, image_set: ImageSet, pixels: Pixels) -> Features:
        """Return a network's features of one set of images, computed once."""
        extract = self.networks[network].features

        def features(images: Images, masks: Masks) -> Features:
            return extract(foreground(images, masks) if pixels == "person on grey" else images)

        images, masks = getattr(self, image_set), getattr(self, MASKS_OF[image_set])
        return self.cached(
            (network, image_set, pixels), lambda: map_batches(features, images, masks).astype(np.float64)
        )

    def resamples(self, count: int, of: Literal["faces", "portraits"] = "faces") -> Resamples:
        """Return the bootstrap resamples of `count` images; they are the same for every metric and method (paired)."""
        rng = np.random.default_rng([self.seed, 0 if of == "faces" else 1])
        return rng.integers(count, size=(self.bootstrap, count))


def map_batches(function: Callable[..., np.ndarray], *sequences: ImageSequence) -> np.ndarray:
    """Apply a function to aligned batches of all sequences and concatenate the results."""
    starts = range(0, len(sequences[0]), BATCH_SIZE)
    return np.concatenate(
        [function(*(sequence[start : start + BATCH_SIZE] for sequence in sequences)) for start in starts]
    )


def predict_masks(segmenter: nn.Module) -> Callable[[Images], Masks]:
    """Return a function that predicts masks in evaluation mode, without gradients."""

    @torch.no_grad()
    def masks(images: Images) -> Masks:
        return torch.cat([segmenter.eval()(batch) for batch in images.split(BATCH_SIZE)])

    return masks
