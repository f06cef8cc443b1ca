"""How much nearer an avatar is to a portrait that was trained on than portraits never seen are: 1 is a copy, 0 is none.

One minus the distance to the nearest trained portrait over the median such distance of the test portraits, not below 0;
distances are one minus the cosine of EfficientNet-Lite0's features of persons on grey. The mean over faces.
"""

import numpy as np

from portraitist.evaluate._cosine import nearest
from portraitist.evaluate.registry import Chosen, Evidence, Measure, Values, mean_beside_portraits

GOAL = 0.0
NETWORK = "lite0"


def measure(evidence: Evidence) -> Measure:
    """The mean over faces."""
    painted, portraits, studied = (
        evidence.features(NETWORK, kind, "person on grey") for kind in ("painted", "portraits", "studied")
    )
    apart, usual = nearest(painted, studied), nearest(portraits, studied)

    def copied(chosen: Chosen) -> Values:
        return (1 - apart / max(float(np.median(usual[chosen])), 1e-12)).clip(0)

    about = {"n_studied": len(studied), "usual": float(f"{np.median(usual):.4g}")}
    network = evidence.networks[NETWORK].about
    return mean_beside_portraits(copied, len(portraits), evidence, **about, **network)
