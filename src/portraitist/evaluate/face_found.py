"""In which share of the avatars the detector still finds a face, of those selfies in which it found one."""

from dataclasses import replace

import numpy as np

from portraitist.evaluate._faces import DETECTOR, pairs
from portraitist.evaluate.registry import Evidence, Measure, mean_over_faces

GOAL = 1.0


def wilson(rate: float, n: int) -> tuple[float, float]:
    """The 95 % interval of a rate (Wilson 1927): 34 of 34 faces do not prove that all are found."""
    z2 = 1.959964**2
    middle = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (rate * (1 - rate) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def measure(evidence: Evidence) -> Measure:
    """The rate, with Wilson's interval."""
    found = [np.nan if selfie is None else float(avatar is not None) for selfie, avatar in pairs(evidence)]
    rate = mean_over_faces(np.array(found), evidence, detector=DETECTOR, interval="Wilson")
    low, high = wilson(rate.value, rate.n)
    return replace(rate, low=low, high=high)
