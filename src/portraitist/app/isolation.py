"""Replace the background of a selfie by colours of the person, before the person is painted.

Two artefacts at the person's edge are avoided in this way. In the selfie, the pixels of a soft edge have some of the
background's colour. And some generators get the person on grey, and paint a grey rim where the grey begins.
"""

from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Float32

from portraitist.core.types import MaskArray, Picture, SquareMaskArray
from portraitist.crop.align import Crop

GROWTH = 0.03  # width of the strip around the person that is painted as well, as a fraction of the side
MIN_OPACITY = 0.85  # alpha (0 to 1) above which a pixel's colour counts as foreground
PULL = 0.3  # how strongly a transparent pixel is drawn to the mean colour of the foreground near it
# For local means: the longer side in pixels at which they are computed; half-widths of the windows, as fractions of
# this side; and the weight of the previous, wider window's mean in each window.
MEAN_SIDE, MEAN_WINDOWS, WIDER_WEIGHT = 256, (0.3, 0.09, 0.025, 0.01), 0.01


def isolate_person(crop: Crop, cutout: SquareMaskArray) -> tuple[Crop, SquareMaskArray]:
    """Replace the background of a crop by colours of the person, and grow the person's mask a little.

    Args:
        crop: the aligned crop.
        cutout: mask of the person in the crop, at its size.

    Returns:
        The crop with the new picture, and the grown mask, which ends at the border of the photo.
    """
    square, side = crop.square, cutout.shape[0]
    visible = square.inside if square.alpha is None else np.minimum(square.inside, square.alpha)
    background = np.where(cutout == 0, visible, 0).astype(np.uint8)
    picture = estimate_foreground(square.picture, cutout, background)
    width = 2 * max(1, round(GROWTH * side)) + 1
    grown = cv2.dilate(np.where(cutout > 0, 255, 0).astype(np.uint8), np.ones((width, width), np.uint8))
    return replace(crop, square=replace(square, picture=picture)), np.minimum(grown, square.inside)


def estimate_foreground(picture: Picture, alpha: MaskArray, background: MaskArray) -> Picture:
    """Estimate the foreground's own colours where the picture shows a mixture of foreground and background.

    With alpha from 0 to 1, a pixel of the picture shows alpha * foreground + (1 - alpha) * background. The background
    is estimated as the mean colour of the background near the pixel. The returned foreground F minimizes the squared
    error of this mixture plus `PULL` * (1 - alpha) * |F - M|^2, where M is the mean colour of the foreground near the
    pixel. So opaque pixels keep their colours, and fully transparent ones get M.

    If no pixel has an alpha above `MIN_OPACITY` (0 to 1), the picture is returned unchanged.

    Args:
        picture: the picture.
        alpha: the foreground's opacity.
        background: 255 where the picture shows only background.
    """
    image, opacity = picture.astype(np.float32), alpha.astype(np.float32) / 255
    foreground = ((opacity - MIN_OPACITY) / (1 - MIN_OPACITY)).clip(0, 1)
    if not foreground.any():
        return picture
    mean, only_background = _local_mean(image, foreground), (background == 255).astype(np.float32)
    behind = _local_mean(image, only_background) if only_background.any() else image
    opacity = opacity[..., None]
    unexplained = image - opacity * mean - (1 - opacity) * behind
    estimated = mean + opacity / (opacity**2 + PULL * (1 - opacity)) * unexplained
    return estimated.clip(0, 255).round().astype(np.uint8)


def _local_mean(
    image: Float32[np.ndarray, "height width 3"], weight: Float32[np.ndarray, "height width"]
) -> Float32[np.ndarray, "height width 3"]:
    """Return the weighted mean colour of a square window around each pixel (normalized convolution).

    The method is that of Knutsson and Westin (CVPR 1993). Windows of four sizes are used, the widest one first. If a
    window contains little weight, the result of the next wider window has more influence.

    Args:
        image: the picture.
        weight: weights of its pixels, 0 to 1, not all 0.
    """
    height, width = weight.shape
    scale = min(1.0, MEAN_SIDE / max(height, width))
    size = max(1, round(scale * width)), max(1, round(scale * height))
    weighted = cv2.resize(np.dstack([image * weight[..., None], weight]), size, interpolation=cv2.INTER_AREA)
    total = weighted.sum(axis=(0, 1), dtype=np.float64).astype(np.float32)
    mean = np.broadcast_to(total[:3] / total[3], (*weighted.shape[:2], 3))
    for window in MEAN_WINDOWS:
        side = 2 * max(1, round(window * max(size))) + 1
        local = cv2.blur(weighted, (side, side))
        mean = (local[..., :3] + WIDER_WEIGHT * mean) / (local[..., 3:] + WIDER_WEIGHT)
    return cv2.resize(mean, (width, height), interpolation=cv2.INTER_LINEAR)
