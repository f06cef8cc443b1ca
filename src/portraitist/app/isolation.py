"""Replace the background of a selfie by colours of the person, before the person is painted.

Two artefacts at the person's edge are avoided in this way. In the selfie, the pixels of a soft edge have some of the
background's colour. And some generators get the person on grey, and paint a grey rim where the grey begins.
"""

from dataclasses import replace

import cv2
import numpy as np
from jaxtyping import Float32

from portraitist.app.matting import visible_area
from portraitist.core.types import MaskArray, Picture, SquareMaskArray, SquarePicture
from portraitist.crop.align import Crop

Colours = Float32[np.ndarray, "pixels 3"]

GROWTH = 0.012  # width of the strip around the person that is painted as well, as a fraction of the side
FAINT = 8  # pixels with a smaller mask (0 to 255) do not count as person for this strip
MIN_OPACITY = 0.85  # alpha (0 to 1) above which a pixel's colour counts as foreground
PULL = 0.3  # how strongly a transparent pixel is drawn to the mean colour of the foreground near it
# Spill is looked for in the rim of the foreground. Widths are fractions of the side; colours are 0 to 255.
RIM = 0.012  # width of the rim
# Half-width of a window; spill is removed completely if at least this share of it is foreground without the rim.
REACH, MIN_INNER = 0.025, 0.25
SPILL_CONTRAST = 40.0, 80.0  # differences of foreground and background from which on spill is removed, and completely
MAX_OTHER = 18.0  # a colour that is further from all mixtures of foreground and background is not spill
MAX_SPILL = 1.3  # the largest share of the background's colour in a pixel that counts as spill
MASK_SIDE = 256  # side in pixels at which pixels of foreground, background and rim are selected
# Local means are computed at this side in pixels. The windows' half-widths are fractions of the side; the last value is
# the weight of the previous, wider window's mean in each window.
MEAN_SIDE, MEAN_WINDOWS, WIDER_WEIGHT = 128, (0.3, 0.09, 0.025, 0.01), 0.01


def isolate_person(crop: Crop, cutout: SquareMaskArray) -> tuple[Crop, SquareMaskArray]:
    """Replace the background of a crop by colours of the person, and grow the person's mask a little.

    Args:
        crop: the aligned crop.
        cutout: mask of the person in the crop, at its size.

    Returns:
        The crop with the new picture, and the grown mask, which ends at the border of the photo.
    """
    square, side = crop.square, cutout.shape[0]
    background = np.where(cutout == 0, visible_area(square), 0).astype(np.uint8)
    picture = estimate_foreground(square.picture, cutout, background)
    width = _window(GROWTH, side)
    grown = cv2.dilate(np.where(cutout >= FAINT, 255, 0).astype(np.uint8), np.ones((width, width), np.uint8))
    return replace(crop, square=replace(square, picture=picture)), np.minimum(grown, square.inside)


def estimate_foreground(picture: SquarePicture, alpha: SquareMaskArray, background: SquareMaskArray) -> SquarePicture:
    """Estimate the foreground's own colours where the picture shows a mixture of foreground and background.

    With alpha from 0 to 1, a pixel of the picture shows alpha * foreground + (1 - alpha) * background. The background
    is estimated as the mean colour of the background near the pixel. The returned foreground F minimizes the squared
    error of this mixture plus `PULL` * (1 - alpha) * |F - M|^2, where M is the mean colour of the foreground near the
    pixel. So in this step, fully transparent pixels get M, and opaque ones keep their colours. If no pixel shows only
    background, as in a picture with an alpha channel, the colours are not mixed, and all but the fully transparent
    pixels keep them.

    Then spill is removed: the background's colour in the rim of the foreground, where an alpha can be too high. Spill
    is the part of a pixel's difference from the foreground's mean colour that points to the background's colour. It is
    only removed where it explains nearly the whole difference. So an ear beside dark hair keeps its colour, unless the
    background has nearly the colour of the ear.

    If the picture contains no foreground, it is returned unchanged.

    Args:
        picture: the picture.
        alpha: the foreground's opacity.
        background: 255 where the picture shows only background.
    """
    side = picture.shape[0]
    small = (min(side, MASK_SIDE),) * 2
    image, opacity, behind = (
        cv2.resize(each, small, interpolation=cv2.INTER_AREA).astype(np.float32)
        for each in (picture, alpha, background)
    )
    opaque = ((opacity / 255 - MIN_OPACITY) / (1 - MIN_OPACITY)).clip(0, 1)
    if not opaque.any():
        return picture

    def enlarge(plane: np.ndarray) -> np.ndarray:
        return cv2.resize(plane, (side, side), interpolation=cv2.INTER_LINEAR)

    foreground = enlarge(_local_mean(image, opaque))
    is_background = (behind == 255).astype(np.float32)
    if not is_background.any():
        return np.where((alpha > 0)[..., None], picture, foreground.round().astype(np.uint8))
    back = enlarge(_local_mean(image, is_background)).reshape(-1, 3)
    seen = picture.reshape(-1, 3)
    result = np.where((alpha == 255)[..., None], picture, foreground).reshape(-1, 3)
    soft = np.flatnonzero((alpha > 0) & (alpha < 255))
    share, near = alpha.ravel()[soft, None] / np.float32(255), foreground.reshape(-1, 3)[soft]
    unexplained = seen[soft] - share * near - (1 - share) * back[soft]
    result[soft] = near + share / (share**2 + PULL * (1 - share)) * unexplained
    inner = cv2.erode((opacity == 255).astype(np.float32), np.ones((_window(RIM, small[0]),) * 2, np.uint8))
    if inner.any():
        inside, reached = enlarge(inner).ravel(), enlarge(cv2.blur(inner, (_window(REACH, small[0]),) * 2)).ravel()
        rim = np.flatnonzero((alpha.ravel() > 0) & (inside < 1) & (reached > 0))
        weight = (1 - inside[rim]) * (reached[rim] / MIN_INNER).clip(0, 1)
        mean = enlarge(_local_mean(image, inner)).reshape(-1, 3)[rim]
        result[rim] -= _spill(result[rim], mean, back[rim], weight)
    return result.clip(0, 255).round().astype(np.uint8).reshape(picture.shape)


def _spill(colours: Colours, mean: Colours, back: Colours, weight: Float32[np.ndarray, " pixels"]) -> Colours:
    """Return the background's part of some colours; see `estimate_foreground`.

    Args:
        colours: the colours, 0 to 255.
        mean: mean colour of the foreground near each pixel, without its rim.
        back: mean colour of the background near each pixel.
        weight: from 0 (no spill is removed) to 1.
    """
    difference, direction = colours - mean, back - mean
    squared = (direction**2).sum(axis=-1)
    share = (difference * direction).sum(axis=-1) / np.maximum(squared, 1)
    other = (difference**2).sum(axis=-1) - share**2 * squared
    low, high = SPILL_CONTRAST
    weight = weight * np.exp(-other / MAX_OTHER**2) * ((np.sqrt(squared) - low) / (high - low)).clip(0, 1)
    weight[(share < 0) | (share > MAX_SPILL)] = 0
    return (weight * share)[:, None] * direction


def _local_mean(
    image: Float32[np.ndarray, "side side 3"], weight: Float32[np.ndarray, "side side"]
) -> Float32[np.ndarray, "reduced reduced 3"]:
    """Return the weighted mean colour of a square window around each pixel (normalized convolution).

    If the picture has more than `MEAN_SIDE` pixels per side, the means are computed and returned at `MEAN_SIDE`.

    The method is that of Knutsson and Westin (CVPR 1993). Windows of four sizes are used, the widest one first. If a
    window contains little weight, the result of the next wider window has more influence.

    Args:
        image: the picture.
        weight: weights of its pixels, 0 to 1, not all 0.
    """
    size = (min(weight.shape[0], MEAN_SIDE),) * 2
    weighted = cv2.resize(image * weight[..., None], size, interpolation=cv2.INTER_AREA)
    weight = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
    mean = np.array(cv2.sumElems(weighted)[:3], np.float32) / np.float32(cv2.sumElems(weight)[0])
    for window in MEAN_WINDOWS:
        area = (_window(window, size[0]),) * 2
        mean = (cv2.blur(weighted, area) + WIDER_WEIGHT * mean) / (cv2.blur(weight, area) + WIDER_WEIGHT)[..., None]
    return mean


def _window(half: float, side: int) -> int:
    """Return the width of a window in pixels; its half-width is given as a fraction of the side."""
    return 2 * max(1, round(half * side)) + 1


def add_change(photo: Picture, before: Picture, painting: Picture, alpha: MaskArray) -> Picture:
    """Return a photo in which a person is painted: photo + alpha * (painting - before), with alpha from 0 to 1.

    Unlike compositing, this keeps the photo's mixture of person and background at soft edges.

    Args:
        photo: the photo.
        before: the person before painting, with its own colours at soft edges.
        painting: the painted person.
        alpha: mask of the person, 0 to 255.
    """
    change = (painting.astype(np.float32) - before) * (alpha[..., None] / np.float32(255))
    return (photo + change).clip(0, 255).round().astype(np.uint8)
