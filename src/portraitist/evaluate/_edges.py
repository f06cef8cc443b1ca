"""How sharp persons are, and how many lines they are drawn with."""

from collections.abc import Callable

import cv2
import numpy as np

from portraitist.evaluate.registry import Chosen, Evidence, Measure, Values, by_parts, mean_beside_portraits
from portraitist.learning.tensors import Images, Masks, to_pictures

CANNY = (100, 200)
INWARD = 0.03  # of the side: the person's outline is no line of the painting


def _inner(mask: np.ndarray) -> np.ndarray:
    width = 2 * max(1, round(INWARD * mask.shape[0])) + 1
    inner = cv2.erode((mask > 0.5).astype(np.uint8), np.ones((width, width), np.uint8)) > 0
    return inner if inner.any() else np.ones_like(inner)


def _greys(images: Images) -> list[np.ndarray]:
    return [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in to_pictures(images)]


def sharpness(images: Images, masks: Masks) -> np.ndarray:
    """Mean absolute Laplacian of the person's grey values, of 255."""
    pairs = zip(_greys(images), masks[:, 0].numpy(), strict=True)
    return np.array([np.abs(cv2.Laplacian(grey, cv2.CV_64F))[_inner(mask)].mean() for grey, mask in pairs])


def lines(images: Images, masks: Masks) -> np.ndarray:
    """The share of the person's pixels that are edges (Canny)."""
    pairs = zip(_greys(images), masks[:, 0].numpy(), strict=True)
    return np.array([(cv2.Canny(grey, *CANNY) > 0)[_inner(mask)].mean() for grey, mask in pairs])


def over_portraits(of: Callable[[Images, Masks], np.ndarray], evidence: Evidence) -> Measure:
    """What `of` says of painted persons, over its mean of the portraits' persons; the mean over faces."""
    portraits = by_parts(of, evidence.portraits, evidence.portrait_masks)
    painted = by_parts(of, evidence.painted, evidence.masks)

    def beside(chosen: Chosen) -> Values:
        return painted / max(float(portraits[chosen].mean()), 1e-12)

    usual = float(f"{portraits.mean():.4g}")
    return mean_beside_portraits(beside, len(portraits), evidence, portraits=usual)
