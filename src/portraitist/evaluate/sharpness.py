"""How sharp painted persons are beside the portraits' persons: 1 is as sharp, below 1 is blurred.

Mean absolute Laplacian of the person's grey values, over the portraits' mean of the same. The mean over faces.
"""

from portraitist.evaluate import Chosen, Evidence, Measure, Values, by_parts, mean_beside_portraits
from portraitist.evaluate._edges import sharpness

GOAL = 1.0


def measure(evidence: Evidence) -> Measure:
    """The mean over faces."""
    portraits = by_parts(sharpness, evidence.portraits, evidence.portrait_masks)
    painted = by_parts(sharpness, evidence.painted, evidence.masks)

    def beside(chosen: Chosen) -> Values:
        return painted / max(float(portraits[chosen].mean()), 1e-12)

    usual = float(f"{portraits.mean():.4g}")
    return mean_beside_portraits(beside, len(portraits), evidence, portraits=usual)
