"""Write files atomically, and lock a folder for one process."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

LOCK_FILE = "lock"
PARTIAL_PREFIX = ".partial-"  # .gitignore has it too


class LockedError(RuntimeError):
    """Another process holds the lock."""


class FolderLock:
    """A context manager that locks a folder for this process. A missing folder is created; it is not removed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = FileLock(folder / LOCK_FILE, timeout=0)

    def __enter__(self) -> "FolderLock":
        """Acquire the lock without waiting.

        Raises:
            LockedError: another process holds it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout:
            raise LockedError(f"{self.folder} is in use by another run; wait for it to finish, or stop it") from None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._lock.release()


def write_file(path: Path, data: bytes | memoryview | str, overwrite: bool = True, sync: bool = False) -> None:
    """Write bytes, or text as UTF-8, to a file, atomically: see `atomic_write`, which has the same arguments."""
    with atomic_write(path, overwrite, sync) as partial:
        partial.write_bytes(data.encode() if isinstance(data, str) else data)


def write_json(path: Path, content: object) -> None:
    """Write indented JSON to a file, atomically."""
    write_file(path, json.dumps(content, indent=2) + "\n")


@contextmanager
def atomic_write(path: Path, overwrite: bool = True, sync: bool = False) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success it is renamed to `path`, on failure it is removed.

    Args:
        path: the final file; its folder must exist. The temporary file has the same suffix.
        overwrite: replace an existing file. If False, an existing file is never touched, even one that appears
            while the temporary file is being written.
        sync: flush the file to disk before it is renamed, so that it survives a power cut.

    Raises:
        FileExistsError: `path` exists and `overwrite` is False.
        OSError: the file cannot be written; the error names `path`, not the temporary file.
    """
    if not overwrite and path.exists():  # before the work is done
        raise _exists(path)
    partial = path.with_name(f"{PARTIAL_PREFIX}{os.getpid()}-{os.urandom(4).hex()}{path.suffix[:16]}")
    try:
        try:
            yield partial
            if sync:
                _flush(partial)
            if not overwrite:
                try:
                    path.touch(exist_ok=False)
                except FileExistsError:
                    raise _exists(path) from None
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)  # fails on a read-only file system even if the file is missing
    except FileExistsError:
        raise
    except OSError as error:
        if error.filename and str(error.filename) != str(partial):  # another file, such as an input
            raise
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _exists(path: Path) -> FileExistsError:
    return FileExistsError(f"{path} exists; --force overwrites it")
