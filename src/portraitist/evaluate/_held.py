"""How well the segmenter finds the person in pictures it never saw, selfies and portraits: intersection over union.

The segmenter is one for all methods: this is measured once, and no row of a method's table.
"""

import numpy as np

from portraitist.evaluate._overlap import overlaps
from portraitist.evaluate.registry import Evidence, Measure, Values, by_parts
from portraitist.learning.tensors import Images, Masks
from portraitist.stats.bootstrap import confidence_interval

GOAL = 1.0


def measure(evidence: Evidence) -> Measure:
    """The mean over all pictures of both kinds; each kind is resampled by itself."""

    def found(images: Images, masks: Masks) -> np.ndarray:
        return overlaps(evidence.segmenter(images), masks)

    selfies = by_parts(found, evidence.selfies, evidence.masks)
    portraits = by_parts(found, evidence.portraits, evidence.portrait_masks)
    both = np.concatenate([selfies, portraits])
    drawn = selfies[evidence.draws(len(selfies))], portraits[evidence.draws(len(portraits), "portraits")]
    draws: Values = np.concatenate(drawn, axis=1).mean(axis=1)
    about = {"selfies": float(f"{selfies.mean():.4g}"), "portraits": float(f"{portraits.mean():.4g}")}
    return Measure(
        float(both.mean()), *confidence_interval(float(both.mean()), draws, len(both)), len(both), about, draws=draws
    )
