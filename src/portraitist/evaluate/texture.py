"""Sharpness, and density of edges, inside the persons in avatars, relative to the test portraits."""

from collections.abc import Callable

import cv2
import numpy as np

from portraitist.evaluate.data import EvaluationData, map_batches
from portraitist.evaluate.registry import Indices, Measurement, Values, mean_relative_to_portraits, metric
from portraitist.learning.tensors import CANNY_THRESHOLDS, Images, Masks, to_pictures
from portraitist.stats.bootstrap import TooFewSamplesError

EROSION = 0.03  # width of the person's outline that is left out, as a fraction of the image's height


def _interior(mask: np.ndarray) -> np.ndarray:
    width = 2 * max(1, round(EROSION * mask.shape[0])) + 1
    interior = cv2.erode((mask > 0.5).astype(np.uint8), np.ones((width, width), np.uint8)) > 0
    return interior if interior.any() else np.ones_like(interior)


def _grey_and_interior(images: Images, masks: Masks) -> list[tuple[np.ndarray, np.ndarray]]:
    greys = [cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in to_pictures(images)]
    return [(grey, _interior(mask)) for grey, mask in zip(greys, masks[:, 0].numpy(), strict=True)]


def mean_laplacian(images: Images, masks: Masks) -> np.ndarray:
    """Return the mean absolute Laplacian inside the person of each image.

    The images are first converted to grey levels from 0 to 255.
    """
    pairs = _grey_and_interior(images, masks)
    return np.array([np.abs(cv2.Laplacian(grey, cv2.CV_64F))[interior].mean() for grey, interior in pairs])


def edge_density(images: Images, masks: Masks) -> np.ndarray:
    """Return the share of the person's pixels that are Canny edges, for each image, in [0, 1]."""
    pairs = _grey_and_interior(images, masks)
    return np.array([(cv2.Canny(grey, *CANNY_THRESHOLDS) > 0)[interior].mean() for grey, interior in pairs])


def _relative_to_portraits(statistic: Callable[[Images, Masks], np.ndarray], data: EvaluationData) -> Measurement:
    portraits = map_batches(statistic, data.portraits, data.portrait_masks)
    stylized = map_batches(statistic, data.stylized, data.masks)

    if not portraits.any():
        raise TooFewSamplesError("no test portrait has any edges; add sharper portraits")

    def ratio(some_portraits: Indices) -> Values:
        mean = float(portraits[some_portraits].mean())
        return stylized / mean if mean > 0 else np.full(len(stylized), np.nan)

    return mean_relative_to_portraits(ratio, len(portraits), data, portraits=float(f"{portraits.mean():.4g}"))


@metric(
    name="sharpness",
    description="Mean absolute Laplacian inside the person, divided by that of the portraits; below 1, avatars are "
    "more blurred than portraits.",
    optimum=1.0,
)
def sharpness(data: EvaluationData) -> Measurement:
    """Return the mean absolute Laplacian inside the persons in avatars, divided by the same mean for test portraits."""
    return _relative_to_portraits(mean_laplacian, data)


@metric(
    name="lines",
    description="Share of edge pixels (Canny, thresholds 100 and 200) inside the person, divided by that of the "
    "portraits.",
    optimum=1.0,
)
def lines(data: EvaluationData) -> Measurement:
    """Return the mean share of edge pixels inside the persons in avatars, divided by the share in test portraits."""
    return _relative_to_portraits(edge_density, data)
