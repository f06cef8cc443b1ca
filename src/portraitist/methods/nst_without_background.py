"""Neural style transfer between persons: the Gram matrices are taken over the person alone, of selfie and of portrait.

As Gatys et al. (CVPR 2017, "Controlling perceptual factors in neural style transfer", 4) guide style by regions.
"""

from portraitist.images import Images, Masks, over
from portraitist.methods import nst_with_background
from portraitist.methods.nst_with_background import Params

__all__ = ["Method", "Params"]


class Method(nst_with_background.Method):
    """As with background, but for where the style comes from and goes to."""

    def paint(self, selfies: Images, masks: Masks) -> Images:
        """The painted person before the selfie's own background."""
        return over(self.painted(selfies, masks, masks, whole=False), masks, selfies)
