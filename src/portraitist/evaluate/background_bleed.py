"""How far painted skin lies beyond the portraits' own skin toward the portraits' mean background colour.

0 as the portraits' people, 1 the background's colour, below 0 away from it: the projection, in CIELAB, of (painted skin
- portraits' skin) on (portraits' background - portraits' skin), as a share of the latter's length. The mean over faces.
"""

import numpy as np

from portraitist.evaluate import Evidence, Measure, mean_with_interval
from portraitist.evaluate._skin import background_colour, colours, skins


def measure(evidence: Evidence) -> Measure:
    """The mean over faces."""
    own = colours(evidence.portraits, skins(evidence.portraits, evidence.portrait_masks, evidence.frame)).mean(axis=0)
    toward = background_colour(evidence.portraits, evidence.portrait_masks) - own
    painted = colours(evidence.painted, skins(evidence.selfies, evidence.masks, evidence.frame))
    shares = (painted - own) @ toward / (toward @ toward)
    return mean_with_interval(shares, evidence, background_to_skin=float(f"{np.linalg.norm(toward):.4g}"))
