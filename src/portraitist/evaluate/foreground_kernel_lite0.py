"""Kernel distance of painted foregrounds from the portraits', on EfficientNet-Lite0's features.

Not KID, which is on another network. The unbiased estimate, all pictures at once:
right on average however few they are, so it may fall below 0.
"""

import numpy as np

from portraitist.evaluate import Evidence, Features, Measure, set_distance


def kernel(one: Features, other: Features) -> float:
    """Squared maximum mean discrepancy with the kernel (x.y / d + 1)^3 (Binkowski et al. 2018), unbiased.

    Raises:
        ValueError: A set holds fewer than two pictures.
    """
    if min(len(one), len(other)) < 2:
        raise ValueError(f"{len(one)} and {len(other)} pictures; two of each are needed")

    def similar(a: Features, b: Features) -> np.ndarray:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def among(a: Features) -> float:
        all_pairs = similar(a, a)
        return float((all_pairs.sum() - np.trace(all_pairs)) / (len(a) * (len(a) - 1)))

    return among(one) + among(other) - 2 * float(similar(one, other).mean())


def measure(evidence: Evidence) -> Measure:
    """The distance of the two sets."""
    return set_distance(kernel, evidence)
