"""Optimizer steps, learning rates and freezing."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from portraitist.learning import distributed
from portraitist.learning.losses import Scalar

Losses = dict[str, float]


class DivergedError(RuntimeError):
    """A loss is no longer a number; the message names the term."""


def adam(module: nn.Module, learning_rate: float) -> torch.optim.Adam:
    """Adam with the first moment at .5, as all GANs here use it (Radford et al. 2016)."""
    return torch.optim.Adam(module.parameters(), lr=learning_rate, betas=(0.5, 0.999))


def optimizer_step(optimizer: torch.optim.Optimizer, **terms: Scalar) -> Losses:
    """One step down the sum of the terms, each its mean over all processes; the terms, as numbers.

    Raises:
        DivergedError: A term is not finite.
        RanksError: A process is lost.
    """
    summed = torch.stack(list(terms.values()))
    for name, value in zip(terms, summed.tolist(), strict=True):
        if not math.isfinite(value):
            raise DivergedError(f"{name} is {value}; lower the learning rate or this term's weight")
    optimizer.zero_grad(set_to_none=True)
    summed.sum().backward()
    found = summed.detach().clone()
    gradients = [
        weight.grad for group in optimizer.param_groups for weight in group["params"] if weight.grad is not None
    ]
    distributed.all_reduce_mean([*gradients, found])
    optimizer.step()
    return dict(zip(terms, found.tolist(), strict=True))


def linear_decay(index: int, total: int) -> float:
    """The share of the learning rate in an epoch: all in the first half, then down to nothing in a line."""
    return min(1.0, (total - index) / (total - total // 2))


def set_lr(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """From now on the optimizer goes at this rate."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


@contextmanager
def frozen_parameters(module: nn.Module) -> Iterator[None]:
    """Inside, gradients flow through the module; none is reckoned for its own weights, which would be thrown away."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)


def freeze(module: nn.Module) -> nn.Module:
    """The module in evaluation mode, without gradients of its own; those of its input flow through."""
    return module.eval().requires_grad_(False)


def mean_losses(steps: Iterable[Losses]) -> Losses:
    """Each term's mean over steps."""
    rows = list(steps)
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
