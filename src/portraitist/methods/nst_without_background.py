"""Neural style transfer between persons: Gram matrices are taken over the person only, in selfie and portrait.

Spatial control as in Gatys et al. (CVPR 2017, "Controlling perceptual factors in neural style transfer", section 4).
"""

from portraitist.learning.tensors import Images, Masks, composite
from portraitist.methods.nst_with_background import NstWithBackground, Params
from portraitist.methods.registry import register


@register(Params)
class NstWithoutBackground(NstWithBackground):
    """Style transfer from the portrait's person to the selfie's."""

    def paint(self, selfies: Images, masks: Masks) -> Images:
        """Return the stylized person, composited over the selfie's own background."""
        return composite(self.transfer_style(selfies, masks, person_only=True), masks, selfies)
