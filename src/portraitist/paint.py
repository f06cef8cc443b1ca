"""Squares painted by a method in torch: what stage `paint` does, and what an exported model is held against."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from portraitist.core.types import MaskArray, Picture
from portraitist.learning.tensors import to_images, to_masks, to_pictures
from portraitist.methods.base import Method
from portraitist.train.checkpoint import CheckpointError, load_checkpoint

AT_ONCE = 16  # pictures painted in one go


def load_method(path: Path) -> tuple[Method, dict[str, Any]]:
    """A method's checkpoint, ready to paint, and what was said about it. From now on torch reckons with one thread.

    Raises:
        CheckpointError: As `open_learner`, or what was trained does not paint.
    """
    torch.set_num_threads(1)  # fixed, for sums depend on it: equal bytes with any number of cores
    learner, about = load_checkpoint(path)
    if not isinstance(learner, Method):
        raise CheckpointError(f"{path}: holds {about['method']}, which does not paint")
    return learner, about


def paint_crops(painter: Method, pictures: Sequence[Picture], masks: Sequence[MaskArray]) -> list[Picture]:
    """Crops with their masks, painted."""
    painted: list[Picture] = []
    for start in range(0, len(pictures), AT_ONCE):
        now = slice(start, start + AT_ONCE)
        painted += to_pictures(painter.paint(to_images(list(pictures[now])), to_masks(list(masks[now]))))
    return painted
