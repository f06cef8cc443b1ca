"""The Frechet distance of two sets of features as Gaussians, and what it would be of sets without end."""

import numpy as np

from portraitist.evaluate.registry import Evidence, Features, Measure, Seen, distance_of_sets

HALVINGS = 4  # each is two distances of halves
MANY, FEW_DRAWS = 1000, 50  # above so many pictures, so many draws


def frechet(one: Features, other: Features) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) (Heusel et al. 2017).

    The trace of the root is the sum of the singular values of A1^T A2, C = A A^T: no root of a matrix, never complex.
    """
    means = one.mean(axis=0) - other.mean(axis=0)
    first, second = _arms(one), _arms(other)
    shared = np.linalg.svd(first @ second.T, compute_uv=False).sum()
    return float(means @ means + (first**2).sum() + (second**2).sum() - 2 * shared)


def _arms(features: Features) -> Features:
    """A^T with A A^T the covariance, in as few rows as do: memory is that of a covariance, however many pictures."""
    centred = (features - features.mean(axis=0)) / np.sqrt(max(1, len(features) - 1))
    if len(features) <= features.shape[1]:
        return centred
    values, vectors = np.linalg.eigh(centred.T @ centred)
    return (vectors * np.sqrt(values.clip(0))).T


def extrapolated(one: Features, other: Features) -> float:
    """The distance of sets without end, on the line through that of both sets and that of their halves.

    The bias falls as one over n (Chong and Forsyth, CVPR 2020) once a set holds more pictures than features; below that
    it falls slower, and this still lies above the truth.
    """
    rng = np.random.default_rng(0)
    halves = []
    for _ in range(HALVINGS):
        few, others = rng.permutation(len(one)), rng.permutation(len(other))
        for part in (slice(0, None, 2), slice(1, None, 2)):
            halves.append(frechet(one[few[part]], other[others[part]]))
    return 2 * frechet(one, other) - float(np.mean(halves))


def measured(network: str, seen: Seen, evidence: Evidence) -> Measure:
    """The distance as it is."""
    return distance_of_sets(frechet, network, seen, evidence, _at_most(evidence))


def measured_extrapolated(network: str, seen: Seen, evidence: Evidence) -> Measure:
    """The distance of sets without end."""
    return distance_of_sets(extrapolated, network, seen, evidence, _at_most(evidence), halvings=HALVINGS)


def _at_most(evidence: Evidence) -> int | None:
    """All draws of few pictures; of many some, for each then takes seconds and differs little."""
    return FEW_DRAWS if max(len(evidence.painted), len(evidence.portraits)) > MANY else None
