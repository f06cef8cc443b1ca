"""Billions of floating-point operations for one avatar at the size trained at; seconds depend on the machine."""

from portraitist.evaluate.registry import Evidence, Measure, exact

GOAL = 0.0


def measure(evidence: Evidence) -> Measure:
    """As counted when it was painted."""
    return exact(evidence.cost["gflop"], side_px=evidence.frame.size_px)
