"""How much painted skin changes when one selfie is put on eight backgrounds: 0 is right.

For each face the mean distance (Delta E, CIE 1976) of its eight skin colours from their mean; the mean over faces.
"""

import numpy as np

from portraitist.augment.render import TEST_BACKGROUNDS
from portraitist.evaluate._skin import colours, skins
from portraitist.evaluate.registry import Evidence, Measure, by_parts, mean_over_faces
from portraitist.learning.tensors import Images, Masks

GOAL = 0.0


def measure(evidence: Evidence) -> Measure:
    """The mean over faces; where the skin is, the plain selfie says."""

    def spread(selfies: Images, masks: Masks, *turned: Images) -> np.ndarray:
        where = skins(selfies, masks, evidence.frame)
        each = np.stack([colours(painted, where) for painted in turned])  # background, face, L a b
        return np.linalg.norm(each - each.mean(axis=0), axis=-1).mean(axis=0)

    values = by_parts(spread, evidence.selfies, evidence.masks, *evidence.turned)
    return mean_over_faces(values, evidence, backgrounds=list(TEST_BACKGROUNDS))
