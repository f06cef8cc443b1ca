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
    if weight == 0:
        return painting
    size = 2 * OUTLINE + 1
    inner = cv2.erode((mask >= OPAQUE).astype(np.uint8), np.ones((size, size), np.uint8)).astype(np.float32)
    blurred = cv2.GaussianBlur(inner, (0, 0), FINE)[..., None] + EPSILON
    fine, selfie_fine = (
        picture - cv2.GaussianBlur(picture * inner[..., None], (0, 0), FINE) / blurred for picture in (painting, selfie)
    )
    energy, selfie_energy = (_local_energy(each, inner) for each in (fine, selfie_fine))
    kept = cv2.min(MAX_AMPLIFICATION * cv2.sqrt(selfie_energy / (energy + EPSILON)), 1.0)
    return np.rint(painting - (weight * (1 - kept) * inner)[..., None] * fine).clip(0, 255).astype(np.uint8)


def _local_energy(fine: Float32[np.ndarray, "side side 3"], inner: Plane) -> Plane:
    """Return the local mean of the squares of fine structures, over all channels; pixels outside `inner` count as 0."""
    squares = cv2.multiply(cv2.transform(cv2.multiply(fine, fine), np.full((1, 3), 1 / 3, np.float32)), inner)
    return cv2.max(cv2.blur(squares, (WINDOW, WINDOW)), 0.0)  # rounding can make a sum of zeros negative
