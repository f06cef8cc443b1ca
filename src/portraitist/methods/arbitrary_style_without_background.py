"""Arbitrary style transfer between persons on grey; the backgrounds of portraits and selfies have no effect."""

import torch

from portraitist.learning.registry import register
from portraitist.learning.tensors import Images, Masks, composite, on_grey
from portraitist.methods.arbitrary_style_with_background import ArbitraryStyleWithBackground, Params


@register(Params)
class ArbitraryStyleWithoutBackground(ArbitraryStyleWithBackground):
    """Compute the style from persons on grey, and apply it to persons on grey."""

    def style_images(self, portraits: Images, masks: Masks) -> Images:
        """Return the portraits' persons on grey."""
        return on_grey(portraits, masks)

    @torch.no_grad()
    def paint(self, selfies: Images, masks: Masks) -> Images:
        """Return the stylized persons, composited over the selfies' own backgrounds."""
        stylized = self.transformer(on_grey(selfies, masks), self.style.expand(selfies))
        return composite(stylized, masks, selfies)
