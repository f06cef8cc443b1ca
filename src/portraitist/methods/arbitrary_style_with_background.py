"""Arbitrary style transfer (Ghiasi et al., BMVC 2017) as commonly used: on whole pictures, backgrounds included.

Nothing is trained. The style is the mean of the training portraits' style vectors.
"""

import torch

from portraitist.core.params import Section
from portraitist.learning.method import Method, UpstreamModels
from portraitist.learning.optim import Losses, freeze
from portraitist.learning.registry import register
from portraitist.learning.tensors import Batch, Images, Masks
from portraitist.nets.arbitrary_style import MeanStyle, StylePredictor, StyleTransformer, load_style_transformer


class Params(Section):
    """No parameters: the network and the portraits determine the result."""


@register(Params)
class ArbitraryStyleWithBackground(Method):
    """A pretrained style network and the mean style of the training portraits."""

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
        """Add the batch's portraits to the mean style; there is nothing to train."""
        self.style.add(self.predictor(self.style_images(batch.portraits, batch.portrait_masks)))
        return {}

    def style_images(self, portraits: Images, masks: Masks) -> Images:
        """Return the images from which the style is computed: whole portraits."""
        return portraits

    @torch.no_grad()
    def paint(self, selfies: Images, masks: Masks) -> Images:
        """Return whole stylized images; `masks` are ignored."""
        return self.transformer(selfies, self.style.expand(selfies))
