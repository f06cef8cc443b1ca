"""How much painted skin changes when one selfie is put on eight backgrounds: 0 is right.

For each face the mean distance (Delta E, CIE 1976) of its eight skin colours from their mean; the mean over faces.
"""

import numpy as np

from portraitist.augment import TEST_BACKGROUNDS
from portraitist.evaluate import Evidence, Measure, mean_with_interval
from portraitist.evaluate._skin import colours, skins


def measure(evidence: Evidence) -> Measure:
    """The mean over faces; where the skin is, the plain selfie says."""
    where = skins(evidence.selfies, evidence.masks, evidence.frame)
    each = np.stack([colours(painted, where) for painted in evidence.turned])  # background, face, L a b
    spread = np.linalg.norm(each - each.mean(axis=0), axis=-1).mean(axis=0)
    return mean_with_interval(spread, evidence, backgrounds=list(TEST_BACKGROUNDS))
