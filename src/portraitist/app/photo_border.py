"""Continue a crop beyond the photo's border, where the border cuts off the person."""

import cv2
import numpy as np

from portraitist.app.framing import SLIVER, scale_of
from portraitist.core.types import SquareMaskArray, SquarePicture
from portraitist.crop.align import Crop

MIRROR_PX = 32  # the person is mirrored up to this distance from the photo; the generator's artefacts are narrower


def mirror_person(
    crop: Crop, mask: SquareMaskArray, photo_size: tuple[int, int]
) -> tuple[SquarePicture, SquareMaskArray]:
    """Return a crop's picture and mask, with the person mirrored at the photo's border.

    Args:
        crop: the crop of the selfie.
        mask: mask of the person in the crop.
        photo_size: width and height of the selfie in pixels.
    """
    picture, inside = crop.square.picture, crop.square.inside
    if inside.min() == 255:
        return picture, mask
    distance = cv2.distanceTransform((inside < 255).astype(np.uint8), cv2.DIST_L2, 3)
    rows, columns = np.nonzero((distance > 0) & (distance <= MIRROR_PX))
    inverse = cv2.invertAffineTransform(crop.transform)
    position = np.stack([columns, rows], axis=1) @ inverse[:, :2].T + inverse[:, 2]
    # The last covered position is the photo's side minus 1; below scale .5, because `warp` first reduces the photo, it
    # is the side minus half a pixel of the crop. Sources are half a pixel inside, so rounding leaves them in the photo.
    margin = 0.5 / scale_of(crop)
    last = np.array(photo_size) - max(1, margin)
    folded = (last - np.abs(last - np.abs(position))).clip(margin, last - margin)
    source = np.rint(folded @ crop.transform[:, :2].T + crop.transform[:, 2]).astype(int)
    source_columns, source_rows = source.clip(0, inside.shape[0] - 1).T
    is_person = mask[source_rows, source_columns] > 0
    if not is_person.any():
        return picture, mask
    here, there = (rows[is_person], columns[is_person]), (source_rows[is_person], source_columns[is_person])
    extended, person = picture.copy(), mask.copy()
    extended[here], person[here] = picture[there], mask[there]
    return extended, person


def repeat_border(mask: SquareMaskArray, inside: SquareMaskArray) -> SquareMaskArray:
    """Give each pixel of a mask beyond the photo's border the value of the nearest pixel in the photo.

    Args:
        mask: mask of the person in the crop.
        inside: 255 where the photo covers the crop.
    """
    covered = inside == 255
    if covered.all() or not covered.any():
        return mask
    _, nearest = cv2.distanceTransformWithLabels(
        (~covered).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    values = np.zeros(nearest.max() + 1, np.uint8)
    values[nearest[covered]] = mask[covered]
    return values[nearest]


def continue_person(
    mask: SquareMaskArray, inside: SquareMaskArray, width: int
) -> tuple[SquareMaskArray, SquareMaskArray]:
    """Continue a mask of the person in a strip beyond the photo's border.

    Args:
        mask: mask of the person in the crop; it is ignored beyond the photo.
        inside: 255 where the photo covers the crop.
        width: twice the strip's width in pixels, plus 1.

    Returns:
        The new mask, and the area of the photo and the strip.
    """
    area = cv2.dilate(inside, np.ones((width, width), np.uint8))
    return repeat_border(mask, inside) * (area > 0), area


def strip_width(side: int) -> int:
    """Return the `width` for `continue_person` with which narrow strips of the frame are filled, for a crop's side."""
    return 2 * max(1, round(SLIVER * side)) + 1
