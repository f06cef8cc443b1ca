"""Exponential moving average of a network."""

import copy

import torch
from torch import Tensor, nn

from portraitist.learning.optim import freeze


class EMA(nn.Module):
    """The running mean of a network's weights over training (Yaz et al. 2019): a GAN circles its goal, the mean stays.

    The first steps count more, so that the beginning is forgotten soon.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.network = freeze(copy.deepcopy(network))
        self.decay = decay
        self.seen: Tensor
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))  # steps that were followed

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Move the mean toward the network as it is now."""
        self.seen += 1
        seen = int(self.seen)
        share = 1 - min(self.decay, seen / (seen + 10))
        for mean, now in zip(self.network.parameters(), network.parameters(), strict=True):
            mean.lerp_(now, share)
