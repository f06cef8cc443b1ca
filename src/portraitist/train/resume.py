"""Save the state of a long-running stage, so that an interrupted run can resume.

DVC deletes the outputs of a stage before it runs. With `persist`, it would not, but the output could then contain the
state of a run with other parameters. The state is therefore saved outside the outputs, in
.checkpoints/<stage>-<fingerprint>/; the fingerprint covers everything that the result depends on.
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
    """Return 16 hex digits of the SHA-256 of a stage's settings (as JSON) and of the files that it depends on.

    Args:
        settings: anything that JSON can represent; other objects are converted to strings.
        files: files and folders, in the same order in every run; for a folder, all files in it.

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
    """The saved state of one run: a context manager that locks it, and deletes it after a successful run.

    After an error the state is kept for the next run. Experiments in temporary folders (`dvc exp run --temp`) share
    the states of the repository that they come from.
    """

    every_s = 60.0  # seconds between two saves, which an interrupted run may lose

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
        """Load the last saved state without executing code from the file; None if nothing has been saved."""
        path = self.folder / STATE_FILE
        return torch.load(path, map_location="cpu", weights_only=True) if path.exists() else None

    def due(self) -> bool:
        """Return whether the last save was at least `every_s` seconds ago."""
        return time.monotonic() - self.saved_at >= self.every_s

    def save(self, state: dict[str, Any]) -> None:
        """Replace the saved state, atomically."""
        write_tensors(state, self.folder / STATE_FILE, sync=True)
        self.saved_at = time.monotonic()
