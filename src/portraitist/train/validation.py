"""Validation during training: painted rate of the stylized validation selfies, and distance from the portraits."""

import sys
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from portraitist.core import manifest
from portraitist.core.manifest import Kind
from portraitist.core.params import ParamsError
from portraitist.core.shards import Shards
from portraitist.learning.dataset import DatasetPaths, load_images, load_mask_members
from portraitist.learning.method import Method, Trainable
from portraitist.learning.realism import Features, PortraitClassifier, foreground, kernel_distance, lite2_features
from portraitist.learning.tensors import Images, Masks
from portraitist.train.params import TrainParams

PAINTED_RATE, KERNEL_DISTANCE = "validation_painted_rate", "validation_kernel_distance"
MIN_PICTURES = 3  # selfies, and as many portraits
CHUNK = 8  # pictures that are in memory at the same time


class Validator:
    """Measure a method on the validation selfies, and record the epoch with the lowest kernel distance.

    The classifier of the painted rate is fitted to the training part once. The kernel distance compares with the
    validation portraits. Both use persons on grey.

    Args:
        paths: the dataset.
        features: features of images in [-1, 1], by a network that no training uses.
        params: when to validate, and what to do with the result.

    Raises:
        ParamsError: the validation part has fewer than MIN_PICTURES of a kind.
    """

    def __init__(self, paths: DatasetPaths, features: Callable[[Images], Features], params: TrainParams) -> None:
        self.paths, self.features, self.params = paths, features, params
        self.crops, self.masks = Shards(paths.crops), Shards(paths.masks)
        self.selfies = manifest.split_ids(paths.split, "selfies", "validation")
        portraits = manifest.split_ids(paths.split, "portraits", "validation")
        if min(len(self.selfies), len(portraits)) < MIN_PICTURES:
            raise ParamsError(
                f"{paths.split}: {len(self.selfies)} selfies and {len(portraits)} portraits in part 'validation'; "
                f"train.validate_every needs {MIN_PICTURES} of each: add pictures, increase split.validation, or set "
                "train.validate_every=0"
            )
        self.best: dict[str, Any] | None = None  # epoch, distance and, if they may be selected, weights

    def due(self, epoch: int) -> bool:
        """Return whether to validate after this epoch, which may be the last one."""
        return epoch % self.params.validate_every == 0 or epoch == self.params.epochs

    def measure(self, method: Method, epoch: int) -> dict[str, float]:
        """Return both metrics of the method, and update `best`; of equal distances, the earlier epoch is better.

        Random draws of `paint` do not influence the training, which seeds each step.
        """
        device = next(method.parameters()).device

        def painted(images: Images, masks: Masks) -> Images:
            return method.paint(images.to(device), masks.to(device)).cpu()

        features = self._features(self.selfies, painted)
        distance = kernel_distance(features, self.portraits)
        if self.best is None or distance < self.best["distance"]:
            self.best = {"epoch": epoch, "distance": distance}
            if self.params.select == "best":
                self.best["weights"] = {
                    module: {key: value.detach().cpu().clone() for key, value in weights.items()}
                    for module, weights in method.saved_state().items()
                }
        return {PAINTED_RATE: self.classifier.rate(features), KERNEL_DISTANCE: distance}

    def is_stalled(self, epoch: int) -> bool:
        """Return whether the best epoch was `train.patience` or more epochs ago."""
        return bool(self.params.patience and self.best and epoch - self.best["epoch"] >= self.params.patience)

    def load_selected(self, trainable: Trainable) -> int | None:
        """Load the weights of the best epoch and return its number; None, without loading, if `select` is `last`."""
        if not self.best or "weights" not in self.best:
            return None
        trainable.load_saved_state(self.best["weights"])
        return int(self.best["epoch"])

    @cached_property
    def classifier(self) -> PortraitClassifier:
        """The classifier of selfies and portraits, fitted to the training part."""
        return PortraitClassifier.fit(
            self._part_features("selfies", "train"), self._part_features("portraits", "train")
        )

    @cached_property
    def portraits(self) -> Features:
        """The features of the validation portraits."""
        return self._part_features("portraits", "validation")

    def _part_features(self, kind: Kind, part: str) -> Features:
        return self._features(manifest.split_ids(self.paths.split, kind, part))

    def _features(self, ids: list[str], change: Callable[[Images, Masks], Images] | None = None) -> Features:
        """Return the features of persons on grey, one row per picture; `change` is applied to the images first."""
        rows = []
        for first in range(0, len(ids), CHUNK):
            chunk = ids[first : first + CHUNK]
            images, masks = load_images(self.crops, chunk), load_mask_members(self.masks, chunk)
            rows.append(self.features(foreground(change(images, masks) if change else images, masks)))
        return np.concatenate(rows)


def make_validator(
    paths: DatasetPaths, pretrained: Path, params: TrainParams, device: torch.device
) -> Validator | None:
    """Return the validator of a training; None if `train.validate_every` is 0.

    With too few validation pictures, training continues without validation, after a warning on stderr.

    Raises:
        ParamsError: there are too few pictures, but the weights or the last epoch depend on validation.
    """
    if not params.validate_every:
        return None
    try:
        return Validator(paths, lite2_features(pretrained, device), params)
    except ParamsError as error:
        if params.select == "best" or params.patience:
            raise
        print(f"no validation: {error}", file=sys.stderr)
        return None
