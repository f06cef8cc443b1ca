"""The ways to paint, one file each, found by name; and the two trainings that come before them, in the same form.

A method knows its networks, its update order and its weights; no device, no file, no loop.
"""

import copy
import importlib
import math
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from portraitist import ranks
from portraitist.images import Batch, Images, Masks
from portraitist.losses import Scalar
from portraitist.params import ParamsError, Section, method_names, told

Terms = dict[str, float]


@dataclass(frozen=True)
class Given:
    """What was made before a training begins, for those methods that need it."""

    features: nn.Module | None = None
    generator: nn.Module | None = None
    masker: nn.Module | None = None


class Learner(nn.Module):
    """Something that is trained. `kept` names the networks whose weights are its result."""

    kept: ClassVar[tuple[str, ...]]

    def begin(self, given: Given) -> None:
        """Take what earlier stages made. A learner that needs nothing ignores it."""

    @abstractmethod
    def step(self, batch: Batch) -> Terms:
        """One update from one batch; the terms are those that were summed."""

    def result(self) -> dict[str, Any]:
        """The weights that are kept, by network."""
        return {name: getattr(self, name).state_dict() for name in self.kept}

    def restore(self, result: dict[str, Any]) -> None:
        """Take back what `result` gave.

        Raises:
            RuntimeError: The weights do not fit the networks.
        """
        for name in self.kept:
            getattr(self, name).load_state_dict(result[name])


class Painter(Learner):
    """A method: it paints selfies."""

    @abstractmethod
    def paint(self, selfies: Images, masks: Masks) -> Images:
        """The selfies, painted, in [-1, 1]; masks say where the person is, for methods that ask."""


class DivergedError(RuntimeError):
    """A loss is no longer a number; the message names the term."""


def build(name: str, params: dict[str, Any]) -> Learner:
    """The learner of methods/<name>.py.

    Raises:
        ParamsError: As `checked`.
    """
    section = checked(name, params)
    return _module(name).Method(section)


def checked(name: str, params: dict[str, Any]) -> Section:
    """A method's params in its own shape.

    Raises:
        ParamsError: There is no such file, or its params are not what it allows.
    """
    if name not in method_names():
        raise ParamsError(f"no method {name!r}; there are {', '.join(method_names())}")
    try:
        return _module(name).Params.model_validate(params)
    except ValidationError as error:
        raise ParamsError(told(f"methods.{name}", error)) from None


def _module(name: str) -> Any:
    return importlib.import_module(f"{__name__}.{name}")


def adam(module: nn.Module, learning_rate: float) -> torch.optim.Adam:
    """Adam with the first moment at .5, as all GANs here use it (Radford et al. 2016)."""
    return torch.optim.Adam(module.parameters(), lr=learning_rate, betas=(0.5, 0.999))


def descend(optimizer: torch.optim.Optimizer, **terms: Scalar) -> Terms:
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
    ranks.average([*gradients, found])
    optimizer.step()
    return dict(zip(terms, found.tolist(), strict=True))


def needed(part: nn.Module | None, what: str) -> nn.Module:
    """The part that a method cannot begin without.

    Raises:
        ValueError: It was not given.
    """
    if part is None:
        raise ValueError(f"this method needs a {what}, and was given none")
    return part


class Averaged(nn.Module):
    """The running mean of a network's weights over training (Yaz et al. 2019): a GAN circles its goal, the mean stays.

    The first steps count more, so that the beginning is forgotten soon.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__()
        self.network = frozen(copy.deepcopy(network))
        self.decay = decay
        self.seen: Tensor
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))  # steps that were followed

    @torch.no_grad()
    def follow(self, network: nn.Module) -> None:
        """Move the mean toward the network as it is now."""
        self.seen += 1
        seen = int(self.seen)
        share = 1 - min(self.decay, seen / (seen + 10))
        for mean, now in zip(self.network.parameters(), network.parameters(), strict=True):
            mean.lerp_(now, share)


@contextmanager
def still(module: nn.Module) -> Iterator[None]:
    """Inside, gradients flow through the module; none is reckoned for its own weights, which would be thrown away."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)


def frozen(module: nn.Module) -> nn.Module:
    """The module in evaluation mode, without gradients of its own; those of its input flow through."""
    return module.eval().requires_grad_(False)


def mean_terms(steps: Iterable[Terms]) -> Terms:
    """Each term's mean over steps."""
    rows = list(steps)
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]}
