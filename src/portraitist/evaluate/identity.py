"""Whether the avatar is still the same person, to a face network of the user's choice: 1 is the selfie itself.

The cosine of the network's embeddings of selfie and avatar; the mean over faces.
"""

from portraitist.evaluate._cosine import apart
from portraitist.evaluate.registry import Evidence, Measure, mean_over_faces

GOAL = 1.0
NETWORK = "identity"


def measure(evidence: Evidence) -> Measure:
    """The mean over faces."""
    painted = evidence.features(NETWORK, "painted", "whole picture")
    selfies = evidence.features(NETWORK, "selfies", "whole picture")
    return mean_over_faces(1 - apart(painted, selfies), evidence, **evidence.networks[NETWORK].about)
