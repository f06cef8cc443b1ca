"""How well the face's box in the avatar lies on the selfie's: intersection over union, 0 where no face is found."""

import numpy as np

from portraitist.core.geometry import box_iou
from portraitist.evaluate._faces import DETECTOR, pairs
from portraitist.evaluate.registry import Evidence, Measure, mean_over_faces

GOAL = 1.0


def measure(evidence: Evidence) -> Measure:
    """The mean over selfies in which a face was found."""
    values = [
        np.nan if not selfie else box_iou(selfie.box, np.array([avatar.box]))[0] if avatar else 0.0
        for selfie, avatar in pairs(evidence)
    ]
    return mean_over_faces(np.array(values), evidence, detector=DETECTOR)
