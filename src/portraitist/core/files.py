"""Write files atomically, and lock a folder for one process."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

LOCK_FILE = "lock"
PARTIAL_PREFIX = ".partial-"  # of temporary files; also listed in .gitignore


class LockedError(RuntimeError):
    """Another process holds the lock of a folder."""


class FolderLock:
    """A context manager that locks a folder for this process; it creates the folder if necessary."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = FileLock(folder / LOCK_FILE, timeout=0)

    def __enter__(self) -> "FolderLock":
        """Acquire the lock without waiting.

        Raises:
            LockedError: another process holds the lock.
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
    """Write a file atomically; text is encoded as UTF-8. `atomic_write` describes `overwrite`, `sync` and errors."""
    with atomic_write(path, overwrite, sync) as partial:
        partial.write_bytes(data.encode() if isinstance(data, str) else data)


def write_json(path: Path, content: object) -> None:
    """Write `content` to a file as indented JSON, atomically."""
    write_file(path, json.dumps(content, indent=2) + "\n")


@contextmanager
def atomic_write(path: Path, overwrite: bool = True, sync: bool = False) -> Iterator[Path]:
    """Yield the path of a temporary file, and rename that file to `path` when the context ends.

    If the context ends with an exception, the temporary file is removed and `path` is not changed.

    Args:
        path: the final file; its folder must exist. The temporary file is in the same folder and has the same suffix.
        overwrite: replace an existing file. If False, an existing file is never changed, not even one that another
            process creates in the meantime.
        sync: flush the file to disk before it is renamed, so that it survives a power cut.

    Raises:
        FileExistsError: `path` exists and `overwrite` is False.
        OSError: the file cannot be written; the error names `path`, not the temporary file.
    """
    if not overwrite and path.exists():  # checked before the caller does any work
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
