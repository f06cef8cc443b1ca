"""Megabytes of weights that must be loaded to paint."""

from portraitist.evaluate.registry import Evidence, Measure, exact

GOAL = 0.0


def measure(evidence: Evidence) -> Measure:
    """As counted when it was painted."""
    return exact(evidence.cost["megabytes"])
