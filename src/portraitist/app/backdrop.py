"""Paint the backdrop, the default background of an avatar: soft strokes in the colour of the photo's background."""

import cv2
import numpy as np

from portraitist.core.types import MaskArray, Picture, SquarePicture

RENDER_SIDE = 128  # side at which the backdrop is computed, in pixels; it is soft, so it can be enlarged
# Lightness and chroma are those of CIELAB; lightness is from 0 to 100.
# From the photo's background: width of the averaging window, as a fraction of the side; the number of background
# pixels at which it alone gives the colour; largest chroma; and limits of the lightness in the middle of the backdrop.
REACH, ENOUGH_PIXELS, MAX_PHOTO_CHROMA, PHOTO_LIGHTNESS = 0.48, 100.0, 20.0, (14.0, 90.0)
# If the photo shows no background: chroma as a fraction of the person's mean, and its maximum; difference in lightness
# from the person's outline; and limits of the lightness.
CHROMA, MAX_CHROMA, CONTRAST, LIGHTNESS = 0.55, 16.0, 24.0, (26.0, 84.0)
GRADIENT = 12.0  # half of the difference in lightness between top and bottom
GLOW = 9.0  # additional lightness behind the head
BRUSH = 2.6  # amplitude of the brush strokes' lightness
# Brush strokes: plane waves, each of which shifts the phase of the next. Cycles across and down a side; phase in turns.
WAVES = ((1.3, 2.1, 0.15), (-2.2, 1.4, 0.62), (3.7, 2.9, 0.33), (-4.6, 6.1, 0.81), (7.9, 5.2, 0.47))


def paint_backdrop(
    person: Picture, mask: MaskArray, photo: Picture, background: MaskArray, size_px: int
) -> SquarePicture:
    """Return a backdrop for a person; equal arguments give equal pixels.

    The backdrop has the mean colour of the photo's background near the person. Fragments of the background that the
    mask contains by mistake are therefore hardly visible. If the photo shows no background, the backdrop has a muted
    colour of the person, and is lighter or darker than the person's outline. If the photo shows little background, both
    colours are blended.

    Args:
        person: colours of the person (`Avatar.person`).
        mask: 255 where the person is.
        photo: the photo, with the size of `person`.
        background: 255 where `photo` shows the background (`Avatar.background`).
        size_px: side of the backdrop in pixels.
    """
    weight = _small(mask).astype(np.float32) / 255
    window = round(REACH * RENDER_SIDE) | 1
    shown = cv2.erode(_small(background).astype(np.float32) / 255, np.ones((5, 5), np.uint8))
    near = cv2.blur(weight, (window, window)) * shown**2
    share = min(float(near.sum()) / ENOUGH_PIXELS, 1.0)
    middle, *colour = share * _photo_colour(photo, near) + (1 - share) * _contrasting_colour(person, weight)
    down, right = np.mgrid[:RENDER_SIDE, :RENDER_SIDE].astype(np.float32) / (RENDER_SIDE - 1)
    bend, strokes = np.zeros_like(down), np.zeros_like(down)
    for across, along, phase in WAVES:
        bend = np.sin(2 * np.pi * (across * right + along * down + phase) + 1.7 * bend)
        strokes += bend / len(WAVES)
    glow = np.exp(-((right - 0.5) ** 2 + (down - 0.42) ** 2) / 0.12)
    backdrop = np.empty((RENDER_SIDE, RENDER_SIDE, 3), np.float32)
    backdrop[..., 0] = middle + GRADIENT * (0.5 - down) + GLOW * (glow - 0.5) + BRUSH * strokes
    backdrop[..., 1:] = np.array(colour) + 0.35 * BRUSH * np.roll(strokes, RENDER_SIDE // 3, axis=0)[..., None]
    rgb = cv2.cvtColor(backdrop, cv2.COLOR_LAB2RGB).clip(0, 1) * 255
    return cv2.resize(rgb, (size_px, size_px), interpolation=cv2.INTER_CUBIC).clip(0, 255).round().astype(np.uint8)


def _photo_colour(photo: Picture, weight: np.ndarray) -> np.ndarray:
    """Return lightness, a and b of a photo: means with a weight for each pixel, within the limits for a backdrop."""
    lab = _lab(photo)
    lightness, *colour = (_mean(lab[..., channel], weight) for channel in range(3))
    return np.array([np.clip(lightness, *PHOTO_LIGHTNESS), *_limited(np.array(colour), MAX_PHOTO_CHROMA)])


def _contrasting_colour(person: Picture, weight: np.ndarray) -> np.ndarray:
    """Return lightness, a and b of a backdrop that contrasts with the outline of the person's upper part."""
    lab, upper = _lab(person), weight[: RENDER_SIDE * 3 // 4]
    outline = np.zeros_like(weight)
    outline[: len(upper)] = upper * (cv2.blur(weight, (9, 9))[: len(upper)] < 0.95)
    lightness = _mean(lab[..., 0], outline) if outline.sum() > 1 else 50.0
    darker = lightness - CONTRAST
    middle = darker if darker >= LIGHTNESS[0] and lightness > 50 else lightness + CONTRAST
    colour = np.array([_mean(lab[..., channel], weight) for channel in (1, 2)]) * CHROMA
    return np.array([np.clip(middle, *LIGHTNESS), *_limited(colour, MAX_CHROMA)])


def _lab(picture: Picture) -> np.ndarray:
    return cv2.cvtColor(_small(picture).astype(np.float32) / 255, cv2.COLOR_RGB2LAB)


def _limited(colour: np.ndarray, max_chroma: float) -> np.ndarray:
    return colour * min(1.0, max_chroma / max(float(np.hypot(*colour)), 1e-6))


def _small(plane: np.ndarray) -> np.ndarray:
    return cv2.resize(plane, (RENDER_SIDE, RENDER_SIDE), interpolation=cv2.INTER_AREA)


def _mean(values: np.ndarray, weights: np.ndarray) -> float:
    return float((values * weights).sum() / max(float(weights.sum()), 1e-6))
