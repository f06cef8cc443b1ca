"""Ours: a CartoonGAN whose discriminator never sees a background.

The painted picture is masked before the discriminator sees it, by the selfie's mask and by what the U-Net of stage 2
still takes for a person: a face that turns the colour of the background falls out of the mask, an incomplete face is
called painted by no one, and the generator learns.

Two leaks had to be closed. A soft mask lets a fringe of the portraits' background through, which then is style: all
given masks are eroded. And instance norm mixes the background into the face's statistics: the generator is given the
person on neutral grey, and the selfie's own background is set behind what it painted. The content loss is over the
person, too: the grey around would only dilute it.

A few hundred portraits are too few for a discriminator that begins at nothing: ours judges features of a pretrained
network. docs/experiments.md has what else was tried.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field

from portraitist.core.params import NonNegativeFloat, OpenFraction, PositiveInt, Section
from portraitist.learning.ema import EMA
from portraitist.learning.losses import content_loss, hinge_generator_loss, hinge_loss
from portraitist.learning.optim import adam, freeze, frozen_parameters, optimizer_step
from portraitist.learning.tensors import Batch, Images, Masks, composite, erode, on_grey
from portraitist.methods.base import Losses, Method, UpstreamModels, require
from portraitist.nets.cartoongan import Generator
from portraitist.nets.projected import ProjectedDiscriminator

BETAS = (0.0, 0.99)  # of the discriminator's Adam, as Sauer et al.
PROBE_PX = 64


class Params(Section):
    """As CartoonGAN's, and what the masks are."""

    width: PositiveInt
    blocks: PositiveInt
    skips: bool
    learning_rate: OpenFraction
    content_weight: NonNegativeFloat
    average: OpenFraction  # decay of the generator's running mean, which is what paints
    mask: Literal["product", "given", "learned", "whole"]  # whole: none, the discriminator sees the background
    erode_px: Annotated[int, Field(ge=0, le=8)]
    grey_input: bool


class MaskedCartoonGan(Method):
    """Generator and discriminator meet on the foreground only."""

    saved_modules = ("ema",)

    def __init__(self, params: Params) -> None:
        super().__init__()
        self.content_weight = params.content_weight
        self.mask, self.erode_px, self.grey_input = params.mask, params.erode_px, params.grey_input
        self.generator = Generator(params.width, params.blocks, skips=params.skips)
        self.ema = EMA(self.generator, params.average)
        self.generator_adam = adam(self.generator, params.learning_rate)
        self.learning_rate = params.learning_rate

    def setup(self, upstream: UpstreamModels) -> None:
        """Take the features, stage 1's generator, and the segmenter, which stays as it is."""
        self.features = freeze(require(upstream.features, "features"))
        self.generator.load_state_dict(require(upstream.generator, "generator").state_dict())
        self.ema = EMA(self.generator, self.ema.decay)
        self.segmenter = freeze(require(upstream.segmenter, "segmenter"))
        self.discriminator = ProjectedDiscriminator(self.features, torch.zeros(1, 3, PROBE_PX, PROBE_PX))
        self.discriminator_adam = torch.optim.Adam(self.discriminator.parameters(), self.learning_rate, betas=BETAS)

    def step(self, batch: Batch) -> Losses:
        """Discriminator, then generator."""
        seen = self.seen(batch.selfies, batch.selfie_masks)
        painted = self.generator(seen)
        fake = on_grey(painted, self.masks(painted, batch.selfie_masks))
        real_masks = self.masks(batch.portraits, batch.portrait_masks)
        real, edge = on_grey(batch.portraits, real_masks), on_grey(batch.smoothed, real_masks)
        here, there = self.inner(batch.selfie_masks), self.inner(batch.portrait_masks)

        d_real = hinge_loss(self.discriminator(real), there, real=True)
        d_fake = hinge_loss(self.discriminator(fake.detach()), here, real=False)
        d_edge = hinge_loss(self.discriminator(edge), there, real=False)
        judged = optimizer_step(self.discriminator_adam, d_real=d_real, d_fake=d_fake, d_edge=d_edge)

        with frozen_parameters(self.discriminator):
            g_fool = hinge_generator_loss(self.discriminator(fake), here)
            g_content = self.content_weight * content_loss(
                self.features(painted), self.features(seen), batch.selfie_masks if self.grey_input else None
            )
            moved = optimizer_step(self.generator_adam, g_fool=g_fool, g_content=g_content)
        self.ema.update(self.generator)
        return judged | moved

    def seen(self, selfies: Images, masks: Masks) -> Images:
        """What the generator is given."""
        return on_grey(selfies, masks) if self.grey_input else selfies

    def masks(self, images: Images, given: Masks) -> Masks:
        """What the discriminator sees of painted pictures and portraits: both alike, or the mask tells which is which.

        The gradient flows through the learned mask to what was painted.
        """
        if self.mask == "learned":
            return self.segmenter(images)
        inner = self.inner(given)
        return inner * self.segmenter(images) if self.mask == "product" else inner

    def inner(self, given: Masks) -> Masks:
        """Where the discriminator judges: on the whole person but its edge, even where the learned mask has lost it."""
        return torch.ones_like(given) if self.mask == "whole" else erode(given, self.erode_px)

    @torch.no_grad()
    def paint(self, selfies: Images, masks: Masks) -> Images:
        """The painted person before the selfie's own background."""
        painted = self.ema.network(self.seen(selfies, masks))
        return composite(painted, masks, selfies) if self.grey_input else painted
