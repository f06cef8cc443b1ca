"""Run the generator on a crop, after preparing it where the generator would paint artefacts.

Where the photo's border cuts off the person, the generator would paint stripes and a mesh along the border. There, it
gets a mirror image of the person instead of blurred colours.

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

    If the generator does not paint the background, the background and the area beyond the photo are those of the crop.
    If it does, it runs once more without the mirror image, which would be visible in the background.

    Args:
        generate: runs the generator on a picture and the mask of the person in it.
        crop: the crop of the selfie, at the size at which it is painted.
        mask: mask of the person in the crop.
        photo_size: width and height of the selfie in pixels.
    """
    selfie, scale = crop.square.picture, scale_of(crop)
    extended, person = mirror_person(crop, mask, photo_size)
    is_mirrored = extended is not selfie
    if not is_mirrored and scale <= 1:
        return generate(selfie, mask)
    given = blur_enlarged(extended, scale, SELFIE_BLUR)
    painted = generate(given, person)
    if np.array_equal(painted[person == 0], given[person == 0]):
        return np.where((mask == 0)[..., None], selfie, blur_enlarged(painted, scale, PAINTING_BLUR))
    if is_mirrored:
        painted = generate(blur_enlarged(selfie, scale, SELFIE_BLUR), mask)
    return blur_enlarged(painted, scale, PAINTING_BLUR)


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
