"""How much nearer an avatar is to a portrait that was trained on than portraits never seen are: 1 is a copy, 0 is none.

One minus the distance to the nearest trained portrait over the median such distance of the test portraits, not below 0;
distances are one minus the cosine of EfficientNet-Lite0's features of persons on grey. The mean over faces.
"""

import numpy as np

from portraitist.evaluate import Evidence, Measure, mean_over_faces
from portraitist.evaluate._cosine import nearest

GOAL = 0.0
NETWORK = "lite0"


def measure(evidence: Evidence) -> Measure:
    """The mean over faces."""
    painted, portraits, studied = (
        evidence.features(NETWORK, kind, "person on grey") for kind in ("painted", "portraits", "studied")
    )
    usual = float(np.median(nearest(portraits, studied)))
    values = (1 - nearest(painted, studied) / max(usual, 1e-12)).clip(0)
    about = {"n_studied": len(studied), "usual": float(f"{usual:.4g}")}
    return mean_over_faces(values, evidence, **about, **evidence.networks[NETWORK].about)
