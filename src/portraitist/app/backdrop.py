"""Paint the backdrop, the default background of an avatar: soft brush strokes in the avatar's own colours."""

import cv2
import numpy as np

from portraitist.core.types import MaskArray, Picture, SquarePicture

RENDER_SIDE = 128  # side at which the backdrop is computed, in pixels; it is soft, so it can be enlarged
# Lightness and chroma are those of CIELAB; lightness is from 0 to 100.
CHROMA, MAX_CHROMA = 0.55, 16.0  # chroma of the backdrop, as a fraction of the person's mean; and its maximum
CONTRAST = 24.0  # difference in lightness between the backdrop and the person's outline
LIGHTEST, DARKEST = 84.0, 26.0  # limits of the lightness in the middle of the backdrop
GRADIENT = 12.0  # half of the difference in lightness between top and bottom
GLOW = 9.0  # additional lightness behind the head
BRUSH = 2.6  # amplitude of the brush strokes' lightness
# Brush strokes: plane waves, each of which shifts the phase of the next. Cycles across and down a side; phase in turns.
WAVES = ((1.3, 2.1, 0.15), (-2.2, 1.4, 0.62), (3.7, 2.9, 0.33), (-4.6, 6.1, 0.81), (7.9, 5.2, 0.47))


def paint_backdrop(person: Picture, mask: MaskArray, size_px: int) -> SquarePicture:
    """Return a backdrop for a person; equal arguments give equal pixels.

    Args:
        person: colours of the person (`Avatar.person`).
        mask: 255 where the person is.
        size_px: side of the backdrop in pixels.
    """
    lab = cv2.cvtColor(_small(person).astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    weight = _small(mask).astype(np.float32) / 255
    upper = weight[: RENDER_SIDE * 3 // 4]
    outline = np.zeros_like(weight)
    outline[: len(upper)] = upper * (cv2.blur(weight, (9, 9))[: len(upper)] < 0.95)
    lightness = _mean(lab[..., 0], outline) if outline.sum() > 1 else 50.0
    colour = np.array([_mean(lab[..., channel], weight) for channel in (1, 2)]) * CHROMA
    colour *= min(1.0, MAX_CHROMA / max(float(np.hypot(*colour)), 1e-6))
    darker = lightness - CONTRAST
    middle = darker if darker >= DARKEST and lightness > 50 else lightness + CONTRAST
    middle = min(max(middle, DARKEST), LIGHTEST)
    down, right = np.mgrid[:RENDER_SIDE, :RENDER_SIDE].astype(np.float32) / (RENDER_SIDE - 1)
    bend, strokes = np.zeros_like(down), np.zeros_like(down)
    for across, along, phase in WAVES:
        bend = np.sin(2 * np.pi * (across * right + along * down + phase) + 1.7 * bend)
        strokes += bend / len(WAVES)
    glow = np.exp(-((right - 0.5) ** 2 + (down - 0.42) ** 2) / 0.12)
    backdrop = np.empty((RENDER_SIDE, RENDER_SIDE, 3), np.float32)
    backdrop[..., 0] = middle + GRADIENT * (0.5 - down) + GLOW * (glow - 0.5) + BRUSH * strokes
    backdrop[..., 1:] = colour + 0.35 * BRUSH * np.roll(strokes, RENDER_SIDE // 3, axis=0)[..., None]
    rgb = cv2.cvtColor(backdrop, cv2.COLOR_LAB2RGB).clip(0, 1) * 255
    return cv2.resize(rgb, (size_px, size_px), interpolation=cv2.INTER_CUBIC).clip(0, 255).round().astype(np.uint8)


def _small(plane: np.ndarray) -> np.ndarray:
    return cv2.resize(plane, (RENDER_SIDE, RENDER_SIDE), interpolation=cv2.INTER_AREA)


def _mean(values: np.ndarray, weights: np.ndarray) -> float:
    return float((values * weights).sum() / max(float(weights.sum()), 1e-6))
