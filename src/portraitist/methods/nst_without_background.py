"""Neural style transfer of persons: Gram matrices of selfie and portrait are computed over the person only.

After Gatys et al. (CVPR 2017, "Controlling perceptual factors in neural style transfer", section 4).
"""

from portraitist.learning.registry import register
from portraitist.learning.tensors import Images, Masks, composite
from portraitist.methods.nst_with_background import NstWithBackground, Params


@register(Params)
class NstWithoutBackground(NstWithBackground):
    """Style transfer from the person in the portrait to the person in the selfie."""

    def paint(self, selfies: Images, masks: Masks) -> Images:
        """Return the stylized persons in [-1, 1], blended over the selfies' own backgrounds."""
        return composite(self.transfer_style(selfies, masks, person_only=True), masks, selfies)
