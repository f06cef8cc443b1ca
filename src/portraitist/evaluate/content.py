"""Metrics from cosine distances of features: change of the content, and similarity to single training portraits."""

import numpy as np

from portraitist.evaluate.data import EvaluationData
from portraitist.evaluate.registry import (
    Indices,
    Measurement,
    Values,
    mean_over_faces,
    mean_relative_to_portraits,
    metric,
)
from portraitist.learning.realism import Features

NETWORK = "lite0"
DECIMALS = 9  # distances are rounded, so that the distance between equal features is exactly 0


def _normalize(features: Features) -> Features:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def cosine_distances(a: Features, b: Features) -> Values:
    """Return one minus the cosine similarity of row i of `a` and row i of `b`, for each i; from 0 to 2."""
    return (1 - (_normalize(a) * _normalize(b)).sum(axis=1)).round(DECIMALS)


def nearest_cosine_distances(a: Features, b: Features) -> Values:
    """Return the cosine distance of each row of `a` from the nearest row of `b`."""
    return (1 - _normalize(a) @ _normalize(b).T).min(axis=1).round(DECIMALS)


@metric(
    name="content_lite0",
    description="Cosine distance between the EfficientNet-Lite0 features of selfie and avatar, with grey instead of "
    "the background; 0 is an unchanged selfie.",
    optimum=0.0,
    network=NETWORK,
)
def content(data: EvaluationData) -> Measurement:
    """Return the cosine distance between the features of selfie and avatar, as a mean over faces.

    Features are computed with grey instead of the background.
    """
    stylized = data.features(NETWORK, "stylized", "person on grey")
    selfies = data.features(NETWORK, "selfies", "person on grey")
    return mean_over_faces(cosine_distances(stylized, selfies), data, **data.networks[NETWORK].details)


@metric(
    name="memorised_lite0",
    description="Similarity of avatars to single training portraits (EfficientNet-Lite0): 1 is a copy of a training "
    "portrait, 0 is at most as similar as test portraits are.",
    optimum=0.0,
    network=NETWORK,
)
def memorised(data: EvaluationData) -> Measurement:
    """Return the mean over avatars of 1 - d / m; negative values count as 0.

    d is an avatar's cosine distance from the nearest training portrait. m is the median distance of the test portraits
    from their nearest training portraits. Features are computed with grey instead of the background.
    """
    stylized = data.features(NETWORK, "stylized", "person on grey")
    portraits = data.features(NETWORK, "portraits", "person on grey")
    training_portraits = data.features(NETWORK, "training_portraits", "person on grey")
    distances = nearest_cosine_distances(stylized, training_portraits)
    baseline = nearest_cosine_distances(portraits, training_portraits)

    def memorisation(test_portraits: Indices) -> Values:
        return (1 - distances / max(float(np.median(baseline[test_portraits])), 1e-12)).clip(0)

    return mean_relative_to_portraits(
        memorisation,
        len(portraits),
        data,
        n_training_portraits=len(training_portraits),
        median_distance=float(f"{np.median(baseline):.4g}"),
        **data.networks[NETWORK].details,
    )
