"""Base classes of published GANs: EMA of the generator, learning-rate schedule, and networks for both directions.

The main direction is from selfies to portraits. Some GANs also have networks for the other direction, from portraits
back to selfies. The names of these networks end with `_back`.
"""

from abc import abstractmethod
from typing import Annotated

import torch
from torch import nn

from portraitist.core.params import NonNegativeFloat, OpenFraction, PositiveInt, Section
from portraitist.learning.ema import EMA
from portraitist.learning.image_pool import ImagePool
from portraitist.learning.method import Method, Shared, UpstreamModels
from portraitist.learning.optim import adam, linear_decay, set_lr
from portraitist.learning.tensors import Images, Masks
from portraitist.nets.cyclegan import PatchGan, ResnetGenerator


class Params(Section):
    """Parameters of all GANs that are derived from the base classes in this module."""

    size_px: Annotated[PositiveInt, Shared("crop")]
    base_channels: Annotated[PositiveInt, Shared("generator")]
    learning_rate: Annotated[OpenFraction, Shared("train")]
    ema_decay: Annotated[OpenFraction, Shared("train")]  # of the moving average of the generator's weights


class ResnetParams(Params):
    """Parameters of GANs whose generator has residual blocks."""

    num_res_blocks: Annotated[PositiveInt, Shared("generator")]


class CycleParams(ResnetParams):
    """Parameters of CycleGAN and of the methods that extend it."""

    lambda_cycle: NonNegativeFloat  # weight of the cycle loss
    pool_size: PositiveInt  # size of each pool of earlier stylized images, on which discriminators are trained


class Gan(Method):
    """A GAN that paints whole images with the moving average (EMA) of its generator's weights.

    Subclasses build the networks and the optimizers.
    """

    saved_modules = ("ema",)
    params: Params
    ema: EMA
    g_optimizer: torch.optim.Adam
    d_optimizer: torch.optim.Adam

    def start_epoch(self, index: int, total: int) -> None:
        """Set the learning rates. They are constant in the first half of the epochs, then decrease linearly."""
        for optimizer in (self.g_optimizer, self.d_optimizer):
            set_lr(optimizer, self.params.learning_rate * linear_decay(index, total))

    @torch.no_grad()
    def paint(self, selfies: Images, masks: Masks) -> Images:
        """Return stylized images, background included, in [-1, 1]; `masks` are ignored."""
        return self.ema.network(selfies)


class BidirectionalGan(Gan):
    """A GAN with a generator and a discriminator for each direction: from selfies to portraits, and back."""

    def __init__(self, params: Params, upstream: UpstreamModels | None = None) -> None:
        super().__init__()
        self.params = params
        generator = self.make_generator()
        self.ema = EMA(generator, params.ema_decay)
        if upstream is None:
            return
        self.generator, self.generator_back = generator, self.make_generator()
        self.discriminator, self.discriminator_back = self.make_discriminator(), self.make_discriminator()
        self.g_optimizer = adam(nn.ModuleList([self.generator, self.generator_back]), params.learning_rate)
        self.d_optimizer = adam(nn.ModuleList([self.discriminator, self.discriminator_back]), params.learning_rate)

    @abstractmethod
    def make_generator(self) -> nn.Module:
        """Build the generator of one direction."""

    @abstractmethod
    def make_discriminator(self) -> nn.Module:
        """Build the discriminator of one direction."""


class CycleBasedGan(BidirectionalGan):
    """A GAN with CycleGAN's networks, and with pools of earlier stylized images on which discriminators are trained."""

    params: CycleParams

    def __init__(self, params: CycleParams, upstream: UpstreamModels | None = None) -> None:
        super().__init__(params, upstream)
        if upstream is None:
            return
        self.pool, self.pool_back = ImagePool(params.pool_size), ImagePool(params.pool_size)

    def make_generator(self) -> nn.Module:
        """Build CycleGAN's ResNet generator."""
        return ResnetGenerator(self.params.base_channels, self.params.num_res_blocks)

    def make_discriminator(self) -> nn.Module:
        """Build CycleGAN's PatchGAN discriminator."""
        return PatchGan(self.params.base_channels, self.params.size_px)
