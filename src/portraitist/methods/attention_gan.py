"""Unsupervised attention-guided translation (Mejjati et al., NeurIPS 2018), as in their code (MIT).

A CycleGAN that learns where to paint, and whose discriminators after a while see nothing else.
"""

import torch

from portraitist.core.params import Fraction, NonNegativeFloat, PositiveInt
from portraitist.learning.image_pool import ImagePool
from portraitist.learning.losses import l1_loss, least_squares_loss
from portraitist.learning.optim import frozen_parameters, optimizer_step
from portraitist.learning.tensors import Batch, Images, Masks
from portraitist.methods import _gan
from portraitist.methods.base import Losses
from portraitist.nets.attention import AttentiveGenerator
from portraitist.nets.cyclegan import PatchGan


class Params(_gan.Params):
    """Both pairs of networks' shape, the weight of the cycle, and when the attention is final."""

    blocks: PositiveInt
    cycle: NonNegativeFloat
    pool: PositiveInt
    switch: Fraction  # of the epochs, after which the discriminators see the foreground alone and attention stays
    threshold: Fraction  # of the attention, for foreground


class AttentionGan(_gan.BidirectionalGan):
    """Generators and discriminators of both ways, as CycleGAN; each generator has an attention network."""

    params: Params
    generator: AttentiveGenerator
    generator_back: AttentiveGenerator

    def __init__(self, params: Params) -> None:
        super().__init__(
            params,
            lambda: AttentiveGenerator(max(1, params.width // 2), params.blocks),  # as the authors' 32 beside 64
            lambda: PatchGan(params.width, params.size_px),
        )
        self.pool, self.pool_back = ImagePool(params.pool), ImagePool(params.pool)
        self.switched = False

    def start_epoch(self, index: int, total: int) -> None:
        """The rate falls to nothing in the second half; after the switch attention no longer learns."""
        super().start_epoch(index, total)
        self.switched = index >= self.params.switch * total
        for generator in (self.generator, self.generator_back):
            generator.attention.requires_grad_(not self.switched)

    def step(self, batch: Batch) -> Losses:
        """Generators, then discriminators, which are shown paintings of some steps ago, too."""
        selfies, portraits, cycle = batch.selfies, batch.portraits, self.params.cycle
        painted, where = self.generator.attentively(selfies)
        photographed, where_back = self.generator_back.attentively(portraits)
        fake, fake_back = self.seen(painted, where), self.seen(photographed, where_back)
        real, real_back = self.seen(portraits, where_back), self.seen(selfies, where)
        shown = self.pool(torch.cat([painted, where], dim=1).detach()).split((3, 1), dim=1)
        shown_back = self.pool_back(torch.cat([photographed, where_back], dim=1).detach()).split((3, 1), dim=1)
        norm = not self.switched  # its statistics would tell the mask's area

        with frozen_parameters(self.discriminator), frozen_parameters(self.discriminator_back):
            g_fool = least_squares_loss(self.discriminator(fake, norm=norm), real=True)
            g_fool_back = least_squares_loss(self.discriminator_back(fake_back, norm=norm), real=True)
            g_cycle = cycle * l1_loss(self.generator_back(painted), selfies)
            g_cycle_back = cycle * l1_loss(self.generator(photographed), portraits)
            moved = optimizer_step(
                self.generator_adam, g_fool=g_fool, g_fool_back=g_fool_back, g_cycle=g_cycle, g_cycle_back=g_cycle_back
            )
        self.ema.update(self.generator)

        d_real = least_squares_loss(self.discriminator(real.detach(), norm=norm), real=True) / 2
        d_fake = least_squares_loss(self.discriminator(self.seen(*shown), norm=norm), real=False) / 2
        d_real_back = least_squares_loss(self.discriminator_back(real_back.detach(), norm=norm), real=True) / 2
        d_fake_back = least_squares_loss(self.discriminator_back(self.seen(*shown_back), norm=norm), real=False) / 2
        judged = optimizer_step(
            self.discriminator_adam, d_real=d_real, d_fake=d_fake, d_real_back=d_real_back, d_fake_back=d_fake_back
        )
        return judged | moved

    def seen(self, images: Images, masks: Masks) -> Images:
        """What the discriminators see: all, and after the switch what the attention is on; no gradient goes there."""
        return images * (masks >= self.params.threshold).float() if self.switched else images
