"""The kernel distance of two sets of features."""

import numpy as np

from portraitist.evaluate.registry import Evidence, Features, Measure, Seen, distance_of_sets
from portraitist.stats.bootstrap import TooFewSamplesError


def kernel(one: Features, other: Features) -> float:
    """Squared maximum mean discrepancy with the kernel (x.y / d + 1)^3 (Binkowski et al. 2018), unbiased.

    All pictures at once: no subsets are drawn.

    Raises:
        TooFewError: A set holds fewer than two pictures.
    """
    if min(len(one), len(other)) < 2:
        raise TooFewSamplesError(f"{len(one)} and {len(other)} pictures; two of each are needed")

    def similar(a: Features, b: Features) -> np.ndarray:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def among(a: Features) -> float:
        all_pairs = similar(a, a)
        return float((all_pairs.sum() - np.trace(all_pairs)) / (len(a) * (len(a) - 1)))

    return among(one) + among(other) - 2 * float(similar(one, other).mean())


def measured(network: str, seen: Seen, evidence: Evidence) -> Measure:
    """The distance of the two sets."""
    return distance_of_sets(kernel, network, seen, evidence, subset="all pictures")
