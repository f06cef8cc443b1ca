"""What most of the compared GANs are beside their own step: the mean paints, the rate falls, some go both ways."""

from collections.abc import Callable

import torch
from torch import nn

from portraitist.core.params import OpenFraction, PositiveInt, Section
from portraitist.learning.ema import EMA
from portraitist.learning.optim import adam, linear_decay, set_lr
from portraitist.learning.tensors import Images, Masks
from portraitist.methods.base import Method


class Params(Section):
    """The networks' shape, and how fast they learn."""

    size_px: PositiveInt
    width: PositiveInt
    learning_rate: OpenFraction
    average: OpenFraction  # decay of the generator's running mean, which is what paints


class Gan(Method):
    """One that paints the whole picture by the running mean of `generator`; its subclass makes all that is named."""

    saved_modules = ("ema",)
    params: Params
    ema: EMA
    generator_adam: torch.optim.Adam
    discriminator_adam: torch.optim.Adam

    def start_epoch(self, index: int, total: int) -> None:
        """The rate falls to nothing in the second half."""
        for optimizer in (self.generator_adam, self.discriminator_adam):
            set_lr(optimizer, self.params.learning_rate * linear_decay(index, total))

    @torch.no_grad()
    def paint(self, selfies: Images, masks: Masks) -> Images:
        """The whole picture; masks are not asked."""
        return self.ema.network(selfies)


class BidirectionalGan(Gan):
    """A generator and a discriminator for the way to portraits, and for the way back."""

    def __init__(
        self, params: Params, generator: Callable[[], nn.Module], discriminator: Callable[[], nn.Module]
    ) -> None:
        super().__init__()
        self.params = params
        self.generator, self.generator_back = generator(), generator()
        self.discriminator, self.discriminator_back = discriminator(), discriminator()
        self.ema = EMA(self.generator, params.average)
        painters = nn.ModuleList([self.generator, self.generator_back])
        judges = nn.ModuleList([self.discriminator, self.discriminator_back])
        self.generator_adam = adam(painters, params.learning_rate)
        self.discriminator_adam = adam(judges, params.learning_rate)
