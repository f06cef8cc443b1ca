"""pix2pix (Isola et al., CVPR 2017), as in junyanz/pytorch-CycleGAN-and-pix2pix (BSD-2): it learns from pairs."""

import torch

from portraitist.core.params import NonNegativeFloat
from portraitist.learning.ema import EMA
from portraitist.learning.losses import adversarial_loss, l1_loss
from portraitist.learning.optim import adam, frozen_parameters, optimizer_step
from portraitist.learning.tensors import Batch
from portraitist.methods import _gan
from portraitist.methods.base import Losses
from portraitist.nets.cyclegan import PatchGan
from portraitist.nets.pix2pix import UNetGenerator, num_levels
from portraitist.train.params import PairKind


class Params(_gan.Params):
    """Where pairs come from, the networks' shape, and what the distance to the pair's portrait weighs."""

    pairs: PairKind
    distance: NonNegativeFloat


class Pix2Pix(_gan.Gan):
    """A U-Net against a discriminator that sees the selfie beside the painting."""

    params: Params

    def __init__(self, params: Params) -> None:
        super().__init__()
        self.params = params
        self.generator = UNetGenerator(params.width, num_levels(params.size_px))
        self.discriminator = PatchGan(params.width, params.size_px, channels=6, affine=True)
        self.ema = EMA(self.generator, params.average)
        self.generator_adam = adam(self.generator, params.learning_rate)
        self.discriminator_adam = adam(self.discriminator, params.learning_rate)

    def step(self, batch: Batch) -> Losses:
        """Discriminator, then generator; each selfie's portrait is its own."""
        painted = self.generator(batch.selfies)
        beside = torch.cat([batch.selfies, painted], dim=1)

        d_real = adversarial_loss(self.discriminator(torch.cat([batch.selfies, batch.portraits], dim=1)), real=True) / 2
        d_fake = adversarial_loss(self.discriminator(beside.detach()), real=False) / 2
        judged = optimizer_step(self.discriminator_adam, d_real=d_real, d_fake=d_fake)

        with frozen_parameters(self.discriminator):
            g_fool = adversarial_loss(self.discriminator(beside), real=True)
            g_distance = self.params.distance * l1_loss(painted, batch.portraits)
            moved = optimizer_step(self.generator_adam, g_fool=g_fool, g_distance=g_distance)
        self.ema.update(self.generator)
        return judged | moved
