"""Optimizer steps, the learning-rate schedule, and freezing of weights."""

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
    """Return Adam for all weights of a module, with betas (0.5, 0.999) as usual for GANs (Radford et al., 2016)."""
    return torch.optim.Adam(module.parameters(), lr=learning_rate, betas=(0.5, 0.999))


def optimizer_step(optimizer: torch.optim.Optimizer, **terms: Scalar) -> Losses:
    """Take one optimizer step on the sum of the loss terms.

    Args:
        optimizer: updates the weights; their gradients are averaged over all processes first.
        terms: loss terms by name, already multiplied by their weights.

    Returns:
        The value of each term, averaged over all processes.

    Raises:
        DivergedError: a term is NaN or infinite.
        DistributedError: another process has stopped, or did not answer in time.
    """
    stacked = torch.stack(list(terms.values()))
    for name, value in zip(terms, stacked.tolist(), strict=True):
        if not math.isfinite(value):
            raise DivergedError(f"loss term {name} is {value}; lower the learning rate or the weight of this term")
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
    """Return the number by which the learning rate is multiplied in epoch `index` (from 0) of `total` epochs.

    The number is 1 in the first half of the epochs, then decreases linearly. In the last epoch, it is still above 0.
    """
    return min(1.0, (total - index) / (total - total // 2))


def set_lr(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate of all parameter groups, without resetting the optimizer's state."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


@contextmanager
def frozen_parameters(module: nn.Module) -> Iterator[None]:
    """Return a context manager that disables the gradients of the module's weights.

    Gradients still flow to the module's input.
    """
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)


def freeze(module: Network) -> Network:
    """Set a module to evaluation mode, and disable the gradients of its weights; return the module.

    Gradients still flow to the module's input.
    """
    return module.eval().requires_grad_(False)


def mean_losses(steps: Iterable[Losses]) -> Losses:
    """Return the mean of each loss term over several steps, which must have the same terms."""
    rows = list(steps)
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
