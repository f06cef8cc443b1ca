"""How far eyes, nose, mouth and ears have moved, in per cent of the distance of the eyes; of avatars with a face."""

import numpy as np

from portraitist.evaluate._faces import DETECTOR, moved, pairs
from portraitist.evaluate.registry import Evidence, Measure, mean_over_faces

GOAL = 0.0


def measure(evidence: Evidence) -> Measure:
    """The mean over faces that were found twice; `face_found` says how many were not."""
    values = [moved(selfie, avatar) if selfie and avatar else np.nan for selfie, avatar in pairs(evidence)]
    return mean_over_faces(np.array(values), evidence, detector=DETECTOR)
