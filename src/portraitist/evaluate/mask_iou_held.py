"""How well the masker finds the person in pictures it never saw, selfies and portraits: intersection over union.

The masker is one for all methods, so the number is too.
"""

import numpy as np

from portraitist.evaluate import Evidence, Measure, mean_with_interval
from portraitist.evaluate._overlap import overlaps


def measure(evidence: Evidence) -> Measure:
    """The mean over both kinds of picture."""
    selfies = overlaps(evidence.masker(evidence.selfies), evidence.masks)
    portraits = overlaps(evidence.masker(evidence.portraits), evidence.portrait_masks)
    about = {"selfies": float(f"{selfies.mean():.4g}"), "portraits": float(f"{portraits.mean():.4g}")}
    return mean_with_interval(np.concatenate([selfies, portraits]), evidence, **about)
