"""Remove fine patterns that the generator paints where the selfie is smooth.

The generator amplifies the contrast of smooth areas. In dark, blurred or evenly lit areas, it paints patterns with a
period of about 6 pixels, which look like a mesh or a comb and are not in the selfie. Strokes along hair, eyes and other
details of the selfie are kept.
"""

import cv2
import numpy as np
from jaxtyping import Float32

from portraitist.core.types import MaskArray, SquareMaskArray, SquarePicture

FINE = 2.5  # fine structures are what a Gaussian blur with this standard deviation (pixels) removes
WINDOW = 17  # side in pixels of the square window in which their contrast is measured
EPSILON = 1e-6  # variance that prevents a division by 0
MAX_AMPLIFICATION = 2.5  # largest contrast of fine structures in the painting, as a multiple of that in the selfie


def without_mesh(painting: SquarePicture, selfie: SquarePicture, mask: SquareMaskArray) -> SquarePicture:
    """Reduce the fine structures of a painted person where they are much stronger than the selfie's.

    Args:
        painting: the painted crop.
        selfie: the crop before it was painted.
        mask: above 0 where the person is; the rest of the painting is not changed.
    """
    coarse = cv2.GaussianBlur(painting, (0, 0), FINE)
    grey, coarse_grey, selfie_grey = (cv2.cvtColor(each, cv2.COLOR_RGB2GRAY) for each in (painting, coarse, selfie))
    selfie_variance = fine_variance(selfie_grey, cv2.GaussianBlur(selfie_grey, (0, 0), FINE))
    kept = MAX_AMPLIFICATION * cv2.sqrt(selfie_variance / (fine_variance(grey, coarse_grey) + EPSILON))
    kept = cv2.min(kept, 1.0)
    kept[mask == 0] = 1
    return cv2.blendLinear(painting, coarse, kept, 1 - kept)


def fine_variance(grey: MaskArray, coarse: MaskArray) -> Float32[np.ndarray, "height width"]:
    """Return the local variance of fine structures, in squared grey values (0 to 255).

    Args:
        grey: the picture in grey.
        coarse: the same without fine structures.
    """
    fine = cv2.subtract(grey, coarse, dtype=cv2.CV_32F)
    return cv2.max(cv2.blur(cv2.multiply(fine, fine), (WINDOW, WINDOW)), 0.0)  # rounding can make 0 negative
