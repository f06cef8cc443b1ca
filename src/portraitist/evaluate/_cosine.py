"""One minus the cosine of features."""

import numpy as np

from portraitist.evaluate.registry import Features, Values

DIGITS = 9  # after the point: equal features are 0 apart, not a rounding error


def _unit(features: Features) -> Features:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def apart(one: Features, other: Features) -> Values:
    """Of each pair."""
    return (1 - (_unit(one) * _unit(other)).sum(axis=1)).round(DIGITS)


def nearest(one: Features, others: Features) -> Values:
    """Of each of one from the nearest of the others."""
    return (1 - _unit(one) @ _unit(others).T).min(axis=1).round(DIGITS)
