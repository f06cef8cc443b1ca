"""Remove fine patterns from the paintings of blurred selfies.

Where a selfie is blurred, the generator amplifies its weak contrast to patterns with a period of about 6 pixels, which
look like a mesh or a comb. Strokes along details of the selfie are kept.
"""

import cv2
import numpy as np
from jaxtyping import Float32

from portraitist.core.types import SquareMaskArray, SquarePicture

FINE = 2.5  # fine structures are what a Gaussian blur with this standard deviation (pixels) removes
WINDOW = 17  # side in pixels of the square window in which their contrast is measured
MAX_AMPLIFICATION = 2.5  # largest contrast of fine structures in the painting, as a multiple of that in the selfie
EPSILON = 1e-6  # prevents a division by 0

Plane = Float32[np.ndarray, "side side"]


def without_mesh(painting: SquarePicture, selfie: SquarePicture, mask: SquareMaskArray, weight: float) -> SquarePicture:
    """Reduce the fine structures of a painted person where they are much stronger than the selfie's.

    Args:
        painting: the painted crop.
        selfie: the crop before it was painted.
        mask: above 0 where the person is; the rest of the painting is not changed, and does not count.
        weight: strength of the correction, from 0 (none) to 1.
    """
    if weight == 0 or not mask.any():
        return painting
    person = (mask > 0).astype(np.float32)
    fine = _fine_structures(painting, person)
    variances = [_variance(each, person) for each in (_fine_structures(selfie, person), fine)]
    kept = cv2.min(MAX_AMPLIFICATION * cv2.sqrt(variances[0] / (variances[1] + EPSILON)), 1.0)
    return np.rint(painting - (weight * (1 - kept) * person)[..., None] * fine).clip(0, 255).astype(np.uint8)


def _fine_structures(picture: SquarePicture, person: Plane) -> Float32[np.ndarray, "side side 3"]:
    """Return the difference between each pixel and the local mean of the person."""
    total = cv2.GaussianBlur(person, (0, 0), FINE)[..., None]
    mean = cv2.GaussianBlur(picture * person[..., None], (0, 0), FINE) / (total + EPSILON)
    return picture - mean


def _variance(fine: Float32[np.ndarray, "side side 3"], person: Plane) -> Plane:
    """Return the local mean of the squares of fine structures, over all channels and the person's pixels."""
    squares = cv2.multiply(cv2.transform(cv2.multiply(fine, fine), np.full((1, 3), 1 / 3, np.float32)), person)
    size = (WINDOW, WINDOW)
    return cv2.max(cv2.blur(squares, size), 0.0) / (cv2.blur(person, size) + EPSILON)  # rounding can make 0 negative
