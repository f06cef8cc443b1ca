"""CartoonGAN (Chen, Lai, Liu, CVPR 2018), applied to whole images including the background."""

from typing import Annotated

import torch

from portraitist.core.params import NonNegativeFloat, OpenFraction, PositiveInt, Section
from portraitist.learning.ema import EMA
from portraitist.learning.losses import adversarial_loss, content_loss
from portraitist.learning.method import Method, Shared, UpstreamModels
from portraitist.learning.optim import Losses, adam, freeze, frozen_parameters, optimizer_step
from portraitist.learning.registry import register
from portraitist.learning.tensors import Batch, Images, Masks
from portraitist.nets.cartoongan import Generator, PatchDiscriminator


class Params(Section):
    """Size of the networks, learning rate, and weight of the content loss."""

    base_channels: Annotated[PositiveInt, Shared("generator")]
    num_res_blocks: Annotated[PositiveInt, Shared("generator")]
    learning_rate: Annotated[OpenFraction, Shared("train")]
    content_weight: Annotated[NonNegativeFloat, Shared("train")]
    ema_decay: Annotated[OpenFraction, Shared("train")]  # of the moving average of the generator's weights


@register(Params)
class CartoonGan(Method):
    """A generator, and a discriminator that must also reject portraits with smoothed edges.

    The first epoch is the paper's initialization phase (section 3.3). In this epoch, the generator minimizes the
    content loss only.
    """

    saved_modules = ("ema",)

    def __init__(self, params: Params, upstream: UpstreamModels | None = None) -> None:
        super().__init__()
        self.params = params
        generator = Generator(params.base_channels, params.num_res_blocks, skip_connections=False)
        self.ema = EMA(generator, params.ema_decay)
        if upstream is None:
            return
        self.generator = generator
        self.discriminator = PatchDiscriminator(max(1, params.base_channels // 2))
        self.features = freeze(upstream.require("features"))
        self.g_optimizer = adam(self.generator, params.learning_rate)
        self.d_optimizer = adam(self.discriminator, params.learning_rate)
        self.adversarial_weight = 1.0

    def start_epoch(self, index: int, total: int) -> None:
        """Set the weight of the generator's adversarial loss: 0 in the first epoch, then 1.

        If there is only one epoch, the weight is 1.
        """
        self.adversarial_weight = float(index > 0 or total == 1)

    def step(self, batch: Batch) -> Losses:
        """Update the discriminator, then the generator."""
        stylized = self.generator(batch.selfies)

        d_losses = optimizer_step(
            self.d_optimizer,
            d_real=adversarial_loss(self.discriminator(batch.portraits), target_is_real=True),
            d_fake=adversarial_loss(self.discriminator(stylized.detach()), target_is_real=False),
            d_edge=adversarial_loss(self.discriminator(batch.smoothed), target_is_real=False),
        )
        with frozen_parameters(self.discriminator):
            g_adv = adversarial_loss(self.discriminator(stylized), target_is_real=True)
            g_content = content_loss(self.features(stylized), self.features(batch.selfies))
            g_losses = optimizer_step(
                self.g_optimizer,
                g_adv=self.adversarial_weight * g_adv,
                g_content=self.params.content_weight * g_content,
            )
        self.ema.update(self.generator)
        return d_losses | g_losses

    @torch.no_grad()
    def paint(self, selfies: Images, masks: Masks) -> Images:
        """Return stylized images, background included, in [-1, 1]; `masks` are ignored."""
        return self.ema.network(selfies)
