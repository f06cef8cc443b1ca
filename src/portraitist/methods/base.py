"""The ways to paint, one file each, found by name; and the two trainings that come before them, in the same form.

A method knows its networks, its update order and its weights; no device, no file, no loop."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import nn

from portraitist.learning.optim import Losses
from portraitist.learning.tensors import Batch, Images, Masks


@dataclass(frozen=True)
class UpstreamModels:
    """What was made before a training begins, for those methods that need it."""

    features: nn.Module | None = None
    generator: nn.Module | None = None
    segmenter: nn.Module | None = None


class Trainable(nn.Module):
    """Something that is trained. `kept` names the networks whose weights are its result."""

    saved_modules: ClassVar[tuple[str, ...]]

    def setup(self, upstream: UpstreamModels) -> None:
        """Take what earlier stages made. A learner that needs nothing ignores it."""

    def start_epoch(self, index: int, total: int) -> None:
        """Told before each epoch, 0 is the first, and before one that is gone on with: rates that fall, phases.

        What it sets has to follow from both numbers alone; what is remembered stands in a network's state.
        """

    @abstractmethod
    def step(self, batch: Batch) -> Losses:
        """One update from one batch; the terms are those that were summed."""

    def saved_state(self) -> dict[str, Any]:
        """The weights that are kept, by network."""
        return {name: getattr(self, name).state_dict() for name in self.saved_modules}

    def load_saved_state(self, state: dict[str, Any]) -> None:
        """Take back what `result` gave.

        Raises:
            RuntimeError: The weights do not fit the networks.
        """
        for name in self.saved_modules:
            getattr(self, name).load_state_dict(state[name])


class Method(Trainable):
    """A method: it paints selfies."""

    @abstractmethod
    def paint(self, selfies: Images, masks: Masks) -> Images:
        """The selfies, painted, in [-1, 1]; masks say where the person is, for methods that ask."""


def require(part: nn.Module | None, what: str) -> nn.Module:
    """The part that a method cannot begin without.

    Raises:
        ValueError: It was not given.
    """
    if part is None:
        raise ValueError(f"this method needs a {what}, and was given none")
    return part
