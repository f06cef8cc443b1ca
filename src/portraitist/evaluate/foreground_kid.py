"""KID of painted persons from the portraits' persons, both on grey: background not counted as style.

Unbiased: right on average however few the pictures, so it may fall below 0.
"""

from portraitist.evaluate._kernel import measured
from portraitist.evaluate.registry import Evidence, Measure

GOAL = 0.0
NETWORK = "inception"


def measure(evidence: Evidence) -> Measure:
    """The distance of the two sets."""
    return measured(NETWORK, "person on grey", evidence)
