"""How sharp painted persons are beside the portraits' persons: 1 is as sharp, below 1 is blurred.

Mean absolute Laplacian of the person's grey values, over the portraits' mean of the same. The mean over faces.
"""

from portraitist.evaluate import Evidence, Measure, by_parts, mean_over_faces
from portraitist.evaluate._edges import sharpness

GOAL = 1.0


def measure(evidence: Evidence) -> Measure:
    """The mean over faces."""
    usual = float(by_parts(sharpness, evidence.portraits, evidence.portrait_masks).mean())
    values = by_parts(sharpness, evidence.painted, evidence.masks) / max(usual, 1e-12)
    return mean_over_faces(values, evidence, portraits=float(f"{usual:.4g}"))
