"""Frechet distance of the avatars, background and all, from the portraits, on EfficientNet-Lite0: not FID.

Biased upward where pictures are few, as every Frechet distance is: compare only at equal n.
"""

from portraitist.evaluate._frechet import measured
from portraitist.evaluate.registry import Evidence, Measure

GOAL = 0.0
NETWORK = "lite0"


def measure(evidence: Evidence) -> Measure:
    """The distance of the two sets."""
    return measured(NETWORK, "whole picture", evidence)
