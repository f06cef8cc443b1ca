"""How much of painted persons is drawn lines, beside the portraits' persons: 1 is as much.

The share of the person's pixels on edges (Canny, thresholds 100 and 200), over the portraits' mean of the same.
"""

from portraitist.evaluate import Evidence, Measure, by_parts, mean_over_faces
from portraitist.evaluate._edges import lines

GOAL = 1.0


def measure(evidence: Evidence) -> Measure:
    """The mean over faces."""
    usual = float(by_parts(lines, evidence.portraits, evidence.portrait_masks).mean())
    values = by_parts(lines, evidence.painted, evidence.masks) / max(usual, 1e-12)
    return mean_over_faces(values, evidence, portraits=float(f"{usual:.4g}"))
