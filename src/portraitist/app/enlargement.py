"""Limit the enlargement of small selfies, and blur them and their paintings.

The generator amplifies differences between neighbouring pixels. In an enlarged selfie, these differences are artefacts
of compression and interpolation, which would become patterns like fish scales or a mesh.
"""

from collections.abc import Callable

import cv2
import numpy as np

from portraitist.core.types import Picture, SquareMaskArray, SquarePicture

MAX_ENLARGEMENT = 4.0  # maximum factor by which a selfie is enlarged before painting
SELFIE_BLUR, PAINTING_BLUR = 0.5, 0.25  # standard deviations in pixels of the selfie before it was enlarged


def blur_enlarged(picture: Picture, scale: float, blur: float) -> Picture:
    """Blur a picture that was enlarged; a picture that was not enlarged is returned unchanged.

    Args:
        picture: the enlarged picture.
        scale: the factor by which it was enlarged.
        blur: the standard deviation of the blur is `blur * sqrt(scale**2 - 1)` pixels of the enlarged picture. It is 0
            for a factor of 1, and about `blur` pixels of the picture before it was enlarged for a large factor.
    """
    if scale <= 1:
        return picture
    return cv2.GaussianBlur(picture, (0, 0), blur * float(np.sqrt(scale**2 - 1)))


def paint_enlarged(
    paint: Callable[[SquarePicture], Picture], selfie: SquarePicture, mask: SquareMaskArray, scale: float
) -> Picture:
    """Paint a crop, with blurs before and after if it was enlarged.

    If the generator does not paint the background, the background is that of `selfie`, without a blur.

    Args:
        paint: runs the generator on one picture.
        selfie: the crop of the selfie.
        mask: mask of the person in it.
        scale: the factor by which the crop was enlarged, compared with the selfie.
    """
    if scale <= 1:
        return paint(selfie)
    blurred, background = blur_enlarged(selfie, scale, SELFIE_BLUR), mask == 0
    painted = paint(blurred)
    result = blur_enlarged(painted, scale, PAINTING_BLUR)
    if np.array_equal(painted[background], blurred[background]):
        result = np.where(background[..., None], selfie, result)
    return result
