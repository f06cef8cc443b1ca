"""Shared code of the commands: messages on stderr, exit codes, signals, and options for the model and the device."""

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from portraitist.app import DEFAULT_MODEL

Device = Literal["cpu", "cuda", "coreml"]
ModelOption = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help="A folder with portraitist.onnx, an .onnx file, or hf://USER/NAME[@REVISION] on the Hugging Face hub.",
        show_default="the model that is installed with portraitist",
    ),
]
DeviceOption = Annotated[
    Device, typer.Option(help="Where the model runs; cuda needs the package onnxruntime-gpu, coreml needs macOS.")
]
FAILED, INVALID = 1, 2  # exit codes: some inputs failed; nothing was done (invalid arguments or model)


def note(message: str) -> None:
    """Print a message to stderr."""
    print(f"portraitist: {message}", file=sys.stderr)


def fail(message: str, code: int) -> NoReturn:
    """Print a message to stderr and exit."""
    note(message)
    raise typer.Exit(code)


def describe(error: Exception) -> str:
    """Return an error as text.

    For an `OSError`, this text is "file: reason", or only the reason if no file is known. The error number is left out.
    """
    reason, file = (getattr(error, name, None) for name in ("strerror", "filename"))
    return f"{file}: {reason}" if reason and file else str(reason or error)


def check_shards(folder: Path) -> None:
    """Exit if a folder is not a folder of shards; the message names folders of shards in this folder."""
    from portraitist.core.shards import INDEX_FILE

    if not (folder / INDEX_FILE).exists():
        inside = sorted(str(index.parent) for index in folder.glob(f"*/{INDEX_FILE}"))
        advice = f"give one of {', '.join(inside[:5])}" if inside else "run the stage that creates it"
        fail(f"{folder} is not a folder of shards: {INDEX_FILE} is missing; {advice}", INVALID)


def model_path(model: str | None, notify: Callable[[str], None] = note) -> Path:
    """Return the path of the model that `--model` names; a model on the Hugging Face hub is downloaded.

    Args:
        model: a path or `hf://USER/NAME[@REVISION]`; None for the model in the package.
        notify: called with each message about a download.

    Raises:
        ModelError: the name is malformed, or the model cannot be downloaded.
        OSError: the cache folder cannot be written.
    """
    from portraitist.app.model_hub import find_model

    return find_model(model or DEFAULT_MODEL, notify)


@contextmanager
def exit_on_sigterm() -> Iterator[None]:
    """Make SIGTERM raise SystemExit, so that temporary and partial files are removed."""

    def handler(number: int, _: Any) -> NoReturn:
        raise SystemExit(128 + number)

    previous = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
