"""How sharp painted persons are beside the portraits' persons: 1 is as sharp, below 1 is blurred.

Mean absolute Laplacian of the person's grey values, over the portraits' mean of the same. The mean over faces.
"""

from portraitist.evaluate._edges import over_portraits, sharpness
from portraitist.evaluate.registry import Evidence, Measure

GOAL = 1.0


def measure(evidence: Evidence) -> Measure:
    """The mean over faces."""
    return over_portraits(sharpness, evidence)
