"""Exponential moving average of a network's weights."""

import copy

import torch
from torch import Tensor, nn

from portraitist.learning.optim import freeze


class EMA(nn.Module):
    """Exponential moving average (EMA) of a network's weights. Attribute `network` is a copy with the averaged weights.

    A GAN's weights oscillate around an equilibrium. Their average is a better generator than the weights of the last
    step (Yaz et al., 2019). The decay is smaller in the first steps, so that the initial weights soon lose their
    influence.

    Args:
        network: the network that is trained; its current weights are the initial average.
        decay: weight of the old average in each update after the first steps, in (0, 1).
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.network = freeze(copy.deepcopy(network))
        self.decay = decay
        self.num_updates: Tensor
        self.register_buffer("num_updates", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Update the average with the current weights of `network`, the network that is trained."""
        self.num_updates += 1
        count = int(self.num_updates)
        weight = 1 - min(self.decay, count / (count + 10))
        for average, current in zip(self.network.parameters(), network.parameters(), strict=True):
            average.lerp_(current, weight)
