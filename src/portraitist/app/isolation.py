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

Colours = Float32[np.ndarray, "height width 3"]

GROWTH = 0.03  # width of the strip around the person that is painted as well, as a fraction of the side
MIN_OPACITY = 0.85  # alpha (0 to 1) above which a pixel's colour counts as foreground
PULL = 0.3  # how strongly a transparent pixel is drawn to the mean colour of the foreground near it
# Spill is looked for in the rim of the foreground. Widths are fractions of the longer side; colours are 0 to 255.
RIM = 0.012  # width of the rim
REACH, MIN_INNER = 0.025, 0.25  # half-width of a window, and the share of it that must lie inside the rim
SPILL_CONTRAST = 40.0, 80.0  # differences of foreground and background from which on spill is removed, and completely
MAX_OTHER = 18.0  # a colour that is further from all mixtures of foreground and background is not spill
MAX_SPILL = 1.3  # the largest share of the background's colour in a pixel that counts as spill
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
    width = _window(GROWTH, side)
    grown = cv2.dilate(np.where(cutout > 0, 255, 0).astype(np.uint8), np.ones((width, width), np.uint8))
    return replace(crop, square=replace(square, picture=picture)), np.minimum(grown, square.inside)


def estimate_foreground(picture: Picture, alpha: MaskArray, background: MaskArray) -> Picture:
    """Estimate the foreground's own colours where the picture shows a mixture of foreground and background.

    With alpha from 0 to 1, a pixel of the picture shows alpha * foreground + (1 - alpha) * background. The background
    is estimated as the mean colour of the background near the pixel. The returned foreground F minimizes the squared
    error of this mixture plus `PULL` * (1 - alpha) * |F - M|^2, where M is the mean colour of the foreground near the
    pixel. So fully transparent pixels get M, and opaque ones keep their colours, except for spill in the rim of the
    foreground (see `_remove_spill`).

    If no pixel has an alpha above `MIN_OPACITY` (0 to 1), the picture is returned unchanged.

    Args:
        picture: the picture.
        alpha: the foreground's opacity.
        background: 255 where the picture shows only background.
    """
    image, opacity = picture.astype(np.float32), alpha.astype(np.float32) / 255
    opaque = ((opacity - MIN_OPACITY) / (1 - MIN_OPACITY)).clip(0, 1)
    if not opaque.any():
        return picture
    mean, only_background = _local_mean(image, opaque), (background == 255).astype(np.float32)
    behind = _local_mean(image, only_background) if only_background.any() else image
    foreground = np.where((alpha == 255)[..., None], image, mean)
    soft = (alpha > 0) & (alpha < 255)
    share, near = opacity[soft][:, None], mean[soft]
    unexplained = image[soft] - share * near - (1 - share) * behind[soft]
    foreground[soft] = near + share / (share**2 + PULL * (1 - share)) * unexplained
    if only_background.any():
        _remove_spill(foreground, alpha, behind)
    return foreground.clip(0, 255).round().astype(np.uint8)


def _remove_spill(foreground: Colours, alpha: MaskArray, behind: Colours) -> None:
    """Remove the background's colour from the rim of the foreground, where an alpha can be too high; change the array.

    Spill is the part of a pixel's difference from the foreground's mean colour that points to the background's colour.
    It is removed where it explains nearly the whole difference. So an ear beside dark hair keeps its colour.

    Args:
        foreground: the foreground's colours.
        alpha: the foreground's opacity.
        behind: mean colour of the background near each pixel.
    """
    side = max(alpha.shape)
    inner = cv2.erode((alpha == 255).astype(np.float32), np.ones((_window(RIM, side),) * 2, np.uint8))
    reached = cv2.blur(inner, (_window(REACH, side),) * 2)
    rim = (alpha > 0) & (inner == 0) & (reached > 0)
    if not rim.any():
        return
    mean = _local_mean(foreground, inner)[rim]
    difference, direction = foreground[rim] - mean, behind[rim] - mean
    squared = (direction**2).sum(axis=-1)
    spill = (difference * direction).sum(axis=-1) / np.maximum(squared, 1)
    other = (difference**2).sum(axis=-1) - spill**2 * squared
    low, high = SPILL_CONTRAST
    weight = np.exp(-other / MAX_OTHER**2) * ((np.sqrt(squared) - low) / (high - low)).clip(0, 1)
    weight *= (reached[rim] / MIN_INNER).clip(0, 1)
    weight[(spill < 0) | (spill > MAX_SPILL)] = 0
    foreground[rim] -= (weight * spill)[:, None] * direction


def _window(half: float, side: int) -> int:
    """Return the width of a window in pixels; its half-width is given as a fraction of the side."""
    return 2 * max(1, round(half * side)) + 1


def _local_mean(image: Colours, weight: Float32[np.ndarray, "height width"]) -> Colours:
    """Return the weighted mean colour of a square window around each pixel (normalized convolution).

    The method is that of Knutsson and Westin (CVPR 1993). Windows of four sizes are used, the widest one first. If a
    window contains little weight, the result of the next wider window has more influence.

    Args:
        image: the picture.
        weight: weights of its pixels, 0 to 1, not all 0.
    """
    rows, columns = weight.shape
    scale = min(1.0, MEAN_SIDE / max(rows, columns))
    size = max(1, round(scale * columns)), max(1, round(scale * rows))
    weighted = np.empty((rows, columns, 4), np.float32)
    np.multiply(image, weight[..., None], out=weighted[..., :3])
    weighted[..., 3] = weight
    weighted = cv2.resize(weighted, size, interpolation=cv2.INTER_AREA)
    total = weighted.sum(axis=(0, 1), dtype=np.float64).astype(np.float32)
    mean = np.broadcast_to(total[:3] / total[3], (*weighted.shape[:2], 3))
    for window in MEAN_WINDOWS:
        width = _window(window, max(size))
        local = cv2.blur(weighted, (width, width))
        mean = (local[..., :3] + WIDER_WEIGHT * mean) / (local[..., 3:] + WIDER_WEIGHT)
    return cv2.resize(mean, (columns, rows), interpolation=cv2.INTER_LINEAR)
