"""Validation during training, on the stylized validation selfies.

Two metrics are measured. The painted rate is the share of stylized selfies that a classifier recognizes as portraits.
The kernel distance is a distance between the stylized selfies and the validation portraits; lower is better. See
learning/realism.py.
"""

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
MIN_PICTURES = 3  # fewest selfies, and fewest portraits, in the validation part
CHUNK = 8  # pictures that are processed at the same time


class Validator:
    """Measure a method on the validation selfies, and record the epoch with the lowest kernel distance.

    The classifier of the painted rate is fitted once, to the selfies and portraits of the train part. Backgrounds are
    replaced by grey before features are computed.

    Args:
        paths: the dataset.
        features: function from images in [-1, 1] to feature vectors, computed by a network that no training uses.
        params: when to validate, and whether to select weights by the result.

    Raises:
        ParamsError: the validation part has fewer than 3 selfies or fewer than 3 portraits.
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
        self.best: dict[str, Any] | None = None  # of the best epoch: `epoch`, `distance` and, if select=best, `weights`

    def due(self, epoch: int) -> bool:
        """Return whether to validate after this epoch, counted from 1. The last epoch is always validated."""
        return epoch % self.params.validate_every == 0 or epoch == self.params.epochs

    def measure(self, method: Method, epoch: int) -> dict[str, float]:
        """Return a dictionary with the painted rate and the kernel distance of the method, and update `best`.

        The best epoch is the first epoch with the lowest kernel distance. Validation does not change the training:
        validation may draw random numbers, but each training step sets its own seed.
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
        """Return whether the best epoch was at least `train.patience` epochs ago; False if patience is 0."""
        return bool(self.params.patience and self.best and epoch - self.best["epoch"] >= self.params.patience)

    def load_selected(self, trainable: Trainable) -> int | None:
        """Load the weights of the best epoch, and return the epoch's number.

        If `train.select` is "last", load nothing and return None.
        """
        if not self.best or "weights" not in self.best:
            return None
        trainable.load_saved_state(self.best["weights"])
        return int(self.best["epoch"])

    @cached_property
    def classifier(self) -> PortraitClassifier:
        """The classifier that tells portraits from selfies, fitted to the train part."""
        return PortraitClassifier.fit(
            self._part_features("selfies", "train"), self._part_features("portraits", "train")
        )

    @cached_property
    def portraits(self) -> Features:
        """The feature vectors of the validation portraits."""
        return self._part_features("portraits", "validation")

    def _part_features(self, kind: Kind, part: str) -> Features:
        return self._features(manifest.split_ids(self.paths.split, kind, part))

    def _features(self, ids: list[str], change: Callable[[Images, Masks], Images] | None = None) -> Features:
        """Return the feature vectors of pictures with a grey background, one row per picture.

        Args:
            ids: ids of the pictures.
            change: function from images and masks to changed images. It is applied before backgrounds become grey.
        """
        rows = []
        for first in range(0, len(ids), CHUNK):
            chunk = ids[first : first + CHUNK]
            images, masks = load_images(self.crops, chunk), load_mask_members(self.masks, chunk)
            rows.append(self.features(foreground(change(images, masks) if change else images, masks)))
        return np.concatenate(rows)


def make_validator(
    paths: DatasetPaths, pretrained: Path, params: TrainParams, device: torch.device
) -> Validator | None:
    """Return the validator of a training; None if the training runs without validation.

    A training runs without validation if `train.validate_every` is 0. It also runs without validation if there are too
    few validation pictures, and neither `train.select` nor `train.patience` needs them; then a warning is printed to
    stderr.

    Raises:
        ParamsError: there are too few validation pictures, but `train.select` or `train.patience` needs them.
    """
    if not params.validate_every:
        return None
    try:
        return Validator(paths, lite2_features(pretrained, device), params)
    except ParamsError as error:
        if params.select == "best" or params.patience:
            raise
        print(f"training continues without validation: {error}", file=sys.stderr)
        return None
