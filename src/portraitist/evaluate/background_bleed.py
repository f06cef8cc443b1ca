"""How far painted skin lies beyond the portraits' own skin toward the portraits' mean background colour.

0 as the portraits' people, 1 the background's colour, below 0 away from it: the projection, in CIELAB, of (painted skin
- portraits' skin) on (portraits' background - portraits' skin), as a share of the latter's length. The mean over faces.
"""

import numpy as np

from portraitist.evaluate import Evidence, Measure, by_parts, mean_over_faces
from portraitist.evaluate._skin import background_colours, colours, skins
from portraitist.images import Images, Masks

GOAL = 0.0


def measure(evidence: Evidence) -> Measure:
    """The mean over faces; where the skin is, the selfie says."""

    def own_skin(images: Images, masks: Masks) -> np.ndarray:
        return colours(images, skins(images, masks, evidence.frame))

    def painted_skin(selfies: Images, masks: Masks, painted: Images) -> np.ndarray:
        return colours(painted, skins(selfies, masks, evidence.frame))

    own = by_parts(own_skin, evidence.portraits, evidence.portrait_masks).mean(axis=0)
    behind = by_parts(background_colours, evidence.portraits, evidence.portrait_masks)
    toward = np.nanmean(behind, axis=0) - own
    painted = by_parts(painted_skin, evidence.selfies, evidence.masks, evidence.painted)
    shares = (painted - own) @ toward / (toward @ toward)
    return mean_over_faces(shares, evidence, background_to_skin=float(f"{np.linalg.norm(toward):.4g}"))
