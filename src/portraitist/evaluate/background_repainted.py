"""Mean absolute change outside the person's mask, of 255: 0 where the background stays as the selfie has it."""

import numpy as np

from portraitist.core.types import HALF_RANGE
from portraitist.evaluate.registry import Evidence, Measure, by_parts, mean_over_faces
from portraitist.learning.tensors import Images, Masks

GOAL = 0.0


def changed(selfies: Images, masks: Masks, painted: Images) -> np.ndarray:
    """Each face's change; soft edges count by their share."""
    outside = 1 - masks
    change = ((painted.clamp(-1, 1) - selfies).abs() * HALF_RANGE).mean(dim=1, keepdim=True)
    return ((change * outside).sum((1, 2, 3)) / outside.sum((1, 2, 3)).clamp(min=1)).double().numpy()


def measure(evidence: Evidence) -> Measure:
    """The mean over faces."""
    return mean_over_faces(by_parts(changed, evidence.selfies, evidence.masks, evidence.painted), evidence)
