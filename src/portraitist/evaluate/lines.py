"""How much of painted persons is drawn lines, beside the portraits' persons: 1 is as much.

The share of the person's pixels on edges (Canny, thresholds 100 and 200), over the portraits' mean of the same.
"""

from portraitist.evaluate import Evidence, Measure
from portraitist.evaluate._edges import lines, over_portraits

GOAL = 1.0


def measure(evidence: Evidence) -> Measure:
    """The mean over faces."""
    return over_portraits(lines, evidence)
