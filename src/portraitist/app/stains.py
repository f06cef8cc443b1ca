"""Remove stains of colour from a painting.

The generator normalizes the contrast of its features. It therefore paints stains where a selfie has neither detail nor
contrast: a red spot in dark hair, or a violet one on a forehead. The stains are wider than brush strokes, so they can
be removed from the painting's low frequencies. An affine function of the selfie's colours predicts these low
frequencies. Where the painting's colours are not between the selfie's and the predicted ones, their deviation is
limited.

If a selfie is out of focus or was enlarged, the generator amplifies noise and compression artefacts everywhere. The
painting's low frequencies are then also moved towards the selfie's.

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
GRID, SIGMA = 64, 0.015  # side in pixels at which low frequencies are computed; sigma as a fraction of the side
# Differences of colour in CIELAB (ΔE), in which the difference in lightness counts less: the largest deviation that
# remains, and the smallest difference from the prediction that gets less weight in the fit.
MAX_DEVIATION, OUTLIER, LIGHTNESS_WEIGHT = 3.0, 5.0, 0.6
FITS = 3  # number of fits; each gives less weight to the outliers of the one before
RIDGE = 1e-4  # added to the normalized sums of squares, so that a selfie of a single colour can be fitted, too

Colours = Float32[np.ndarray, "grid grid 3"]
Weights = Float32[np.ndarray, "grid grid 1"]


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
    """Correct the low frequencies of a painted person by the low frequencies of the selfie.

    Details that are finer than `SIGMA` do not change. The mean colour and the contrast of lightness hardly change.

    Args:
        painting: the painted crop.
        selfie: the crop before it was painted.
        mask: 255 where the person is.
        weight: from 0 to 1; how far the low frequencies are moved towards the selfie's before deviations are limited.
    """
    if not mask.any():
        return painting
    weights = _reduce(mask.astype(np.float32)) / 255
    total = np.maximum(_blur(weights)[..., None], 1e-6)
    low_painting, low_selfie = (_blur(_reduce(_masked(each, mask))) / total for each in (painting, selfie))
    painted, original = (cv2.cvtColor(each / 255, cv2.COLOR_RGB2LAB) for each in (low_painting, low_selfie))
    corrected = limit_deviations(_moved_towards(painted, original, weights, weight), original, weights)
    correction = (cv2.cvtColor(corrected, cv2.COLOR_LAB2RGB) - cv2.cvtColor(painted, cv2.COLOR_LAB2RGB)) * 255
    enlarged = cv2.resize(correction, painting.shape[:2], interpolation=cv2.INTER_LINEAR)
    return cv2.add(painting, _masked(enlarged, mask), dtype=cv2.CV_8U)


def limit_deviations(painted: Colours, original: Colours, weights: Weights) -> Colours:
    """Limit how far a painting's colours deviate from those between the selfie's colours and their prediction.

    The prediction is an affine function of the selfie's colours. The deviation from the nearest colour between selfie
    and prediction is limited to `MAX_DEVIATION`.

    Args:
        painted: colours of the painting, CIELAB.
        original: colours of the selfie, CIELAB.
        weights: weights of the pixels, 0 to 1.
    """
    scale = np.array([LIGHTNESS_WEIGHT, 1, 1], np.float32)
    colours, targets = (original * scale).reshape(-1, 3), (painted * scale).reshape(-1, 3)
    predicted = _predict(targets, colours, weights.reshape(-1, 1) / weights.sum())
    segment = colours - predicted
    position = ((targets - predicted) * segment).sum(axis=1, keepdims=True) / np.maximum(
        (segment**2).sum(axis=1, keepdims=True), 1e-6
    )
    nearest = predicted + position.clip(0, 1) * segment
    sizes = np.linalg.norm(targets - nearest, axis=1, keepdims=True)
    limited = nearest + (targets - nearest) * np.minimum(1, MAX_DEVIATION / np.maximum(sizes, 1e-6))
    return (limited.reshape(painted.shape) / scale).astype(np.float32)


def _predict(targets: np.ndarray, colours: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Fit an affine function of colours to target colours, and return its values.

    Outliers get less weight (iteratively reweighted least squares with Huber's weights).

    Args:
        targets: target colours, pixels x 3.
        colours: colours, pixels x 3.
        weights: weights of the pixels, pixels x 1; their sum is 1.
    """
    values = np.concatenate([np.ones_like(weights), colours / 100], axis=1)
    ridge = RIDGE * np.diag([0, 1, 1, 1])
    predicted, robust = targets, weights
    for _ in range(FITS):
        weighted = (values * robust).T
        predicted = values @ np.linalg.solve(weighted @ values + ridge, weighted @ targets)
        sizes = np.linalg.norm(targets - predicted, axis=1, keepdims=True)
        robust = weights * np.minimum(1, OUTLIER / np.maximum(sizes, 1e-6))
    return predicted


def _moved_towards(painted: Colours, original: Colours, weights: Weights, weight: float) -> Colours:
    """Move colours of a painting towards those of the selfie, but keep the mean and the contrast of the lightness."""
    if weight == 0:
        return painted
    means = [(each * weights).sum(axis=(0, 1)) / weights.sum() for each in (painted, original)]
    painted_spread, spread = (
        float(np.sqrt((((each - mean) ** 2) * weights).sum(axis=(0, 1))[0]))
        for each, mean in zip((painted, original), means, strict=True)
    )
    scale = np.array([painted_spread / max(spread, 1e-3), 1, 1], np.float32)
    target = means[0] + (original - means[1]) * scale
    return painted + (target - painted) * (weight * np.array(STRENGTH, np.float32))


def _masked(picture: np.ndarray, mask: MaskArray) -> Float32[np.ndarray, "side side 3"]:
    return cv2.multiply(picture, cv2.merge([mask] * 3), scale=1 / 255, dtype=cv2.CV_32F)


def _reduce(values: np.ndarray) -> np.ndarray:
    return cv2.resize(values, (GRID, GRID), interpolation=cv2.INTER_AREA).reshape(GRID, GRID, -1)


def _blur(values: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(values, (0, 0), SIGMA * GRID)
