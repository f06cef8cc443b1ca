"""How much of painted persons is drawn lines, beside the portraits' persons: 1 is as much.

The share of the person's pixels on edges (Canny, thresholds 100 and 200), over the portraits' mean of the same.
"""

from portraitist.evaluate._edges import lines, over_portraits
from portraitist.evaluate.registry import Evidence, Measure

GOAL = 1.0


def measure(evidence: Evidence) -> Measure:
    """The mean over faces."""
    return over_portraits(lines, evidence)
