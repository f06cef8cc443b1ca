"""Intersection over union of masks."""

import numpy as np
from jaxtyping import Float

from portraitist.learning.tensors import Masks


def overlaps(masks: Masks, truths: Masks) -> Float[np.ndarray, "batch"]:
    """Of each pair, both cut at one half."""
    seen, given = masks > 0.5, truths > 0.5
    shared = (seen & given).sum((1, 2, 3)).double()
    return (shared / (seen | given).sum((1, 2, 3)).clamp(min=1)).cpu().numpy()
