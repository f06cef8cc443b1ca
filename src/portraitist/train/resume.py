"""What a long stage has done so far, kept beside the pipeline, so that a killed run goes on where it was.

DVC removes the outputs of a stage before it runs, and one that keeps them (`persist`) would go on with the state of
other params; so the state lies in .checkpoints/<stage>-<fingerprint of all that the result depends on>/.
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

FOLDER = ".checkpoints"
STATE = "state.pt"


def fingerprint(told: Any, files: Iterable[Path]) -> str:
    """16 hex digits of the SHA-256 of what a stage is told (as JSON) and of the files, all those in a folder, it reads.

    Raises:
        FileNotFoundError: One of the files is not there.
    """
    found = hashlib.sha256(json.dumps(told, sort_keys=True, default=str).encode())
    for path in files:
        inside = sorted(inner for inner in path.rglob("*") if inner.is_file()) if path.is_dir() else [path]
        for file in inside:
            name = file.relative_to(path).as_posix()
            found.update(f"\0{name}\0{file.stat().st_size}\0".encode())
            found.update(file.read_bytes())
    return found.hexdigest()[:16]


def code_files() -> list[Path]:
    """The package's own modules: a stage whose code has changed does not go on from the old state."""
    return sorted(Path(__file__).parents[1].rglob("*.py"))


class Checkpointer(FolderLock):
    """The state of one piece of work; `with` takes it for this process, and clears it away when the work is done.

    An error inside leaves the state for the next run. Experiments in scratch folders (`dvc exp run --temp`) share the
    states of the repository that they come from.
    """

    every_s = 60.0  # that much of the work a kill costs at most

    def __init__(self, stage: str, fingerprint: str) -> None:
        super().__init__(Path(os.environ.get("DVC_ROOT", "")) / FOLDER / f"{stage}-{fingerprint}")
        self.kept_at = time.monotonic()

    def __enter__(self) -> "Checkpointer":
        super().__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            shutil.rmtree(self.folder)
        super().__exit__(kind, error, at)

    def last(self) -> dict[str, Any] | None:
        """The state that was kept last, read without running anything in it; none at the beginning."""
        path = self.folder / STATE
        return torch.load(path, map_location="cpu", weights_only=True) if path.exists() else None

    def due(self) -> bool:
        """Whether it is time to keep the state again."""
        return time.monotonic() - self.kept_at >= self.every_s

    def keep(self, state: dict[str, Any]) -> None:
        """Keep a state in place of the last one: on the disk whole, or not at all."""
        partial = self.folder / f"{STATE}.partial"
        with partial.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self.folder / STATE)
        self.kept_at = time.monotonic()
