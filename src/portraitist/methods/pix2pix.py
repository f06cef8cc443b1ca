"""pix2pix (Isola et al., CVPR 2017), after junyanz/pytorch-CycleGAN-and-pix2pix (BSD-2).

It is trained on pairs of a selfie and a portrait; see train/pairing.py.
"""

from typing import Literal

import torch

from portraitist.core.params import NonNegativeFloat
from portraitist.learning.ema import EMA
from portraitist.learning.losses import adversarial_loss, l1_loss
from portraitist.learning.method import UpstreamModels
from portraitist.learning.optim import Losses, adam, frozen_parameters, optimizer_step
from portraitist.learning.registry import register
from portraitist.learning.tensors import Batch
from portraitist.methods import _gan
from portraitist.nets.cyclegan import PatchGan
from portraitist.nets.pix2pix import UNetGenerator, num_levels


class Params(_gan.Params):
    """Source of the pairs, size of the networks, and weight of the L1 loss."""

    pairs: Literal["review", "folder", "nearest"]  # where the pairs come from; see train/pairing.py
    lambda_l1: NonNegativeFloat  # weight of the L1 distance between stylized image and portrait


@register(Params)
class Pix2Pix(_gan.Gan):
    """A U-Net generator, and a discriminator that gets the selfie together with the stylized image or portrait."""

    params: Params

    def __init__(self, params: Params, upstream: UpstreamModels | None = None) -> None:
        super().__init__()
        self.params = params
        generator = UNetGenerator(params.base_channels, num_levels(params.size_px))
        self.ema = EMA(generator, params.ema_decay)
        if upstream is None:
            return
        self.generator = generator
        self.discriminator = PatchGan(params.base_channels, params.size_px, in_channels=6, affine=True)
        self.g_optimizer = adam(self.generator, params.learning_rate)
        self.d_optimizer = adam(self.discriminator, params.learning_rate)

    def step(self, batch: Batch) -> Losses:
        """Update the discriminator, then the generator. Selfie and portrait at the same index form a pair."""
        stylized = self.generator(batch.selfies)
        real = torch.cat([batch.selfies, batch.portraits], dim=1)
        fake = torch.cat([batch.selfies, stylized], dim=1)

        d_losses = optimizer_step(
            self.d_optimizer,
            d_real=adversarial_loss(self.discriminator(real), target_is_real=True) / 2,
            d_fake=adversarial_loss(self.discriminator(fake.detach()), target_is_real=False) / 2,
        )
        with frozen_parameters(self.discriminator):
            g_losses = optimizer_step(
                self.g_optimizer,
                g_adv=adversarial_loss(self.discriminator(fake), target_is_real=True),
                g_l1=self.params.lambda_l1 * l1_loss(stylized, batch.portraits),
            )
        self.ema.update(self.generator)
        return d_losses | g_losses
