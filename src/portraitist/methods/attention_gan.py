"""Unsupervised attention-guided image translation (Mejjati et al., NeurIPS 2018), after the authors' code (MIT).

A CycleGAN whose generators also predict an attention map, which determines how much each pixel may change.

Training has two phases. In the first phase, the discriminators get whole images. In the second phase, the attention
networks are frozen, and the discriminators get only the foreground: the pixels with high attention.
"""

import torch
from torch import nn

from portraitist.core.params import Fraction
from portraitist.learning.losses import l1_loss, least_squares_loss
from portraitist.learning.method import UpstreamModels
from portraitist.learning.optim import Losses, frozen_parameters, optimizer_step
from portraitist.learning.registry import register
from portraitist.learning.tensors import Batch, Images, Masks
from portraitist.methods import _gan
from portraitist.nets.attention import AttentiveGenerator


class Params(_gan.CycleParams):
    """CycleGAN's parameters, and how the foreground is selected."""

    foreground_only_after: Fraction  # share of the epochs that belong to the first phase of the training
    attention_threshold: Fraction  # pixels with at least this attention are foreground


@register(Params)
class AttentionGan(_gan.CycleBasedGan):
    """CycleGAN with an attention network in each generator."""

    params: Params
    generator: AttentiveGenerator
    generator_back: AttentiveGenerator

    def __init__(self, params: Params, upstream: UpstreamModels | None = None) -> None:
        super().__init__(params, upstream)
        self.foreground_only = False

    def make_generator(self) -> nn.Module:
        """Build a generator with half as many base channels as the discriminator.

        The authors' generator has 32 base channels, and their discriminator has 64.
        """
        return AttentiveGenerator(max(1, self.params.base_channels // 2), self.params.num_res_blocks)

    def start_epoch(self, index: int, total: int) -> None:
        """Set the learning rates. In the second phase of the training, freeze the attention networks.

        The parameter `foreground_only_after` is the share of the epochs that belong to the first phase.
        """
        super().start_epoch(index, total)
        self.foreground_only = index >= self.params.foreground_only_after * total
        for generator in (self.generator, self.generator_back):
            generator.attention.requires_grad_(not self.foreground_only)

    def step(self, batch: Batch) -> Losses:
        """Update the generators. Then update the discriminators, with generated images from the pools."""
        selfies, portraits, lambda_cycle = batch.selfies, batch.portraits, self.params.lambda_cycle
        stylized, attention = self.generator.forward_with_attention(selfies)
        fake_selfies, attention_back = self.generator_back.forward_with_attention(portraits)
        fake, fake_back = self.foreground(stylized, attention), self.foreground(fake_selfies, attention_back)
        real, real_back = self.foreground(portraits, attention_back), self.foreground(selfies, attention)
        pooled = self.pool(torch.cat([stylized, attention], dim=1).detach()).split((3, 1), dim=1)
        pooled_back = self.pool_back(torch.cat([fake_selfies, attention_back], dim=1).detach()).split((3, 1), dim=1)
        norm = not self.foreground_only  # with instance norm, the features would depend on the foreground's area

        with frozen_parameters(self.discriminator), frozen_parameters(self.discriminator_back):
            g_losses = optimizer_step(
                self.g_optimizer,
                g_adv=least_squares_loss(self.discriminator(fake, norm=norm), target_is_real=True),
                g_adv_back=least_squares_loss(self.discriminator_back(fake_back, norm=norm), target_is_real=True),
                g_cycle=lambda_cycle * l1_loss(self.generator_back(stylized), selfies),
                g_cycle_back=lambda_cycle * l1_loss(self.generator(fake_selfies), portraits),
            )
        self.ema.update(self.generator)

        real, real_back = real.detach(), real_back.detach()
        fake, fake_back = self.foreground(*pooled), self.foreground(*pooled_back)
        d_losses = optimizer_step(
            self.d_optimizer,
            d_real=least_squares_loss(self.discriminator(real, norm=norm), target_is_real=True) / 2,
            d_fake=least_squares_loss(self.discriminator(fake, norm=norm), target_is_real=False) / 2,
            d_real_back=least_squares_loss(self.discriminator_back(real_back, norm=norm), target_is_real=True) / 2,
            d_fake_back=least_squares_loss(self.discriminator_back(fake_back, norm=norm), target_is_real=False) / 2,
        )
        return d_losses | g_losses

    def foreground(self, images: Images, attention: Masks) -> Images:
        """Return the discriminators' input: whole images or, if `self.foreground_only`, their foreground on grey.

        No gradient flows to `attention`.
        """
        return images * (attention >= self.params.attention_threshold).float() if self.foreground_only else images
