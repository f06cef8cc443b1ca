"""Remove stains of colour from the painting of a blurred or black-and-white selfie.

The generator normalizes the contrast of its features. If a selfie has no fine detail, because it is out of focus or was
enlarged, the generator amplifies noise and compression artefacts to red and yellow stains. The stains are wider than
brush strokes, so they can be removed from the painting's low frequencies.

In the painting of a black-and-white selfie, all differences in hue are stains.
"""

import cv2
import numpy as np
from jaxtyping import Float32

from portraitist.app.framing import face_in_crop
from portraitist.core.types import MaskArray, Picture, SquarePicture
from portraitist.crop.align import Crop

# Detail of the face, as `detail` returns it: no correction from SHARP on, full correction up to BLURRED.
SHARP, BLURRED = 0.62, 0.52
FINE, COARSE = (1.0, 3.0), (2.0, 6.0)  # band-pass filters: standard deviations of two Gaussians, in pixels
STRENGTH = (0.7, 1.0, 1.0)  # fraction of the difference that a full correction removes, for L, a and b (CIELAB)
# Mean difference of a pixel's largest and smallest value (0 to 255): up to GREY, the painting gets a single tint; from
# COLOURED on, it keeps its hues.
GREY, COLOURED = 6.0, 10.0
GRID, SIGMA = 128, 0.015  # side in pixels at which low frequencies are computed; sigma as a fraction of the side


def stain_weight(crop: Crop) -> float:
    """Return how strongly a painting of this crop is corrected: from 0 (the face is sharp) to 1 (blurred)."""
    x, y, radius = face_in_crop(crop)
    top, left = max(0, round(y - radius)), max(0, round(x - radius))
    face = crop.square.picture[top : round(y + radius), left : round(x + radius)]
    return float(np.clip((SHARP - detail(face)) / (SHARP - BLURRED), 0, 1)) if face.size else 0.0


def detail(picture: Picture) -> float:
    """Return the contrast of a picture's fine structures, divided by the contrast of its coarse structures.

    Coarse structures are twice as large as fine ones; see FINE and COARSE.
    """
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32)

    def contrast(narrow: float, wide: float) -> float:
        return float((cv2.GaussianBlur(grey, (0, 0), narrow) - cv2.GaussianBlur(grey, (0, 0), wide)).std())

    return contrast(*FINE) / max(contrast(*COARSE), 1e-6)


def grey_weight(selfie: Picture, mask: MaskArray) -> float:
    """Return how grey the person in a selfie is: from 0 (coloured, or no person) to 1 (black and white)."""
    person = (mask > 127).astype(np.uint8)
    red, green, blue = cv2.split(selfie)
    spread = cv2.subtract(cv2.max(cv2.max(red, green), blue), cv2.min(cv2.min(red, green), blue))
    return float(np.clip((COLOURED - cv2.mean(spread, person)[0]) / (COLOURED - GREY), 0, 1)) if person.any() else 0.0


def with_one_tint(painting: SquarePicture, mask: MaskArray, weight: float) -> SquarePicture:
    """Move the hues of a painted person towards their mean; the lightness does not change.

    Args:
        painting: the painted crop.
        mask: 255 where the person is.
        weight: from 0 (no change) to 1 (CIELAB's a and b are the same everywhere).
    """
    person = mask > 127
    if weight == 0 or not person.any():
        return painting
    painted = cv2.cvtColor(painting.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    painted[..., 1:] += weight * (painted[person][:, 1:].mean(axis=0) - painted[..., 1:])
    result = np.rint(cv2.cvtColor(painted, cv2.COLOR_LAB2RGB).clip(0, 1) * 255).astype(np.uint8)
    return np.where(mask[..., None] > 0, result, painting)


def without_stains(painting: SquarePicture, selfie: SquarePicture, mask: MaskArray, weight: float) -> SquarePicture:
    """Move the low frequencies of a painted person towards the low frequencies of the selfie.

    The painting keeps its mean colour, the contrast of its lightness, and details that are finer than `SIGMA`.

    Args:
        painting: the painted crop.
        selfie: the crop before it was painted.
        mask: 255 where the person is.
        weight: strength of the correction, from 0 (none) to 1.
    """
    if weight == 0 or not mask.any():
        return painting
    painted, original = (cv2.cvtColor(each.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for each in (painting, selfie))
    weights = cv2.resize(mask, (GRID, GRID), interpolation=cv2.INTER_AREA).astype(np.float32)[..., None] / 255
    low = [_low_frequencies(each * (mask[..., None] / np.float32(255)), weights) for each in (painted, original)]
    means = [(each * weights).sum(axis=(0, 1)) / weights.sum() for each in low]
    spreads = [
        np.sqrt((((each - mean) ** 2) * weights).sum(axis=(0, 1))) for each, mean in zip(low, means, strict=True)
    ]
    scale = np.array([spreads[0][0] / max(float(spreads[1][0]), 1e-3), 1, 1], np.float32)
    correction = (means[0] + (low[1] - means[1]) * scale - low[0]) * (weight * np.array(STRENGTH, np.float32))
    side = painting.shape[0]
    enlarged = cv2.resize(correction.astype(np.float32), (side, side), interpolation=cv2.INTER_LINEAR)
    result = cv2.cvtColor(painted + enlarged * (mask[..., None] / np.float32(255)), cv2.COLOR_LAB2RGB)
    return np.rint(result.clip(0, 1) * 255).astype(np.uint8)


def _low_frequencies(weighted: Float32[np.ndarray, "side side 3"], weights: np.ndarray) -> np.ndarray:
    """Return the weighted local means of a picture, scaled to `GRID` pixels per side.

    Args:
        weighted: the picture at its full size; each pixel is multiplied by its weight.
        weights: the weights of the pixels, scaled to `GRID` pixels per side.
    """
    sigma = SIGMA * GRID
    reduced = cv2.resize(weighted, (GRID, GRID), interpolation=cv2.INTER_AREA)
    total = cv2.GaussianBlur(weights, (0, 0), sigma)[..., None]
    return cv2.GaussianBlur(reduced, (0, 0), sigma) / np.maximum(total, 1e-3)
