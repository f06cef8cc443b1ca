"""Run the generator on a crop, after preparing it where the generator would paint artefacts.

Where the photo's border cuts off the person, the generator would paint stripes and a mesh along the border. Beyond it,
the generator gets a mirror image of the person instead of mean colours.

The generator also amplifies differences between neighbouring pixels. In an enlarged selfie, these differences are
artefacts of compression and interpolation, which would become patterns like fish scales or a mesh. The enlargement is
therefore limited, and enlarged selfies and their paintings are blurred.
"""

from collections.abc import Callable

import cv2
import numpy as np

from portraitist.app.framing import scale_of
from portraitist.app.photo_border import mirror_person
from portraitist.core.types import Picture, SquareMaskArray, SquarePicture
from portraitist.crop.align import Crop

MAX_ENLARGEMENT = 4.0  # maximum factor by which a selfie is enlarged before painting
SELFIE_BLUR, PAINTING_BLUR = 0.5, 0.25  # standard deviations in pixels of the selfie before it was enlarged


def paint_crop(
    generate: Callable[[SquarePicture, SquareMaskArray], SquarePicture],
    crop: Crop,
    mask: SquareMaskArray,
    photo_size: tuple[int, int],
) -> SquarePicture:
    """Paint a crop, with the person mirrored where the photo ends, and with blurs before and after if it is enlarged.

    Args:
        generate: runs the generator on a picture and the mask of the person in it.
        crop: the crop of the selfie, at the size at which it is painted.
        mask: mask of the person in the crop.
        photo_size: width and height of the selfie in pixels.
    """
    scale = scale_of(crop)
    picture, person = mirror_person(crop, mask, photo_size)
    return blur_enlarged(generate(blur_enlarged(picture, scale, SELFIE_BLUR), person), scale, PAINTING_BLUR)


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
