"""Frechet distance on EfficientNet-Lite0 as it would be of sets without end, persons only.

On the line through the distance and that of halves of both sets; see _frechet.py for what it cannot do.
"""

from portraitist.evaluate._frechet import measured_extrapolated
from portraitist.evaluate.registry import Evidence, Measure

GOAL = 0.0
NETWORK = "lite0"


def measure(evidence: Evidence) -> Measure:
    """The distance of the two sets."""
    return measured_extrapolated(NETWORK, "person on grey", evidence)
