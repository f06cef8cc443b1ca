"""Remove fine patterns that the generator paints where the selfie is smooth.

The generator amplifies the contrast of smooth areas. In dark, blurred or evenly lit areas, it paints patterns with a
period of about 6 pixels, which look like a mesh or a comb and are not in the selfie. Strokes along hair, eyes and other
details of the selfie are kept.
"""

import cv2
import numpy as np
from jaxtyping import Float32

from portraitist.core.types import MaskArray, SquarePicture

FINE = 2.5  # fine structures are what a Gaussian blur with this standard deviation (pixels) removes
WINDOW = 17  # side in pixels of the square window in which their contrast is measured
MAX_AMPLIFICATION = 2.5  # largest contrast of fine structures in the painting, as a multiple of that in the selfie


def without_mesh(painting: SquarePicture, selfie: SquarePicture, mask: MaskArray) -> SquarePicture:
    """Reduce the fine structures of a painted person where they are much stronger than the selfie's.

    Args:
        painting: the painted crop.
        selfie: the crop before it was painted.
        mask: above 0 where the person is; the rest of the painting is not changed.
    """
    coarse = cv2.GaussianBlur(painting, (0, 0), FINE)
    selfie_contrast = fine_contrast(selfie, cv2.GaussianBlur(selfie, (0, 0), FINE))
    kept = np.minimum(1, MAX_AMPLIFICATION * selfie_contrast / (fine_contrast(painting, coarse) + 1e-3))
    result = coarse + kept[..., None] * (painting.astype(np.float32) - coarse)
    return np.where(mask[..., None] > 0, np.rint(result).astype(np.uint8), painting)


def fine_contrast(picture: SquarePicture, coarse: SquarePicture) -> Float32[np.ndarray, "side side"]:
    """Return the local standard deviation of a picture's fine structures, in grey values from 0 to 255.

    Args:
        picture: the picture.
        coarse: the picture without its fine structures.
    """
    fine = cv2.transform(picture.astype(np.float32) - coarse, np.full((1, 3), 1 / 3))
    return np.sqrt(np.maximum(cv2.blur(fine * fine, (WINDOW, WINDOW)), 0))  # rounding can make 0 negative
