"""Optimizer steps, learning-rate schedule and freezing."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn

from portraitist.learning import distributed
from portraitist.learning.losses import Scalar

Losses = dict[str, float]
Network = TypeVar("Network", bound=nn.Module)


class DivergedError(RuntimeError):
    """A loss term is NaN or infinite; the message names the term."""


def adam(module: nn.Module, learning_rate: float) -> torch.optim.Adam:
    """Return Adam with beta1 = 0.5, which all GANs here use (Radford et al., 2016)."""
    return torch.optim.Adam(module.parameters(), lr=learning_rate, betas=(0.5, 0.999))


def optimizer_step(optimizer: torch.optim.Optimizer, **terms: Scalar) -> Losses:
    """Take one optimizer step on the sum of the terms; return the terms, averaged over all processes, as floats.

    Raises:
        DivergedError: a term is not finite.
        DistributedError: another process is lost.
    """
    stacked = torch.stack(list(terms.values()))
    for name, value in zip(terms, stacked.tolist(), strict=True):
        if not math.isfinite(value):
            raise DivergedError(f"{name} is {value}; lower the learning rate or the weight of this term")
    optimizer.zero_grad(set_to_none=True)
    stacked.sum().backward()
    values = stacked.detach().clone()
    gradients = [
        weight.grad for group in optimizer.param_groups for weight in group["params"] if weight.grad is not None
    ]
    distributed.all_reduce_mean([*gradients, values])
    optimizer.step()
    return dict(zip(terms, values.tolist(), strict=True))


def linear_decay(index: int, total: int) -> float:
    """Factor of the learning rate in epoch `index`: 1 in the first half, then decreasing linearly, always above 0."""
    return min(1.0, (total - index) / (total - total // 2))


def set_lr(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate of all parameter groups, without resetting the optimizer's state."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


@contextmanager
def frozen_parameters(module: nn.Module) -> Iterator[None]:
    """Within the context, do not compute gradients of the module's weights; gradients of its input still flow."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)


def freeze(module: Network) -> Network:
    """Return the module in evaluation mode, its weights without gradients; gradients of its input still flow."""
    return module.eval().requires_grad_(False)


def mean_losses(steps: Iterable[Losses]) -> Losses:
    """Return the mean of each term over steps."""
    rows = list(steps)
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
