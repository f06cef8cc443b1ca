"""Simulate disk faults: writes below a folder fail or are slow; shards (tar files) cannot be read."""

import builtins
import errno
import io
import os
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest


class FaultyDisk:
    """Count writes to files, delay them, and let some fail; a failing write writes half of its data.

    Args:
        fail_at: number of the first write that fails, from 1; None for no failure.
        code: `errno.ENOSPC` (all later writes fail too) or `errno.EIO` (only this write fails).
        delay_s: seconds that each write takes.
    """

    def __init__(self, fail_at: int | None = None, code: int = errno.EIO, delay_s: float = 0.0) -> None:
        self.fail_at, self.code, self.delay_s = fail_at, code, delay_s
        self.writes = 0

    def write(self, file: Any, data: Any) -> int:
        self.writes += 1
        time.sleep(self.delay_s)
        due = self.fail_at is not None and self.writes >= self.fail_at
        if due and (self.code == errno.ENOSPC or self.writes == self.fail_at):
            file.write(data[: len(data) // 2])
            raise OSError(self.code, os.strerror(self.code))
        return file.write(data)


class _File:
    """A file whose writes are passed to a `FaultyDisk`."""

    def __init__(self, file: Any, disk: FaultyDisk) -> None:
        self._file, self._disk = file, disk

    def write(self, data: Any) -> int:
        return self._disk.write(self._file, data)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def __enter__(self) -> "_File":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __iter__(self) -> Iterator[Any]:
        return iter(self._file)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def faulty_disk(folder: Path, disk: FaultyDisk) -> Iterator[FaultyDisk]:
    """Inside the context, let `disk` handle the writes to files below `folder`."""
    opened = builtins.open

    def open_file(path: Any, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        file = opened(path, mode, *arguments, **named)
        below = isinstance(path, str | os.PathLike) and Path(os.fsdecode(path)).absolute().is_relative_to(folder)
        return _File(file, disk) if below and set(mode) & set("wax+") else file

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtins, "open", open_file)
        patch.setattr(io, "open", open_file)
        patch.setattr(tarfile, "bltn_open", open_file)
        yield disk


@contextmanager
def unreadable_shards() -> Iterator[None]:
    """Inside the context, let every read of a shard fail."""

    def fail(*_: object) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "pread", fail)
        yield
