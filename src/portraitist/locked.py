"""A folder that one process works in at a time."""

import fcntl
from pathlib import Path
from types import TracebackType
from typing import IO

LOCK = "lock"


class BusyError(RuntimeError):
    """Another run is at the same work."""


class Locked:
    """A folder that `with` takes for this process. What it holds outlives the process, the lock does not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lock: IO[bytes] | None = None

    def __enter__(self) -> "Locked":
        """Take the folder.

        Raises:
            BusyError: Another process has it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.lock = (self.folder / LOCK).open("wb")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.lock.close()
            raise BusyError(f"another run is at the same work, in {self.folder}; wait for it or end it") from None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        assert self.lock is not None
        self.lock.close()
