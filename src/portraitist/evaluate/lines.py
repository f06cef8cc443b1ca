"""How much of painted persons is drawn lines, beside the portraits' persons: 1 is as much.

The share of the person's pixels on edges (Canny, thresholds 100 and 200), over the portraits' mean of the same.
"""

from portraitist.evaluate import Chosen, Evidence, Measure, Values, by_parts, mean_beside_portraits
from portraitist.evaluate._edges import lines

GOAL = 1.0


def measure(evidence: Evidence) -> Measure:
    """The mean over faces."""
    portraits = by_parts(lines, evidence.portraits, evidence.portrait_masks)
    painted = by_parts(lines, evidence.painted, evidence.masks)

    def beside(chosen: Chosen) -> Values:
        return painted / max(float(portraits[chosen].mean()), 1e-12)

    usual = float(f"{portraits.mean():.4g}")
    return mean_beside_portraits(beside, len(portraits), evidence, portraits=usual)
