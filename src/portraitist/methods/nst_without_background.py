"""Neural style transfer between persons: the Gram matrices are taken over the person alone, of selfie and of portrait.

As Gatys et al. (CVPR 2017, "Controlling perceptual factors in neural style transfer", 4) guide style by regions.
"""

from portraitist.learning.tensors import Images, Masks, composite
from portraitist.methods.nst_with_background import NstWithBackground, Params

__all__ = ["NstWithoutBackground", "Params"]


class NstWithoutBackground(NstWithBackground):
    """As with background, but for where the style comes from and goes to."""

    def paint(self, selfies: Images, masks: Masks) -> Images:
        """The painted person before the selfie's own background."""
        return composite(self.painted(selfies, masks, masks, whole=False), masks, selfies)
