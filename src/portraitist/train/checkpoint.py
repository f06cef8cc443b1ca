"""Models on disk: they open with no flag, and nothing in the file is executed."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from portraitist.methods.base import Trainable
from portraitist.methods.registry import build

FORMAT = 1


class CheckpointError(ValueError):
    """A file is no model of ours, or one of another format."""


def save_checkpoint(path: Path, name: str, params: dict[str, Any], learner: Trainable, about: dict[str, Any]) -> None:
    """A checkpoint that opens with no flag: the method's name and params beside its weights; written whole or not."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"format": FORMAT, "method": name, "params": params, "about": about, "weights": learner.saved_state()}
    partial = path.with_suffix(".partial")
    torch.save(content, partial)
    partial.replace(path)


def load_checkpoint(path: Path) -> tuple[Trainable, dict[str, Any]]:
    """What `save` wrote: the learner, ready to use, and what was said about it.

    Raises:
        CheckpointError: The file is missing, no model of ours, or of another format.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content["format"] != FORMAT:
            raise CheckpointError(f"{path}: format {content['format']}; this version reads {FORMAT}")
        learner = build(content["method"], content["params"])
        learner.load_saved_state(content["weights"])
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file; `dvc repro` makes it") from None
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(f"{path}: not a Portraitist model ({error})") from error
    return learner.eval(), content["about"] | {"method": content["method"]}


def load_network(path: Path, name: str) -> nn.Module | None:
    """One network of a checkpoint; none where the checkpoint is of something that has no such network.

    Raises:
        CheckpointError: As `open_learner`.
    """
    learner = load_checkpoint(path)[0]
    return learner.get_submodule(name) if name in learner.saved_modules else None
