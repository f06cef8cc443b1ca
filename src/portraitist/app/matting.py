"""Refine a person's mask for the avatar: remove other people and loose parts, and align its edge with the photo.

The segmenter's masks may contain people who touch the person, loosely connected parts, and inexact edges. The masks of
the training data are not refined.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float32

from portraitist.app.framing import face_in_crop
from portraitist.core.blend import alpha_composite, extend_foreground
from portraitist.core.geometry import mask_iou
from portraitist.core.types import MaskArray, Picture, SquareMaskArray, SquarePicture
from portraitist.crop.align import Crop, CropImage
from portraitist.crop.geometry import Face

MIN_OTHER = 0.5  # smallest size of another person's face, relative to the person's face
MIN_DISTANCE = 1.2  # smallest distance of another person's face, relative to the size of the person's face
# Lengths as multiples of the distance from the eyes to the mouth.
MIN_CONNECTION = 0.3  # parts whose connection to the person is narrower are removed
BAND = 0.16  # half the width of the band along the mask's edge in which the mask may change
WINDOW = 0.14  # half the side of the guided filter's window
EPSILON = 5e-4  # the guided filter's regularization, for colours from 0 to 1
LOWEST, HIGHEST = 0.3, 0.85  # the filter's output is stretched: these values become 0 and 1
SAME_IOU = 0.98  # a mask with a higher IoU with the picture's alpha is that alpha, at another size
GUIDE_SIDE = 256  # side in pixels at which the filter's coefficients are computed
PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))  # rows and columns of a symmetric matrix's entries


def on_white(picture: Picture, alpha: MaskArray | None) -> Picture:
    """Composite a picture over white, so that the colours of transparent pixels are not visible; None is opaque."""
    return picture if alpha is None else alpha_composite(picture, alpha, (255, 255, 255))


def visible_area(square: CropImage) -> SquareMaskArray:
    """Return where a crop shows the photo: 255 where the photo covers the crop and is opaque, 0 where it does not."""
    return square.inside if square.alpha is None else np.minimum(square.inside, square.alpha)


def is_alpha(mask: MaskArray, crop: Crop) -> bool:
    """Return whether a crop's mask is the alpha channel of the picture."""
    return crop.square.alpha is not None and np.array_equal(mask, crop.square.alpha)


def remove_others(mask: MaskArray, crop: Crop, other_faces: Sequence[Face]) -> MaskArray:
    """Remove other people from a mask: all pixels beyond a dividing line between each of their faces and the person's.

    The dividing line is perpendicular to the line between the centres of both faces, and divides it in the ratio of
    their sizes, from the eyes to the mouth. Faces that the mask does not contain are ignored, and so are faces smaller
    than `MIN_OTHER` or closer than `MIN_DISTANCE`, which are probably detected by mistake. If every other face is
    ignored, the mask itself is returned.

    Args:
        mask: mask in the crop, at the crop's size.
        crop: the aligned crop.
        other_faces: other faces in the photo.
    """
    x, y, length = face_in_crop(crop)
    rows, columns = np.ogrid[: mask.shape[0], : mask.shape[1]]
    kept = mask
    for other_x, other_y, other_length in (face_in_crop(crop, face) for face in other_faces):
        across, down = other_x - x, other_y - y
        if other_length < MIN_OTHER * length or np.hypot(across, down) < MIN_DISTANCE * length:
            continue
        at_other = mask[np.hypot(columns - other_x, rows - other_y) <= other_length]
        if at_other.size and at_other.mean() > 127:
            projected = across * (columns - x) + down * (rows - y)  # on the line between the faces, times its length
            limit = (across**2 + down**2) * length / (length + other_length)
            kept = kept * (projected <= limit)
    return kept


def keep_person(mask: MaskArray, crop: Crop) -> MaskArray:
    """Remove the parts of a mask whose connection to the face is narrower than `MIN_CONNECTION`."""
    x, y, length = face_in_crop(crop)
    solid = (mask > 127).astype(np.uint8)
    disc = _disc(MIN_CONNECTION * length)
    # extend the mask: the person continues beyond its borders
    margin = disc.shape[0]
    padded = cv2.copyMakeBorder(solid, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    _, labels = cv2.connectedComponents(cv2.morphologyEx(padded, cv2.MORPH_OPEN, disc))
    labels = labels[margin:-margin, margin:-margin]
    at_face = labels[
        max(0, round(y - length / 2)) : round(y + length / 2), max(0, round(x - length / 2)) : round(x + length / 2)
    ]
    counts = np.bincount(at_face[at_face > 0])
    if not len(counts):
        return mask
    body = (labels == int(counts.argmax())).astype(np.uint8)
    kept = cv2.dilate(body, _disc(2 * MIN_CONNECTION * length)) & solid
    count, labels = cv2.connectedComponents(kept)
    connected = np.zeros(count, np.uint8)
    connected[labels[body > 0]] = 1
    kept = connected[labels]
    soft = cv2.dilate(kept, _disc(0.1 * length))
    return mask * soft


def _disc(diameter: float) -> np.ndarray:
    side = max(1, round(diameter)) | 1
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))


def refine_person(mask: MaskArray, crop: Crop) -> SquareMaskArray:
    """Return the person's mask at the size of a crop, with an edge that follows the edges in the crop.

    A mask that is the picture's alpha channel is only resized.

    Args:
        mask: mask of the person in the crop, at any size.
        crop: the aligned crop.
    """
    square = crop.square
    side = square.picture.shape[0]
    if square.alpha is not None:
        enlarged = cv2.resize(mask, (side, side), interpolation=cv2.INTER_LINEAR)
        if mask_iou(enlarged, square.alpha) > SAME_IOU:
            return square.alpha
    whole, (*_, length) = continue_beyond_photo(mask, square.inside), face_in_crop(crop)
    return np.minimum(refine_edges(whole, square.picture, length), visible_area(square))


def continue_beyond_photo(mask: MaskArray, inside: SquareMaskArray) -> MaskArray:
    """Extend a mask beyond the photo's border, which is not an edge of the person and must not become soft.

    Args:
        mask: mask of the person in the crop, at any size.
        inside: 255 where the photo covers the crop.
    """
    covered = cv2.resize(inside, mask.shape, interpolation=cv2.INTER_AREA)
    known = cv2.erode(np.where(covered == 255, 255, 0).astype(np.uint8), np.ones((5, 5), np.uint8))
    return extend_foreground(np.dstack([mask] * 3), known)[..., 0] if known.min() == 0 else mask


def refine_edges(mask: MaskArray, picture: SquarePicture, length: float) -> SquareMaskArray:
    """Return a mask at the picture's size, with a soft edge that follows the edges in the picture.

    Args:
        mask: mask of the person, at any size.
        picture: the aligned crop of the selfie.
        length: distance from the eyes to the mouth in pixels of the picture.
    """
    side = picture.shape[0]
    enlarged = cv2.resize(mask, (side, side), interpolation=cv2.INTER_LINEAR)
    width = _disc(2 * BAND * length)
    solid = (enlarged > 127).astype(np.uint8)
    band = cv2.dilate(solid, width) - cv2.erode(solid, width)
    filtered = guided_filter(picture, mask, WINDOW * length / side)
    filtered = ((filtered - LOWEST) / (HIGHEST - LOWEST)).clip(0, 1)
    refined = np.where(band > 0, (255 * filtered).round(), np.where(solid > 0, 255, 0))
    return refined.astype(np.uint8)


def guided_filter(picture: SquarePicture, mask: MaskArray, radius: float) -> Float32[np.ndarray, "side side"]:
    """Return the fast guided filter (He and Sun 2015) of a mask, with a colour picture as guide.

    In each window, the result is a linear function of the picture's colours. Its coefficients are computed at side
    `GUIDE_SIDE` and enlarged, so the result has the picture's edges at full size.

    Args:
        picture: the guide.
        mask: the mask, at any size.
        radius: half the side of the window, as a fraction of the picture's side.

    Returns:
        The filtered mask, about 0 to 1.
    """
    side = picture.shape[0]
    small = (GUIDE_SIDE, GUIDE_SIDE)
    guide = cv2.resize(picture, small, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    target = cv2.resize(mask, small, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
    window = 2 * max(1, round(radius * GUIDE_SIDE)) + 1

    def mean(plane: np.ndarray) -> np.ndarray:
        return cv2.blur(plane, (window, window))

    mean_guide, mean_target = mean(guide), mean(target)
    covariance = [
        mean(guide[..., row] * guide[..., column])
        - mean_guide[..., row] * mean_guide[..., column]
        + (EPSILON if row == column else 0)
        for row, column in PAIRS
    ]
    with_target = mean(guide * target[..., None]) - mean_guide * mean_target[..., None]
    slope = _solve(covariance, with_target)
    offset = mean_target - _dot(slope, mean_guide)
    slope, offset = (cv2.resize(mean(plane), (side, side), interpolation=cv2.INTER_LINEAR) for plane in (slope, offset))
    return _dot(slope, picture.astype(np.float32) / 255) + offset


def _solve(matrices: Sequence[np.ndarray], vectors: np.ndarray) -> Float32[np.ndarray, "side side 3"]:
    """Solve a system of three linear equations for each pixel, by the inverse of its symmetric matrix.

    Args:
        matrices: the entries of `PAIRS` of each pixel's matrix.
        vectors: (side, side, 3).
    """
    a, b, c, d, e, f = (entry.astype(np.float64) for entry in matrices)
    inverse = (d * f - e * e, c * e - b * f, b * e - c * d), (a * f - c * c, b * c - a * e), (a * d - b * b,)
    (aa, ab, ac), (dd, de), (ff,) = inverse  # times the determinant
    determinant = a * aa + b * ab + c * ac
    x, y, z = (vectors[..., channel] / determinant for channel in range(3))
    solution = aa * x + ab * y + ac * z, ab * x + dd * y + de * z, ac * x + de * y + ff * z
    return np.dstack(solution).astype(np.float32)


def _dot(one: np.ndarray, other: np.ndarray) -> Float32[np.ndarray, "side side"]:
    """Return the scalar product of two vectors for each pixel."""
    return np.einsum("ijk,ijk->ij", one, other)
