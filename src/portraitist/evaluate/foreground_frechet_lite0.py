"""Frechet distance of painted foregrounds from the portraits', on EfficientNet-Lite0's features.

Not FID, which is on another network. Biased upward where pictures are few, as every Frechet distance is:
compare only at equal n.
"""

import numpy as np

from portraitist.evaluate import Evidence, Features, Measure, set_distance


def frechet(one: Features, other: Features) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) (Heusel et al. 2017).

    The trace of the root is the sum of the singular values of A1^T A2, C = A A^T: no root of a matrix, never complex.
    """
    means = one.mean(axis=0) - other.mean(axis=0)
    first = (one - one.mean(axis=0)) / np.sqrt(max(1, len(one) - 1))
    second = (other - other.mean(axis=0)) / np.sqrt(max(1, len(other) - 1))
    shared = np.linalg.svd(first @ second.T, compute_uv=False).sum()
    return float(means @ means + (first**2).sum() + (second**2).sum() - 2 * shared)


def measure(evidence: Evidence) -> Measure:
    """The distance of the two sets."""
    return set_distance(frechet, evidence)
