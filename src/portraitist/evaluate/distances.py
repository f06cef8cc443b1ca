"""Frechet and kernel distances between the stylized selfies and the test portraits: FID, KID and their variants."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from portraitist.evaluate.data import EvaluationData, ImageSet, Pixels
from portraitist.evaluate.registry import Measurement, Metric, register
from portraitist.learning.realism import Features, Resamples, kernel_distance, kernel_distances
from portraitist.stats.bootstrap import Draws, TooFewSamplesError, confidence_interval

HALVINGS = 4  # random halvings of both sets; each gives the distances of two pairs of halves
LARGE_SET, FEW_DRAWS = 1000, 50  # with more than 1000 images, a Frechet distance is computed for only 50 resamples


def frechet_distance(a: Features, b: Features) -> float:
    """Return the Frechet distance |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)) (Heusel et al., NeurIPS 2017).

    m is the mean and C the covariance of the feature vectors in a set. With C_a = A A^T and C_b = B B^T, the trace of
    the square root is the sum of the singular values of A^T B. A matrix square root, which may be complex, is therefore
    not needed.
    """
    means = a.mean(axis=0) - b.mean(axis=0)
    root_a, root_b = _covariance_root(a), _covariance_root(b)
    cross_term = np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()
    return float(means @ means + (root_a**2).sum() + (root_b**2).sum() - 2 * cross_term)


def _covariance_root(features: Features) -> Features:
    """Return A^T, where A A^T is the covariance of the features. A^T has min(images, channels) rows."""
    centred = (features - features.mean(axis=0)) / np.sqrt(max(1, len(features) - 1))
    if len(features) <= features.shape[1]:
        return centred
    values, vectors = np.linalg.eigh(centred.T @ centred)
    return (vectors * np.sqrt(values.clip(0))).T


def extrapolated_frechet_distance(a: Features, b: Features) -> float:
    """Return an estimate of the Frechet distance between `a` and `b` for infinitely many images.

    Let D be the distance between `a` and `b`, and let H be the mean distance between a random half of `a` and a random
    half of `b`. The estimate is 2 D - H.

    If there are more images than features, the distance between two sets of n images is too large by about c / n, where
    c is a constant (Chong and Forsyth, CVPR 2020). The error of H is therefore about twice the error of D, and the two
    errors cancel in 2 D - H. If there are fewer images than features, the error decreases more slowly with n, and the
    estimate is still too large.
    """
    rng = np.random.default_rng(0)
    halves = []
    for _ in range(HALVINGS):
        order_a, order_b = rng.permutation(len(a)), rng.permutation(len(b))
        for half in (slice(0, None, 2), slice(1, None, 2)):
            halves.append(frechet_distance(a[order_a[half]], b[order_b[half]]))
    return 2 * frechet_distance(a, b) - float(np.mean(halves))


def _frechet_draws(
    compute: Callable[[Features, Features], float], a: Features, b: Features, of_a: Resamples, of_b: Resamples
) -> Draws:
    """Return the distance of each pair of resamples.

    For sets of more than LARGE_SET images, one distance takes seconds. In this case, only the first FEW_DRAWS distances
    are computed, and the others are NaN.
    """
    draws = np.full(len(of_a), np.nan)
    few = FEW_DRAWS if max(len(a), len(b)) > LARGE_SET else None
    for number, (some_a, some_b) in enumerate(itertools.islice(zip(of_a, of_b, strict=True), few)):
        draws[number] = compute(a[some_a], b[some_b])
    return draws


@dataclass(frozen=True)
class Distance:
    """A kind of distance between two sets of feature vectors."""

    compute: Callable[[Features, Features], float]  # returns the distance of two sets
    draws: Callable[[Features, Features, Resamples, Resamples], Draws]  # returns the distance of each pair of resamples
    description: str
    published_name: str  # what this distance is called if the features are Inception-v3's
    details: dict[str, Any] = field(default_factory=dict)


FRECHET = Distance(frechet_distance, partial(_frechet_draws, frechet_distance), "Frechet distance", "FID")
EXTRAPOLATED = Distance(
    extrapolated_frechet_distance,
    partial(_frechet_draws, extrapolated_frechet_distance),
    "Frechet distance, extrapolated to infinitely many images,",
    "FID",
    details={"halvings": HALVINGS},
)
KERNEL = Distance(
    kernel_distance, kernel_distances, "unbiased kernel distance", "KID", details={"subset": "all pictures"}
)

METRICS: tuple[tuple[str, Distance, str, Pixels], ...] = (
    ("fid", FRECHET, "inception", "whole picture"),
    ("fid_limit", EXTRAPOLATED, "inception", "whole picture"),
    ("kid", KERNEL, "inception", "whole picture"),
    ("foreground_fid", FRECHET, "inception", "person on grey"),
    ("foreground_fid_limit", EXTRAPOLATED, "inception", "person on grey"),
    ("foreground_kid", KERNEL, "inception", "person on grey"),
    ("frechet_lite0", FRECHET, "lite0", "whole picture"),
    ("frechet_limit_lite0", EXTRAPOLATED, "lite0", "whole picture"),
    ("kernel_lite0", KERNEL, "lite0", "whole picture"),
    ("foreground_frechet_lite0", FRECHET, "lite0", "person on grey"),
    ("foreground_frechet_limit_lite0", EXTRAPOLATED, "lite0", "person on grey"),
    ("foreground_kernel_lite0", KERNEL, "lite0", "person on grey"),
    ("foreground_kernel_lite2", KERNEL, "lite2", "person on grey"),
)
NETWORK_TITLES = {
    "inception": "Inception-v3, as published: {}",
    "lite0": "EfficientNet-Lite0: not {}",
    "lite2": "EfficientNet-Lite2, which no training uses: not {}",
}
PIXELS_TITLES: dict[Pixels, str] = {
    "whole picture": "between avatars and portraits, backgrounds included",
    "person on grey": "between avatars and portraits, with grey instead of the background",
}


def _describe(distance: Distance, network: str, pixels: Pixels) -> str:
    text = f"{distance.description} {PIXELS_TITLES[pixels]}; {NETWORK_TITLES[network].format(distance.published_name)}"
    return f"{text[0].upper()}{text[1:]}."


def _measure(data: EvaluationData, distance: Distance, network: str, pixels: Pixels) -> Measurement:
    """Return the distance between the stylized selfies and the test portraits.

    For the interval, both selfies and portraits are resampled.
    """
    value, draws = _from_portraits(data, "stylized", distance, network, pixels)
    return _with_interval(value, draws, data, distance, network, pixels)


def _measure_share(data: EvaluationData, distance: Distance, network: str, pixels: Pixels) -> Measurement:
    """Return the stylized selfies' distance from the test portraits, divided by the unchanged selfies' distance.

    Each bootstrap draw uses the same faces for both distances.
    """
    value, draws = _from_portraits(data, "stylized", distance, network, pixels)
    unchanged, unchanged_draws = _from_portraits(data, "selfies", distance, network, pixels)
    if unchanged <= 0:  # an unbiased estimate of a small distance may be negative
        raise TooFewSamplesError(
            f"the distance between portraits and unchanged selfies is {unchanged:.3g}; it must be above 0, because the "
            "method's distance is divided by it; add test pictures"
        )
    return _with_interval(value / unchanged, draws / unchanged_draws, data, distance, network, pixels)


def _from_portraits(
    data: EvaluationData, images: ImageSet, distance: Distance, network: str, pixels: Pixels
) -> tuple[float, Draws]:
    """Return the distance between a set of images and the test portraits, and the distance of each bootstrap draw."""
    a, b = data.features(network, images, pixels), data.features(network, "portraits", pixels)
    if min(len(a), len(b)) < 2:
        raise TooFewSamplesError(
            f"found {len(a)} avatars and {len(b)} test portraits; a distance needs at least 2 of each; add test "
            "pictures"
        )
    draws = distance.draws(a, b, data.resamples(len(a)), data.resamples(len(b), "portraits"))
    return distance.compute(a, b), draws


def _with_interval(
    value: float, draws: Draws, data: EvaluationData, distance: Distance, network: str, pixels: Pixels
) -> Measurement:
    faces, portraits = len(data.stylized), len(data.portraits)
    details = data.networks[network].details | {"n_portraits": portraits, "pixels": pixels} | distance.details
    low, high = confidence_interval(value, draws, min(faces, portraits))
    return Measurement(value, low, high, faces, details, draws=draws)


for _name, _distance, _network, _pixels in METRICS:
    register(
        Metric(
            _name,
            _describe(_distance, _network, _pixels),
            optimum=0.0,
            unit="",
            network=_network,
            measure=partial(_measure, distance=_distance, network=_network, pixels=_pixels),
        )
    )
register(
    Metric(
        "foreground_kernel_lite2_share",
        "`foreground_kernel_lite2` of the avatars, divided by that of the unchanged selfies. Below 1, avatars are "
        "nearer to the portraits than selfies are.",
        optimum=0.0,
        unit="",
        network="lite2",
        measure=partial(_measure_share, distance=KERNEL, network="lite2", pixels="person on grey"),
    )
)
