"""Save the state of a long-running stage, so that an interrupted run can resume.

The state is saved in .checkpoints/<stage>-<fingerprint>/. The fingerprint is a hash of everything that the result
depends on, so a run never resumes from the state of a run with other parameters. The state is not an output of the
stage in dvc.yaml, because DVC deletes the outputs before it runs the stage.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from portraitist.core.files import FolderLock
from portraitist.learning.checkpoint import write_tensors

FOLDER = ".checkpoints"
STATE_FILE = "state.pt"


def fingerprint(settings: Any, files: Iterable[Path]) -> str:
    """Return the first 16 hex digits of a SHA-256 over the settings and input files of a stage.

    Args:
        settings: values that JSON can represent; other objects are converted to strings.
        files: files, and folders whose files are all included. The order matters.

    Raises:
        FileNotFoundError: one of the files does not exist.
    """
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for path in files:
        members = sorted(inner for inner in path.rglob("*") if inner.is_file()) if path.is_dir() else [path]
        for file in members:
            name = file.relative_to(path).as_posix()
            digest.update(f"\0{name}\0{file.stat().st_size}\0".encode())
            digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


class Checkpointer(FolderLock):
    """Save and load the state of one run.

    It is a context manager: it locks the state's folder, and deletes the folder if the context ends without an error.
    After an error, the state remains for the next run. Experiments in temporary folders (`dvc exp run --temp`) use the
    states in the repository from which they were started.

    Args:
        stage: name of the stage.
        fingerprint: hash of everything that the result depends on.

    Raises:
        LockedError: when the context is entered, another process is using the same state.
    """

    every_s = 60.0  # seconds between two saves; an interruption loses at most about this much work

    def __init__(self, stage: str, fingerprint: str) -> None:
        super().__init__(Path(os.environ.get("DVC_ROOT", "")) / FOLDER / f"{stage}-{fingerprint}")
        self.saved_at = time.monotonic()

    def __enter__(self) -> "Checkpointer":
        super().__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            shutil.rmtree(self.folder)
        super().__exit__(kind, error, at)

    def load(self) -> dict[str, Any] | None:
        """Load the last saved state, without executing code from its file; return None if there is no saved state."""
        path = self.folder / STATE_FILE
        return torch.load(path, map_location="cpu", weights_only=True) if path.exists() else None

    def due(self) -> bool:
        """Return whether the last save was at least `every_s` seconds ago."""
        return time.monotonic() - self.saved_at >= self.every_s

    def save(self, state: dict[str, Any]) -> None:
        """Replace the saved state, atomically."""
        write_tensors(state, self.folder / STATE_FILE, sync=True)
        self.saved_at = time.monotonic()
