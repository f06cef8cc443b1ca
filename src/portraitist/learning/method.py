"""Base classes of everything that the pipeline trains.

`Method` is the base of the methods that stylize selfies. `Trainable` is the base of `Method`, and of the two models
that are trained before the methods: the pretrained generator and the segmenter. A subclass defines networks,
losses and the order of updates. train/loop.py handles devices, files and the training loop.
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
    """Annotation of a method's parameter whose default value is read from another section of params.yaml.

    For example, `size_px: Annotated[PositiveInt, Shared("crop")]` has the value of `crop.size_px`, unless the method's
    own section sets `size_px`.

    Attributes:
        section: name of the other section.
    """

    section: str


@dataclass(frozen=True)
class UpstreamModels:
    """Outputs of earlier pipeline stages that a method may need for training."""

    features: nn.Module | None = None  # frozen feature network of the content loss
    generator: nn.Module | None = None  # generator that stage `train_generator` trained to reconstruct its input
    segmenter: nn.Module | None = None  # U-Net that stage `train_mask` trained to segment persons
    pretrained: Path | None = None  # folder of pretrained models, written by stage `weights`

    def require(self, name: str) -> nn.Module:
        """Return one of the models: "features", "generator" or "segmenter".

        Raises:
            ValueError: this model was not passed to UpstreamModels.
        """
        model: nn.Module | None = getattr(self, name)
        if model is None:
            raise ValueError(f"this method needs the model {name!r} for training: pass UpstreamModels({name}=MODULE)")
        return model

    def require_pretrained(self) -> Path:
        """Return the folder of pretrained models.

        Raises:
            ValueError: the folder was not passed to UpstreamModels.
        """
        if self.pretrained is None:
            raise ValueError("this method needs pretrained models: pass UpstreamModels(pretrained=FOLDER)")
        return self.pretrained


class Trainable(nn.Module):
    """Networks that one training stage trains together.

    The constructor of a subclass takes `(params, upstream=None)`. Without `upstream`, it builds only the networks that
    are used after training. With `upstream`, it also builds the networks and optimizers that only training needs.

    Attributes:
        saved_modules: names of the attributes whose weights are written to the model file.
    """

    saved_modules: ClassVar[tuple[str, ...]]

    def start_epoch(self, index: int, total: int) -> None:
        """Update settings that depend on the epoch, such as learning rates.

        This method is also called when an interrupted training resumes in the middle of an epoch. The settings must
        therefore depend on `index` and `total` only. Any other state must be in a submodule's state dict.

        Args:
            index: index of the epoch; the first epoch has index 0.
            total: number of epochs.
        """

    @abstractmethod
    def step(self, batch: Batch) -> Losses:
        """Update all networks once. Return each loss term by name, multiplied by its weight."""

    def saved_state(self) -> dict[str, Any]:
        """Return the state dict of each module named in `saved_modules`, by its name."""
        return {name: getattr(self, name).state_dict() for name in self.saved_modules}

    def load_saved_state(self, state: dict[str, Any]) -> None:
        """Load the state dicts that `saved_state` returned.

        Raises:
            RuntimeError: the weights do not fit the networks.
        """
        for name in self.saved_modules:
            getattr(self, name).load_state_dict(state[name])


class Method(Trainable):
    """A trainable model that stylizes selfies."""

    @abstractmethod
    def paint(self, selfies: Images, masks: Masks) -> Images:
        """Return the stylized selfies, with the selfies' shape and values in [-1, 1].

        Args:
            selfies: (batch, 3, height, width) in [-1, 1].
            masks: (batch, 1, height, width) in [0, 1], 1 for the person. Some methods ignore them.
        """
