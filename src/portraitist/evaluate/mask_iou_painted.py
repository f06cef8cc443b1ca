"""How well the segmenter still finds the person in what was painted: intersection over union with the selfie's mask."""

import numpy as np

from portraitist.evaluate._overlap import overlaps
from portraitist.evaluate.registry import Evidence, Measure, by_parts, mean_over_faces
from portraitist.learning.tensors import Images, Masks

GOAL = 1.0


def measure(evidence: Evidence) -> Measure:
    """The mean over faces."""

    def found(painted: Images, masks: Masks) -> np.ndarray:
        return overlaps(evidence.segmenter(painted), masks)

    return mean_over_faces(by_parts(found, evidence.painted, evidence.masks), evidence)
