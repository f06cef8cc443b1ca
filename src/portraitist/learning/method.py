"""Interface of everything that a training stage trains: the methods, and the two trainings that precede them.

A method defines its networks, losses and order of updates; devices, files and the training loop are elsewhere.
"""

from abc import abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from portraitist.learning.optim import Losses
from portraitist.learning.tensors import Batch, Images, Masks


@dataclass(frozen=True)
class Shared:
    """Mark a parameter of a method whose value is read from another section of params.yaml.

    `size_px: Annotated[PositiveInt, Shared("crop")]` is read from `crop.size_px`, unless the method's own section sets
    it.
    """

    section: str


@dataclass(frozen=True)
class UpstreamModels:
    """The output models of earlier stages that a method may need for training."""

    features: nn.Module | None = None
    generator: nn.Module | None = None
    segmenter: nn.Module | None = None
    pretrained: Path | None = None  # the folder that stage `weights` writes

    def require(self, name: str) -> nn.Module:
        """Return one of the models.

        Raises:
            ValueError: it is missing.
        """
        model: nn.Module | None = getattr(self, name)
        if model is None:
            raise ValueError(f"missing upstream model {name!r}: pass UpstreamModels({name}=...)")
        return model

    def require_pretrained(self) -> Path:
        """Return the folder of pretrained models.

        Raises:
            ValueError: it is missing.
        """
        if self.pretrained is None:
            raise ValueError("missing folder 'pretrained': pass UpstreamModels(pretrained=...)")
        return self.pretrained


class Trainable(nn.Module):
    """Networks that a training stage trains; `saved_modules` names those whose weights are saved.

    A subclass takes `(params, upstream=None)`. Without upstream models it builds only what is saved and used after
    training; with them it also builds the networks and optimizers of training, ready for the first step.
    """

    saved_modules: ClassVar[tuple[str, ...]]

    def start_epoch(self, index: int, total: int) -> None:
        """Update settings that depend on the epoch, such as learning rates. The first epoch has index 0.

        Also called when a run resumes within the epoch, so the settings must depend on `index` and `total` only; other
        state must be in a submodule's state dict.
        """

    @abstractmethod
    def step(self, batch: Batch) -> Losses:
        """Update all networks once; return the weighted loss terms that were summed."""

    def saved_state(self) -> dict[str, Any]:
        """Return the state dict of each saved module."""
        return {name: getattr(self, name).state_dict() for name in self.saved_modules}

    def load_saved_state(self, state: dict[str, Any]) -> None:
        """Load what `saved_state` returned.

        Raises:
            RuntimeError: the weights do not fit the networks.
        """
        for name in self.saved_modules:
            getattr(self, name).load_state_dict(state[name])


class Method(Trainable):
    """A trainable that stylizes selfies."""

    @abstractmethod
    def paint(self, selfies: Images, masks: Masks) -> Images:
        """Return the stylized selfies, in [-1, 1]. `masks` mark the person; some methods ignore them."""
