"""Save and load trained models.

A model file contains the parameters from which its networks are built. Loading executes no code from the file.
"""

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
    """Write a model file atomically: the method's name, its parameters, its weights and `metadata`.

    Equal arguments give equal bytes.

    Args:
        path: file to write; missing parent folders are created.
        method: name of the method, such as "cyclegan".
        params: parameters from which `registry.build` builds the method again.
        trainable: the trained networks; only the networks that `trainable.saved_modules` names are written.
        metadata: values that `load_checkpoint` returns, such as the size of the face crops used in training.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "format": FORMAT, "method": method, "params": params, "metadata": metadata, "weights": trainable.saved_state()
    }  # fmt: skip
    write_tensors(content, path)


def write_tensors(content: Any, path: Path, sync: bool = False) -> None:
    """Atomically write a file that `torch.load` can read. Equal content gives equal bytes.

    `torch.save` writes to memory. The result is then written to a temporary file with a random name, and the temporary
    file is renamed to `path`. If `torch.save` wrote the temporary file itself, it would store the random name in the
    file. On a full disk, it would raise RuntimeError instead of OSError.

    Args:
        content: tensors, numbers, strings, and lists or dictionaries of these.
        path: file to write; its folder must exist.
        sync: flush the file to disk, so that it survives a power cut.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_file(path, buffer.getbuffer(), sync=sync)


def load_checkpoint(path: Path) -> tuple[Trainable, dict[str, Any]]:
    """Load a model file. Return the networks in evaluation mode, and the metadata.

    The metadata are those that were passed to `save_checkpoint`, plus the key `method` with the method's name.

    Raises:
        CheckpointError: the file is missing, is not a Portraitist model, or has an unsupported format version.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if content["format"] != FORMAT:
            raise CheckpointError(
                f"{path}: the model file has format {content['format']}; this version of Portraitist reads only format "
                f"{FORMAT}; train the model again"
            )
        trainable = build(content["method"], content["params"])
        trainable.load_saved_state(content["weights"])
    except FileNotFoundError:
        raise CheckpointError(f"{path}: file not found; `dvc repro` creates it") from None
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(f"{path}: not a Portraitist model ({error}); use a file from `dvc repro`") from error
    return trainable.eval(), content["metadata"] | {"method": content["method"]}


def load_network(path: Path, name: str) -> nn.Module | None:
    """Load one network of a model file; return None if the file has no network of that name.

    Args:
        path: the model file.
        name: one of the model's `saved_modules`, such as "generator".

    Raises:
        CheckpointError: the file is missing, is not a Portraitist model, or has an unsupported format version.
    """
    trainable = load_checkpoint(path)[0]
    return trainable.get_submodule(name) if name in trainable.saved_modules else None
