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
from jaxtyping import Int

from portraitist.app.framing import scale_of
from portraitist.core.types import Picture, SquareMaskArray, SquarePicture
from portraitist.crop.align import Crop

MAX_ENLARGEMENT = 4.0  # maximum factor by which a selfie is enlarged before painting
SELFIE_BLUR, PAINTING_BLUR = 0.5, 0.25  # standard deviations in pixels of the selfie before it was enlarged
MIRROR_PX = 32  # width of the mirror image; the generator's artefacts are narrower

Pixels = tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]  # rows and columns


def paint_crop(
    generate: Callable[[SquarePicture, SquareMaskArray], SquarePicture],
    crop: Crop,
    mask: SquareMaskArray,
    photo_size: tuple[int, int],
) -> SquarePicture:
    """Paint a crop.

    If the generator does not paint the background, the background and the area beyond the photo are those of the crop.

    Args:
        generate: runs the generator on a picture and the mask of the person in it.
        crop: the crop of the selfie, at the size at which it is painted.
        mask: mask of the person in the crop.
        photo_size: width and height of the selfie in pixels.
    """
    selfie, scale = crop.square.picture, scale_of(crop)
    beyond, mirrored = mirror_pixels(crop, mask, photo_size)
    extended, person = selfie.copy(), mask.copy()
    extended[beyond], person[beyond] = selfie[mirrored], mask[mirrored]
    given = blur_enlarged(extended, scale, SELFIE_BLUR)
    painted = generate(given, person)
    finished = blur_enlarged(painted, scale, PAINTING_BLUR)
    if np.array_equal(painted[person == 0], given[person == 0]):
        return np.where((mask == 0)[..., None], selfie, finished)
    return finished


def mirror_pixels(crop: Crop, mask: SquareMaskArray, photo_size: tuple[int, int]) -> tuple[Pixels, Pixels]:
    """Return the crop's pixels in which the person is mirrored at the photo's border, and the pixels that they mirror.

    The former are beyond the photo, at most `MIRROR_PX` from it.

    Args:
        crop: the crop of the selfie.
        mask: mask of the person in the crop.
        photo_size: width and height of the selfie in pixels.
    """
    side = crop.square.inside.shape[0]
    distance = cv2.distanceTransform((crop.square.inside < 255).astype(np.uint8), cv2.DIST_L2, 3)
    rows, columns = np.nonzero((distance > 0) & (distance <= MIRROR_PX))
    inverse = cv2.invertAffineTransform(crop.transform)
    last = np.array(photo_size) - 1
    in_photo = np.abs(np.stack([columns, rows], axis=1) @ inverse[:, :2].T + inverse[:, 2])  # left and top border
    in_photo = np.clip(last - np.abs(last - in_photo), 0, last)  # right and bottom border
    in_crop = np.rint(in_photo @ crop.transform[:, :2].T + crop.transform[:, 2]).astype(int)
    mirrored_columns, mirrored_rows = np.clip(in_crop, 0, side - 1).T
    is_person = mask[mirrored_rows, mirrored_columns] > 0
    return (rows[is_person], columns[is_person]), (mirrored_rows[is_person], mirrored_columns[is_person])


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
