"""The store of web responses in `.fetch-cache`, so that nothing is requested twice.

    sources/<source>/<SHA-256 of the request>.json    metadata or the failure; it names the bytes by their SHA-256
    sources/<source>.lock                             locked by the process that collects this source
    bytes/<SHA-256>                                   pictures as received; pages as UTF-8, without secrets

Each file is written atomically. A source's entries are changed only under its lock, and files in `bytes` are deleted
only under all locks, so processes can share the store.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout

from portraitist.collect.blocklist import Blocklist
from portraitist.core.files import PARTIAL_PREFIX, LockedError, write_file

FOLDER = ".fetch-cache"
RequestKind = Literal["picture", "page"]
Entry = dict[str, Any]  # for a failure: status and message; otherwise sha256, bytes (their number) and metadata


def store_folder() -> Path:
    """Return the folder of the store: in DVC_ROOT, which DVC sets also for experiments in other folders."""
    return Path(os.environ.get("DVC_ROOT", ""), FOLDER)


def source_lock(folder: Path, source: str) -> FileLock:
    """Return the lock of a source's entries, not yet acquired; any thread may release it."""
    (folder / "sources" / source).mkdir(parents=True, exist_ok=True)
    return FileLock(folder / "sources" / f"{source}.lock", thread_local=False)


class SourceResponses:
    """The responses of one source, in a store that other sources share. The caller holds the source's lock."""

    def __init__(self, folder: Path, source: str) -> None:
        self.entries = folder / "sources" / source
        self.bytes = folder / "bytes"
        self.bytes.mkdir(exist_ok=True)
        for leftover in self.entries.glob(f"{PARTIAL_PREFIX}*"):  # left by a process that was killed
            leftover.unlink()

    def load(self, kind: RequestKind, url: str) -> Entry | None:
        """Return the entry of a request; None if there is none, or its bytes are missing or incomplete."""
        try:
            entry: Entry = json.loads(self._entry_path(kind, url).read_text(encoding="utf-8"))
            if "status" not in entry and self.bytes_path(entry["sha256"]).stat().st_size != entry["bytes"]:
                return None
        except (FileNotFoundError, ValueError):  # ValueError: a power cut can leave an empty file
            return None
        return entry

    def save(self, kind: RequestKind, url: str, entry: Entry) -> None:
        """Write the entry of a request; its bytes must have been stored before."""
        write_file(self._entry_path(kind, url), json.dumps({"kind": kind, "url": url} | entry))

    def save_bytes(self, data: bytes) -> str:
        """Store bytes, and return their SHA-256."""
        sha256 = hashlib.sha256(data).hexdigest()
        write_file(self.bytes_path(sha256), data)
        return sha256

    def bytes_path(self, sha256: str) -> Path:
        """Return where bytes with this SHA-256 are stored."""
        return self.bytes / sha256

    def temporary_path(self, url: str) -> Path:
        """Return a path for bytes whose SHA-256 is not known yet, on the same file system as `bytes_path`."""
        return self._entry_path("picture", url).with_name(f"{PARTIAL_PREFIX}{_request_hash('picture', url)}.bytes")

    def remove(self, kind: RequestKind, url: str) -> None:
        """Remove the entry of a request; `clear` removes its bytes."""
        self._entry_path(kind, url).unlink(missing_ok=True)

    def _entry_path(self, kind: RequestKind, url: str) -> Path:
        return self.entries / f"{_request_hash(kind, url)}.json"


def _request_hash(kind: RequestKind, url: str) -> str:
    return hashlib.sha256(f"{kind} {url}".encode()).hexdigest()


@dataclass(frozen=True)
class Usage:
    """Number and size of one source's stored responses."""

    source: str
    pictures: int
    pages: int
    failures: int
    megabytes: float
    oldest: str  # ISO 8601; "" without responses
    newest: str


def source_names(folder: Path) -> list[str]:
    """Return the sources that the store has entries of."""
    return sorted(path.name for path in (folder / "sources").glob("*") if path.is_dir())


def usage(folder: Path) -> list[Usage]:
    """Return the number and size of the stored responses, by source."""
    found = []
    for source in source_names(folder):
        entries = [entry for _, entry in _read_entries(folder, [source])]
        stored = [entry for entry in entries if "status" not in entry]
        sizes = {entry["sha256"]: entry["bytes"] for entry in stored}
        times = sorted(entry["fetched_at"] for entry in entries) or [""]
        pictures = sum(entry["kind"] == "picture" for entry in stored)
        counts = (pictures, len(stored) - pictures, len(entries) - len(stored))
        found.append(Usage(source, *counts, sum(sizes.values()) / 1e6, times[0], times[-1]))
    return found


def total_megabytes(folder: Path) -> float:
    """Return the size of all files in the store."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def clear(folder: Path, sources: Collection[str] = ()) -> None:
    """Remove the responses of some sources, by default of all, and the bytes that no other source uses.

    Raises:
        LockedError: a source is being collected; nothing is removed.
    """
    with _all_locks(folder):
        if not sources:
            shutil.rmtree(folder, ignore_errors=True)
            return
        for source in sources:
            shutil.rmtree(folder / "sources" / source)
        _remove_unused_bytes(folder)


def remove_blocked(folder: Path, blocklist: Blocklist) -> int:
    """Remove the responses that a blocklist rejects by URL, host or SHA-256, with their bytes; return their number.

    Difference hashes are not compared, because that would require decoding every picture.

    Raises:
        LockedError: a source is being collected; nothing is removed.
    """
    if not folder.exists():
        return 0
    count = 0
    with _all_locks(folder):
        for path, entry in _read_entries(folder, source_names(folder)):
            urls = [entry["url"], entry.get("final_url", "")]
            if blocklist.why(urls=urls, sha256=entry.get("sha256", "")):
                path.unlink()
                count += 1
        _remove_unused_bytes(folder)
    return count


def _read_entries(folder: Path, sources: Iterable[str]) -> Iterator[tuple[Path, Entry]]:
    for source in sources:
        for path in sorted((folder / "sources" / source).glob("[!.]*.json")):
            yield path, json.loads(path.read_text(encoding="utf-8"))


def _remove_unused_bytes(folder: Path) -> None:
    entries = (entry for _, entry in _read_entries(folder, source_names(folder)))
    used = {entry["sha256"] for entry in entries if "status" not in entry}
    for path in (folder / "bytes").glob("*"):
        if path.name not in used:
            path.unlink()


@contextmanager
def _all_locks(folder: Path) -> Iterator[None]:
    """Lock all sources within the context.

    Raises:
        LockedError: another process holds one of them.
    """
    with ExitStack() as stack:
        for source in source_names(folder):
            try:
                stack.enter_context(source_lock(folder, source).acquire(timeout=0))
            except Timeout:
                raise LockedError(f"source {source} is being collected; wait until this has finished") from None
        yield
