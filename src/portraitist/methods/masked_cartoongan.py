"""The first method that this project developed: a CartoonGAN whose discriminator never gets the background.

The background of a stylized image is replaced by grey before the discriminator gets the image. Two masks are
multiplied for this. One is the mask of the selfie, computed by stage `mask`. The other is predicted from the stylized
image by the U-Net that stage `train_mask` trains; the code of this method calls this U-Net the segmenter. If the face
takes on the color of the background, the U-Net no longer finds the face. The discriminator then rejects the incomplete
face, and the generator learns to avoid such colors.

Masking the discriminator's input is not enough to keep the background out of the training, for two reasons:

- The soft edge of a mask contains some of the portraits' background, which would become part of the style. The masks of
  stage `mask` are therefore eroded.
- Instance norm mixes the background into the statistics of the face. The generator's input is therefore the person on
  neutral grey. Its output is blended over the selfie's own background.

The content loss is averaged over the person only; the grey area would dilute it. The discriminator classifies features
of a pretrained network, because a few hundred portraits are too few to learn features from scratch. docs/experiments.md
lists what else was tried.
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

D_BETAS = (0.0, 0.99)  # betas of the discriminator's Adam, as in Sauer et al.
PROBE_PX = 64  # height and width of an image whose features determine the discriminator's number of channels


class Params(Section):
    """CartoonGAN's parameters, and how the inputs of generator and discriminator are masked."""

    base_channels: Annotated[PositiveInt, Shared("generator")]
    num_res_blocks: Annotated[PositiveInt, Shared("generator")]
    skip_connections: Annotated[bool, Shared("generator")]
    learning_rate: Annotated[OpenFraction, Shared("train")]
    content_weight: Annotated[NonNegativeFloat, Shared("train")]
    ema_decay: Annotated[OpenFraction, Shared("train")]  # of the moving average of the generator's weights
    # mask of the discriminator's input. given: the mask of stage `mask`; learned: the mask predicted by the U-Net of
    # stage `train_mask`; product: the product of both masks; whole: no mask
    mask: Literal["product", "given", "learned", "whole"]
    erode_px: Annotated[int, Field(ge=0, le=8)]  # pixels by which masks of stage `mask` are eroded
    grey_input: bool  # replace the background of the generator's input by grey


@register(Params)
class MaskedCartoonGan(Method):
    """A generator whose input has a grey background, and a discriminator whose input is masked."""

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
        real, edge = on_grey(batch.portraits, portrait_masks), on_grey(self.smoothed_portraits(batch), portrait_masks)
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
        """Return the selfies with a grey background or, if `grey_input` is false, unchanged."""
        return on_grey(selfies, masks) if self.params.grey_input else selfies

    def discriminator_masks(self, images: Images, masks: Masks) -> Masks:
        """Return the masks by which the discriminator's input is multiplied.

        The parameter `mask` selects the masks: the eroded masks of stage `mask`, the masks that the U-Net of stage
        `train_mask` predicts from `images`, the products of both, or 1 everywhere. Gradients flow through the predicted
        masks to the stylized images.

        Stylized images and portraits are masked in the same way. Otherwise, the discriminator could tell them apart by
        their masks.

        Args:
            images: stylized images or portraits.
            masks: masks that stage `mask` computed for the selfies or portraits.
        """
        if self.params.mask == "learned":
            return self.segmenter(images)
        inner = self.inner_masks(masks)
        return inner * self.segmenter(images) if self.params.mask == "product" else inner

    def smoothed_portraits(self, batch: Batch) -> Images:
        """Return the portraits with smoothed edges, before they are masked.

        Unless the parameter `mask` of this method is "learned" or "whole", the background has no influence on the
        persons.
        """
        return batch.smoothed if self.params.mask in ("learned", "whole") else batch.smoothed_persons

    def inner_masks(self, masks: Masks) -> Masks:
        """Return the masks, eroded by `erode_px` pixels. The discriminator's logits are averaged over these masks.

        If the parameter `mask` of this method is "whole", return masks that are 1 everywhere.
        """
        return torch.ones_like(masks) if self.params.mask == "whole" else erode(masks, self.params.erode_px)

    @torch.no_grad()
    def paint(self, selfies: Images, masks: Masks) -> Images:
        """Return stylized images in [-1, 1].

        If `grey_input` is true, only the person is stylized, and is blended over the selfie's own background.
        """
        stylized = self.ema.network(self.generator_input(selfies, masks))
        return composite(stylized, masks, selfies) if self.params.grey_input else stylized
