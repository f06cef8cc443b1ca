"""Arbitrary style transfer of persons: the backgrounds of portraits and selfies are replaced by grey first."""

import torch

from portraitist.learning.registry import register
from portraitist.learning.tensors import Images, Masks, composite, on_grey
from portraitist.methods.arbitrary_style_with_background import ArbitraryStyleWithBackground, Params
from portraitist.nets.arbitrary_style import Styles


@register(Params)
class ArbitraryStyleWithoutBackground(ArbitraryStyleWithBackground):
    """Arbitrary style transfer, with grey instead of the background in portraits and selfies."""

    def style_images(self, portraits: Images, masks: Masks) -> Images:
        """Return the images from which style vectors are computed: portraits whose background is grey."""
        return on_grey(portraits, masks)

    @torch.no_grad()
    def paint_in_style(self, selfies: Images, masks: Masks, styles: Styles) -> Images:
        """Return the persons, each stylized with its own style vector, over the selfies' own backgrounds, in [-1, 1].

        Args:
            selfies: (batch, 3, height, width) in [-1, 1].
            masks: (batch, 1, height, width) in [0, 1]; 1 is the person.
            styles: (batch, 100), a style vector for each selfie.
        """
        return composite(self.transformer(on_grey(selfies, masks), styles), masks, selfies)
