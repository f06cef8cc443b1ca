"""Save and load trained models. Loading needs no options and executes no code from the file."""

import io
from pathlib import Path
from typing import Any

import torch
from torch import nn

from portraitist.core.files import write_file
from portraitist.learning.method import Trainable
from portraitist.learning.registry import build

FORMAT = 2


class CheckpointError(ValueError):
    """The file is missing, is not a Portraitist model, or has an unsupported format version."""


def save_checkpoint(
    path: Path, method: str, params: dict[str, Any], trainable: Trainable, metadata: dict[str, Any]
) -> None:
    """Write the method's name, parameters and weights to a file, atomically. Equal models give equal bytes.

    `load_checkpoint` returns the `metadata`, for example the parameters of the crops that the model was trained on.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "format": FORMAT, "method": method, "params": params, "metadata": metadata, "weights": trainable.saved_state()
    }  # fmt: skip
    write_tensors(content, path)


def write_tensors(content: Any, path: Path, sync: bool = False) -> None:
    """Write a file for `torch.load`, atomically; see `core.files.atomic_write`. Equal content gives equal bytes.

    torch does not write the file itself: it would store the random name of a temporary file in the archive, and raise
    its own RuntimeError instead of the system's error if the disk is full.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_file(path, buffer.getbuffer(), sync=sync)


def load_checkpoint(path: Path) -> tuple[Trainable, dict[str, Any]]:
    """Load a model in evaluation mode, and its metadata with the name of the method.

    Raises:
        CheckpointError: the file is missing, is not a Portraitist model, or has an unsupported format version.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content["format"] != FORMAT:
            raise CheckpointError(f"{path}: format {content['format']}; this version reads format {FORMAT}")
        trainable = build(content["method"], content["params"])
        trainable.load_saved_state(content["weights"])
    except FileNotFoundError:
        raise CheckpointError(f"{path}: file not found; `dvc repro` creates it") from None
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(f"{path}: not a Portraitist model ({error})") from error
    return trainable.eval(), content["metadata"] | {"method": content["method"]}


def load_network(path: Path, name: str) -> nn.Module | None:
    """Load one network of a model; None if the model does not store a network of that name.

    Raises:
        CheckpointError: as `load_checkpoint`.
    """
    trainable = load_checkpoint(path)[0]
    return trainable.get_submodule(name) if name in trainable.saved_modules else None
