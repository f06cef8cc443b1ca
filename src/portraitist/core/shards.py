"""Tar shards in the WebDataset layout, with an index for random access to any member.

A shard is a tar file, named 00000.tar and so on, with some of the pictures of a stage. A member is a file in it,
named <picture id>.<ending>, such as 0123456789abcdef.mask.png. Members have no time stamps or owners, so equal content
gives equal bytes. With 100,000 pictures, DVC handles a folder of shards 16 times as fast as a folder of single files.

The webdataset library is not used: it reads shards sequentially, and the bytes that it writes depend on the time.
"""

import csv
import io
import os
import sys
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from itertools import chain
from pathlib import Path
from types import TracebackType

from portraitist.core.files import PARTIAL_PREFIX, atomic_write

INDEX_FILE = "index.csv"
COLUMNS = ["id", "ending", "shard", "offset", "size"]
MAX_OPEN = 128  # shards that are open for reading; Linux allows a process 1024 open files by default


class _ShardFile:
    """A context manager for a tar file that is being written; `index` lists the members added so far."""

    def __init__(self, path: Path, name: str) -> None:
        self.name = name  # the file name in the index; `path` may be a temporary file
        self.index: list[tuple[str, str, str, int, int]] = []
        self._tar = tarfile.open(path, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115

    def add(self, picture: str, members: dict[str, bytes]) -> None:
        for ending, data in members.items():
            header = tarfile.TarInfo(f"{picture}.{ending}")
            header.size = len(data)
            try:
                self._tar.addfile(header, io.BytesIO(data))
            except OSError as error:  # does not contain the file's name
                raise OSError(error.errno, error.strerror, str(self._tar.name)) from error
            padded = -(-len(data) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
            self.index.append((picture, ending, self.name, self._tar.offset - padded, len(data)))

    def __enter__(self) -> "_ShardFile":
        return self

    def __exit__(self, *_: object) -> None:
        self._tar.close()


class ShardWriter:
    """A context manager that writes a new folder of shards with `shard_size` pictures each.

    The index is written at the end of the context, and only if no exception occurred.

    Raises:
        FileExistsError: the folder already exists.
    """

    def __init__(self, folder: Path, shard_size: int) -> None:
        folder.mkdir(parents=True)
        self.folder = folder
        self.shard_size = shard_size
        self._index: list[tuple[str, str, str, int, int]] = []
        self._ids: set[str] = set()
        self._shard: _ShardFile | None = None

    def add(self, picture: str, members: dict[str, bytes]) -> None:
        """Add the members of a picture; keys are file name endings such as "png" or "mask.png".

        Raises:
            ValueError: the picture was added before, or has no members.
        """
        if picture in self._ids or not members:
            raise ValueError(f"picture {picture} {'was added twice' if members else 'has no members'}")
        if len(self._ids) % self.shard_size == 0:
            self._close_shard()
            name = shard_name(len(self._ids) // self.shard_size)
            self._shard = _ShardFile(self.folder / name, name)
        assert self._shard is not None
        self._ids.add(picture)
        self._shard.add(picture, members)

    def _close_shard(self) -> None:
        if self._shard:
            with self._shard as shard:
                self._index += shard.index

    def __enter__(self) -> "ShardWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._close_shard()
        if error is None:
            write_index(self.folder, [_to_csv(self._index)])


def shard_name(number: int) -> str:
    """Return the file name of the shard with this number, which starts at 0."""
    return f"{number:05d}.tar"


def write_shard(path: Path, pictures: Iterable[tuple[str, dict[str, bytes]]]) -> str:
    """Write one shard atomically, and return its rows of the index as CSV text without a header.

    If there are no pictures, no file is written, an existing one is removed, and "" is returned.

    Args:
        path: the file to write or to replace.
        pictures: the id and the members (ending and bytes) of each picture.
    """
    remaining = iter(pictures)
    first = next(remaining, None)
    if first is None:
        path.unlink(missing_ok=True)
        return ""
    with atomic_write(path) as partial, _ShardFile(partial, path.name) as shard:
        for picture, members in chain([first], remaining):
            shard.add(picture, members)
    return _to_csv(shard.index)


def write_index(folder: Path, parts: Iterable[str]) -> None:
    """Write the index of a folder of shards, and remove unfinished shards of workers that were killed.

    Args:
        folder: the folder with the shards.
        parts: the rows that `write_shard` returned for each shard, in the order of the shards.
    """
    with (
        atomic_write(folder / INDEX_FILE) as partial,
        partial.open("w", newline="", encoding="utf-8") as file,
    ):
        file.write(_to_csv([COLUMNS]))
        file.writelines(parts)
    for unfinished in folder.glob(f"{PARTIAL_PREFIX}*"):
        unfinished.unlink()


def _to_csv(rows: Iterable[Sequence[object]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def is_index(path: Path) -> bool:
    """Return whether a CSV file is the index of a folder of shards, by its header."""
    with path.open(newline="", encoding="utf-8") as file:
        return next(csv.reader(file), []) == COLUMNS


class Shards:
    """Random access to the members in a folder of shards.

    Each process opens its own file handles, so the worker processes of a data loader can use copies of one object.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._handles: dict[str, int] = {}
        self._locations: dict[str, dict[str, tuple[str, int, int]]] = {}
        with (folder / INDEX_FILE).open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                # interned, because a million rows have few different strings
                location = (sys.intern(row["shard"]), int(row["offset"]), int(row["size"]))
                self._locations.setdefault(row["id"], {})[sys.intern(row["ending"])] = location

    def ids_by_shard(self) -> dict[str, list[str]]:
        """Return the ids of the pictures in each shard, by the shard's file name; shards and ids are in order."""
        found: dict[str, list[str]] = {}
        for picture, members in self._locations.items():
            shard = next(iter(members.values()))[0]
            found.setdefault(shard, []).append(picture)
        return found

    def select(self, pictures: Iterable[str]) -> "Shards":
        """Return a copy restricted to these pictures; it is smaller to pickle for another process."""
        selected = copy(self)
        selected._locations = {picture: self._locations[picture] for picture in pictures}
        return selected

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_handles": {}}  # the copy opens its own files

    def __iter__(self) -> Iterator[str]:
        return iter(self._locations)

    def __len__(self) -> int:
        return len(self._locations)

    @property
    def shard_size(self) -> int:
        """Number of pictures in the first shard; 1 if there are no shards.

        If `ShardWriter` wrote two or more shards, this is its `shard_size`, because only its last shard can be smaller.
        """
        return max(1, len(next(iter(self.ids_by_shard().values()), [])))

    def has(self, picture: str, ending: str) -> bool:
        """Return whether a picture has a member with this ending, such as "alpha.png"."""
        return ending in self._locations.get(picture, {})

    def members(self, picture: str) -> dict[str, bytes]:
        """Read all members of a picture; keys are their endings."""
        return {ending: self.read(picture, ending) for ending in self._locations[picture]}

    def read(self, picture: str, ending: str) -> bytes:
        """Read one member.

        Raises:
            KeyError: there is no such picture or member.
            OSError: the shard cannot be read or is truncated; the error names the shard.
        """
        shard, offset, size = self._locations[picture][ending]
        if shard not in self._handles:
            if len(self._handles) >= MAX_OPEN:
                self._close(next(iter(self._handles)))
            self._handles[shard] = os.open(self.folder / shard, os.O_RDONLY)
        try:
            data = os.pread(self._handles[shard], size, offset)
        except OSError as error:  # does not contain the file's name
            raise OSError(error.errno, error.strerror, str(self.folder / shard)) from error
        if len(data) != size:
            raise OSError(
                f"{self.folder / shard} is truncated: {size} bytes expected at offset {offset}, found {len(data)}; "
                "rerun the stage that writes this file"
            )
        return data

    def _close(self, shard: str) -> None:
        os.close(self._handles.pop(shard))

    def __del__(self) -> None:
        for shard in list(self._handles):
            self._close(shard)
