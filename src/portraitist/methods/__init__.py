"""The ways to paint, one file each, found by name; and the two trainings that come before them, in the same form.

A method knows its networks, its update order and its weights; no device, no file, no loop.
"""

import copy
import importlib
import math
import sys
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import ValidationError
from torch import Tensor, nn

from portraitist import ranks
from portraitist.images import Batch, Images, Masks
from portraitist.losses import Scalar
from portraitist.params import (
    CropParams,
    GeneratorParams,
    ParamsError,
    Section,
    TrainParams,
    load,
    method_names,
    methods_or_exit,
    told,
)

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

    def epoch(self, index: int, total: int) -> None:
        """Told before each epoch, 0 is the first, and before one that is gone on with: rates that fall, phases.

        What it sets has to follow from both numbers alone; what is remembered stands in a network's state.
        """

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


def settings_of(name: str, offered: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    """What a method is told: its own section, and what it asks for of that which all are offered.

    Raises:
        ParamsError: As `checked`.
    """
    if name not in method_names():
        raise ParamsError(f"no method {name!r}; there are {', '.join(method_names())}")
    asked = _module(name).Params.model_fields
    settings = {key: value for key, value in offered.items() if key in asked} | own
    checked(name, settings)
    return settings


def all_checked_or_exit(root: Path = Path()) -> None:
    """A method's wrong value ends the first training, not the last: one line and exit code 1."""
    sections: dict[str, type[Section]] = {"generator": GeneratorParams, "train": TrainParams, "crop": CropParams}
    try:
        offered = {key: value for name, shape in sections.items() for key, value in load(shape, name, root)}
        for name, own in methods_or_exit(root).items():
            settings_of(name, offered, own)
    except ParamsError as error:
        sys.exit(f"portraitist: {error}")


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


class Pool(nn.Module):
    """Paintings of some steps ago: every second one that is asked for comes from there (Shrivastava et al. 2017)."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.images: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        """As many; while the pool is filling, the same."""
        shown = []
        for image in images:
            if len(self.images) < self.size:
                self.images.append(image)
            elif torch.rand(()) < 0.5:
                place = int(torch.randint(self.size, ()))
                shown.append(self.images[place].to(image.device))
                self.images[place] = image
                continue
            shown.append(image)
        return torch.stack(shown)

    def get_extra_state(self) -> Tensor:
        """Its images, so that a training goes on with them."""
        return torch.stack(self.images) if self.images else torch.zeros(0)

    def set_extra_state(self, state: Tensor) -> None:
        """Take back what `get_extra_state` gave."""
        self.images = list(state)


def falling(index: int, total: int) -> float:
    """The share of the learning rate in an epoch: all in the first half, then down to nothing in a line."""
    return min(1.0, (total - index) / (total - total // 2))


def pace(optimizer: torch.optim.Optimizer, learning_rate: float) -> None:
    """From now on the optimizer goes at this rate."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate


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
