"""Our method: a CartoonGAN whose discriminator never sees the background.

A stylized image is masked before it reaches the discriminator: by the selfie's mask, and by the mask that the segmenter
of stage 2 predicts for it. A face that takes on the color of the background drops out of the mask, the discriminator
rejects the incomplete face, and the generator learns to avoid it.

The background could reach the networks in two more ways. A soft mask contains a fringe of the portraits'
background, which would become part of the style, so the pipeline's masks are eroded. Instance norm mixes the background
into the statistics of the face, so the generator's input is the person on neutral grey, and its output is composited
over the selfie's own background. The content loss is averaged over the person as well, because the grey area would
dilute it.

A few hundred portraits are too few to train a discriminator from scratch; ours classifies features of a pretrained
network. docs/experiments.md lists what else was tried.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field

from portraitist.core.params import NonNegativeFloat, OpenFraction, PositiveInt, Section
from portraitist.learning.ema import EMA
from portraitist.learning.losses import content_loss, hinge_generator_loss, hinge_loss
from portraitist.learning.method import Method, Shared, UpstreamModels
from portraitist.learning.optim import Losses, adam, freeze, frozen_parameters, optimizer_step
from portraitist.learning.registry import register
from portraitist.learning.tensors import Batch, Images, Masks, composite, erode, on_grey
from portraitist.nets.cartoongan import Generator
from portraitist.nets.projected import ProjectedDiscriminator

D_BETAS = (0.0, 0.99)  # of the discriminator's Adam, as in Sauer et al.
PROBE_PX = 64  # size of the image that determines the discriminator's layers


class Params(Section):
    """CartoonGAN's params, and how the inputs of generator and discriminator are masked."""

    base_channels: Annotated[PositiveInt, Shared("generator")]
    num_res_blocks: Annotated[PositiveInt, Shared("generator")]
    skip_connections: Annotated[bool, Shared("generator")]
    learning_rate: Annotated[OpenFraction, Shared("train")]
    content_weight: Annotated[NonNegativeFloat, Shared("train")]
    ema_decay: Annotated[OpenFraction, Shared("train")]  # EMA of the generator's weights, which paints
    # mask of the discriminator's input: the pipeline's (given), the segmenter's (learned), their product, none (whole)
    mask: Literal["product", "given", "learned", "whole"]
    erode_px: Annotated[int, Field(ge=0, le=8)]
    grey_input: bool


@register(Params)
class MaskedCartoonGan(Method):
    """A generator of persons on grey, and a discriminator of masked persons."""

    saved_modules = ("ema",)

    def __init__(self, params: Params, upstream: UpstreamModels | None = None) -> None:
        super().__init__()
        self.params = params
        generator = Generator(params.base_channels, params.num_res_blocks, skip_connections=params.skip_connections)
        if upstream is not None:
            generator.load_state_dict(upstream.require("generator").state_dict())
        self.ema = EMA(generator, params.ema_decay)
        if upstream is None:
            return
        self.generator = generator
        self.features = freeze(upstream.require("features"))
        self.segmenter = freeze(upstream.require("segmenter"))
        self.discriminator = ProjectedDiscriminator(self.features, torch.zeros(1, 3, PROBE_PX, PROBE_PX))
        self.g_optimizer = adam(self.generator, params.learning_rate)
        self.d_optimizer = torch.optim.Adam(self.discriminator.parameters(), params.learning_rate, betas=D_BETAS)

    def step(self, batch: Batch) -> Losses:
        """Update the discriminator, then the generator."""
        generator_input = self.generator_input(batch.selfies, batch.selfie_masks)
        stylized = self.generator(generator_input)
        fake = on_grey(stylized, self.discriminator_masks(stylized, batch.selfie_masks))
        portrait_masks = self.discriminator_masks(batch.portraits, batch.portrait_masks)
        real, edge = on_grey(batch.portraits, portrait_masks), on_grey(batch.smoothed, portrait_masks)
        fake_area, real_area = self.inner_masks(batch.selfie_masks), self.inner_masks(batch.portrait_masks)

        d_losses = optimizer_step(
            self.d_optimizer,
            d_real=hinge_loss(self.discriminator(real), real_area, target_is_real=True),
            d_fake=hinge_loss(self.discriminator(fake.detach()), fake_area, target_is_real=False),
            d_edge=hinge_loss(self.discriminator(edge), real_area, target_is_real=False),
        )
        with frozen_parameters(self.discriminator):
            g_adv = hinge_generator_loss(self.discriminator(fake), fake_area)
            content_area = batch.selfie_masks if self.params.grey_input else None
            g_content = content_loss(self.features(stylized), self.features(generator_input), content_area)
            g_losses = optimizer_step(self.g_optimizer, g_adv=g_adv, g_content=self.params.content_weight * g_content)
        self.ema.update(self.generator)
        return d_losses | g_losses

    def generator_input(self, selfies: Images, masks: Masks) -> Images:
        """Return the persons on grey or, without `grey_input`, the whole selfies."""
        return on_grey(selfies, masks) if self.params.grey_input else selfies

    def discriminator_masks(self, images: Images, masks: Masks) -> Masks:
        """Return the masks of the discriminator's input.

        Stylized images and portraits are masked in the same way; otherwise the mask would reveal the domain. The
        gradient flows through the learned mask to the stylized images.
        """
        if self.params.mask == "learned":
            return self.segmenter(images)
        inner = self.inner_masks(masks)
        return inner * self.segmenter(images) if self.params.mask == "product" else inner

    def inner_masks(self, masks: Masks) -> Masks:
        """Return the area over which logits are averaged: the person without its edge, as in the pipeline's mask."""
        return torch.ones_like(masks) if self.params.mask == "whole" else erode(masks, self.params.erode_px)

    @torch.no_grad()
    def paint(self, selfies: Images, masks: Masks) -> Images:
        """Return the stylized person, composited over the selfie's own background if the generator's input is grey."""
        stylized = self.ema.network(self.generator_input(selfies, masks))
        return composite(stylized, masks, selfies) if self.params.grey_input else stylized
