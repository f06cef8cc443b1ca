"""Keep dark areas of a selfie dark in its painting.

The generator normalizes the contrast of its features. If much of the person is nearly black, such as dark hair, it
paints these areas grey, blue or brown, without depth.
"""

import cv2
import numpy as np
from jaxtyping import Float32

from portraitist.core.types import SquareMaskArray, SquarePicture

# Mean brightness in the selfie, 0 to 255: areas up to BLACK are corrected completely, areas from DARK on are not.
BLACK, DARK = 16.0, 48.0
MARGIN = 8.0  # a corrected area is brighter than in the selfie by at most this value
GRID, SIGMA = 128, 0.012  # side in pixels at which means are computed; sigma as a fraction of the side


def with_shadows(painting: SquarePicture, selfie: SquarePicture, mask: SquareMaskArray) -> SquarePicture:
    """Darken the areas of a painted person that are nearly black in the selfie, but not in the painting.

    Red, green and blue are multiplied by the same factor, so that hues and strokes do not change.

    Args:
        painting: the painted crop.
        selfie: the crop before it was painted.
        mask: mask of the person; pixels where it is 0 are not changed.
    """
    grid, side = min(GRID, mask.shape[0]), mask.shape[0]
    weights = cv2.resize(mask, (grid, grid), interpolation=cv2.INTER_AREA).astype(np.float32) / 255 + np.float32(1e-3)
    original, painted = (_mean_brightness(picture, weights) for picture in (selfie, painting))
    strength = ((DARK - original) / (DARK - BLACK)).clip(0, 1)
    factor = 1 - strength * (1 - ((original + MARGIN) / np.maximum(painted, 1)).clip(0, 1))
    if factor.min() == 1:
        return painting
    factor = cv2.resize(factor, (side, side), interpolation=cv2.INTER_LINEAR)
    factor[mask == 0] = 1
    return np.rint(painting * factor[..., None]).astype(np.uint8)


def _mean_brightness(picture: SquarePicture, weights: Float32[np.ndarray, "grid grid"]) -> np.ndarray:
    """Return the weighted mean brightness around each pixel of a grid, 0 to 255."""
    grid = weights.shape[0]
    grey = cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (grid, grid), interpolation=cv2.INTER_AREA)
    sigma = SIGMA * grid
    return cv2.GaussianBlur(grey * weights, (0, 0), sigma) / cv2.GaussianBlur(weights, (0, 0), sigma)
