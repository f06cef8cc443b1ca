"""How well the masker still finds the person in what was painted: intersection over union with the selfie's mask."""

from portraitist.evaluate import Evidence, Measure, mean_with_interval
from portraitist.evaluate._overlap import overlaps


def measure(evidence: Evidence) -> Measure:
    """The mean over faces."""
    return mean_with_interval(overlaps(evidence.masker(evidence.painted), evidence.masks), evidence)
