"""How far painted skin lies beyond the portraits' own skin toward the portraits' mean background colour.

0 as the portraits' people, 1 the background's colour, below 0 away from it: the projection, in CIELAB, of (painted skin
- portraits' skin) on (portraits' background - portraits' skin), as a share of the latter's length. The mean over faces.
"""

import numpy as np

from portraitist.evaluate._skin import background_colours, colours, skins
from portraitist.evaluate.registry import Chosen, Evidence, Measure, Values, by_parts, mean_beside_portraits
from portraitist.learning.tensors import Images, Masks

GOAL = 0.0


def measure(evidence: Evidence) -> Measure:
    """The mean over faces; where the skin is, the selfie says."""

    def own_skin(images: Images, masks: Masks) -> np.ndarray:
        return colours(images, skins(images, masks, evidence.frame))

    def painted_skin(selfies: Images, masks: Masks, painted: Images) -> np.ndarray:
        return colours(painted, skins(selfies, masks, evidence.frame))

    own = by_parts(own_skin, evidence.portraits, evidence.portrait_masks)
    behind = by_parts(background_colours, evidence.portraits, evidence.portrait_masks)
    painted = by_parts(painted_skin, evidence.selfies, evidence.masks, evidence.painted)

    def toward(chosen: Chosen) -> np.ndarray:
        return np.nanmean(behind[chosen], axis=0) - own[chosen].mean(axis=0)

    def shares(chosen: Chosen) -> Values:
        way = toward(chosen)
        return (painted - own[chosen].mean(axis=0)) @ way / (way @ way)

    length = np.linalg.norm(toward(np.arange(len(own))))
    return mean_beside_portraits(shares, len(own), evidence, background_to_skin=float(f"{length:.4g}"))
