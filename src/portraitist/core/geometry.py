"""Intersection over union of boxes and of masks."""

import numpy as np
from jaxtyping import Float

from portraitist.core.types import MaskArray

Box = tuple[float, float, float, float]  # left, top, right, bottom, in pixels


def box_iou(box: Box | np.ndarray, boxes: np.ndarray) -> Float[np.ndarray, " count"]:
    """Return the intersection over union of one box (left, top, right, bottom) with each row of `boxes`."""
    box = np.asarray(box)
    inner = np.clip(np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]), 0, None).prod(axis=1)
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return inner / np.maximum((box[2] - box[0]) * (box[3] - box[1]) + areas - inner, 1e-9)


def mask_iou(mask: MaskArray, truth: MaskArray) -> float:
    """Return the intersection over union of two masks, each thresholded at 127; 1 if both are empty."""
    one, other = mask > 127, truth > 127
    union = int((one | other).sum())
    return int((one & other).sum()) / union if union else 1.0
