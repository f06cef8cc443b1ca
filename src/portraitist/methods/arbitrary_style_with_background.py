"""Arbitrary style transfer (Ghiasi et al., BMVC 2017) as commonly used: on whole pictures, backgrounds included.

No weights are trained. All selfies are painted in one style: the mean of the training portraits' style vectors.
"""

import torch

from portraitist.core.params import Section
from portraitist.learning.method import Method, UpstreamModels
from portraitist.learning.optim import Losses, freeze
from portraitist.learning.registry import register
from portraitist.learning.tensors import Batch, Images, Masks
from portraitist.nets.arbitrary_style import MeanStyle, StylePredictor, Styles, StyleTransformer, load_style_transformer


class Params(Section):
    """This method has no parameters."""


@register(Params)
class ArbitraryStyleWithBackground(Method):
    """Arbitrary style transfer with the pretrained network and the mean style of the training portraits."""

    saved_modules = ("transformer", "style")

    def __init__(self, params: Params, upstream: UpstreamModels | None = None) -> None:
        super().__init__()
        self.params = params
        self.style = MeanStyle()
        if upstream is None:
            self.transformer = freeze(StyleTransformer())
            return
        self.transformer = freeze(load_style_transformer(upstream.require_pretrained()))
        self.predictor = StylePredictor(upstream.require_pretrained())

    def step(self, batch: Batch) -> Losses:
        """Add the style vectors of the batch's portraits to the mean style. There are no loss terms."""
        self.style.add(self.predictor(self.style_images(batch.portraits, batch.portrait_masks)))
        return {}

    def style_images(self, portraits: Images, masks: Masks) -> Images:
        """Return the images from which style vectors are computed: whole portraits; `masks` are ignored."""
        return portraits

    def paint(self, selfies: Images, masks: Masks) -> Images:
        """Return stylized images, background included, in [-1, 1]; `masks` are ignored."""
        return self.paint_in_style(selfies, masks, self.style.expand(selfies))

    @torch.no_grad()
    def paint_in_style(self, selfies: Images, masks: Masks, styles: Styles) -> Images:
        """Return the selfies, background included, each stylized with its own style vector, in [-1, 1].

        Args:
            selfies: (batch, 3, height, width) in [-1, 1].
            masks: (batch, 1, height, width); ignored.
            styles: (batch, 100), a style vector for each selfie.
        """
        return self.transformer(selfies, styles)
