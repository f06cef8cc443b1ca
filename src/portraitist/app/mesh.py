"""Remove fine patterns from the paintings of blurred selfies.

If a selfie's face is blurred (out of focus, or enlarged), the generator turns weak contrast into patterns with a period
of about 6 pixels, which look like a mesh or a comb. Strokes along details of the selfie are kept.
"""

import cv2
import numpy as np
from jaxtyping import Float32

from portraitist.core.types import SquareMaskArray, SquarePicture

FINE = 2.5  # fine structures are what a Gaussian blur with this standard deviation (pixels) removes
WINDOW = 17  # side in pixels of the square window in which their contrast is measured
OUTLINE = 5  # width in pixels of the person's outline, which is not changed and does not count
OPAQUE = 250  # lowest value of the mask (0 to 255) that counts as a pixel of the person only
MAX_AMPLIFICATION = 2.5  # largest contrast of fine structures in the painting, as a multiple of that in the selfie
EPSILON = 1e-6  # prevents a division by 0

Plane = Float32[np.ndarray, "side side"]


def without_mesh(painting: SquarePicture, selfie: SquarePicture, mask: SquareMaskArray, weight: float) -> SquarePicture:
    """Reduce the fine structures of a painted person where they are much stronger than the selfie's.

    Args:
        painting: the painted crop.
        selfie: the crop before it was painted.
        mask: mask of the person; background and outline are not changed, and do not count.
        weight: strength of the correction, from 0 (none) to 1.
    """
    size = 2 * OUTLINE + 1
    inner = cv2.erode((mask >= OPAQUE).astype(np.uint8), np.ones((size, size), np.uint8)).astype(np.float32)
    if weight == 0 or not inner.any():
        return painting
    fine, painted_variance = _fine_structures(painting, inner)
    _, variance = _fine_structures(selfie, inner)
    kept = cv2.min(MAX_AMPLIFICATION * cv2.sqrt(variance / (painted_variance + EPSILON)), 1.0)
    return np.rint(painting - (weight * (1 - kept) * inner)[..., None] * fine).clip(0, 255).astype(np.uint8)


def _fine_structures(picture: SquarePicture, inner: Plane) -> tuple[Float32[np.ndarray, "side side 3"], Plane]:
    """Return the difference between each pixel and the local mean, and the local mean of its squares over all channels.

    Args:
        picture: the picture.
        inner: 1 for pixels that count in the means, otherwise 0.
    """
    weights = cv2.GaussianBlur(inner, (0, 0), FINE)[..., None] + EPSILON
    fine = picture - cv2.GaussianBlur(picture * inner[..., None], (0, 0), FINE) / weights
    squares = cv2.multiply(cv2.transform(cv2.multiply(fine, fine), np.full((1, 3), 1 / 3, np.float32)), inner)
    sums, counts = (cv2.blur(plane, (WINDOW, WINDOW)) for plane in (squares, inner))
    return fine, cv2.max(sums, 0.0) / (counts + EPSILON)  # rounding can make a sum of zeros negative
