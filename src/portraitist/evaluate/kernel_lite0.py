"""Kernel distance of the avatars, background and all, from the portraits, on EfficientNet-Lite0: not KID.

Unbiased: right on average however few the pictures, so it may fall below 0.
"""

from portraitist.evaluate._kernel import measured
from portraitist.evaluate.registry import Evidence, Measure

GOAL = 0.0
NETWORK = "lite0"


def measure(evidence: Evidence) -> Measure:
    """The distance of the two sets."""
    return measured(NETWORK, "whole picture", evidence)
