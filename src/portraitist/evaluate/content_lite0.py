"""How far the painted face has gone from the selfie's: distance of their EfficientNet-Lite0 features, 0 unchanged."""

from portraitist.evaluate._cosine import apart
from portraitist.evaluate.registry import Evidence, Measure, mean_over_faces

GOAL = 0.0
NETWORK = "lite0"


def measure(evidence: Evidence) -> Measure:
    """One minus the cosine of each selfie's and its painting's features; the mean over faces."""
    painted = evidence.features(NETWORK, "painted", "person on grey")
    selfies = evidence.features(NETWORK, "selfies", "person on grey")
    return mean_over_faces(apart(painted, selfies), evidence, **evidence.networks[NETWORK].about)
