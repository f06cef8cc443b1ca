"""The stored web responses in `.fetch-cache`.

    sources/<source>/<SHA-256 of the request>.json    the entry of one request; see below
    sources/<source>.lock                             locked by the process that collects this source
    bytes/<SHA-256 of the bytes>                      pictures as received; pages as UTF-8 without secrets

The entry of a successful request has metadata, such as the SHA-256 of the bytes. If a picture cannot be downloaded, and
the failure is permanent, the entry has the status and the message of the failure. Other failed requests have no entry:
temporary failures, blocklisted URLs, and all failed requests for pages. See `fetch_cache`.

Several processes can share the folder. Each file is written atomically. The entries of a source are changed only by the
process that holds the source's lock. Files in `bytes` are deleted only by a process that holds all locks.
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
Entry = dict[str, Any]  # of a failure: status and message; of a success: sha256, bytes (size in bytes) and metadata


def store_folder() -> Path:
    """Return the folder of stored responses, which is in the project's folder.

    DVC sets the environment variable DVC_ROOT to the project's folder. Experiments that run in a temporary copy of the
    project therefore use the stored responses of the original project.
    """
    return Path(os.environ.get("DVC_ROOT", ""), FOLDER)


def source_lock(folder: Path, source: str) -> FileLock:
    """Return the lock of a source's entries. The caller acquires it, and may release it in another thread."""
    (folder / "sources" / source).mkdir(parents=True, exist_ok=True)
    return FileLock(folder / "sources" / f"{source}.lock", thread_local=False)


class SourceResponses:
    """The stored responses of one source. The caller must hold the source's lock (`source_lock`).

    Args:
        folder: the folder that `store_folder` returns; all sources share it.
        source: name of the source.
    """

    def __init__(self, folder: Path, source: str) -> None:
        self.entries = folder / "sources" / source
        self.bytes = folder / "bytes"
        self.bytes.mkdir(exist_ok=True)
        for leftover in self.entries.glob(f"{PARTIAL_PREFIX}*"):  # left by a process that was killed
            leftover.unlink()

    def load(self, kind: RequestKind, url: str) -> Entry | None:
        """Return the stored entry of a request; None if there is none, or if its bytes are missing or incomplete."""
        try:
            entry: Entry = json.loads(self._entry_path(kind, url).read_text(encoding="utf-8"))
            if "status" not in entry and self.bytes_path(entry["sha256"]).stat().st_size != entry["bytes"]:
                return None
        except (FileNotFoundError, ValueError):  # ValueError: a power cut can leave an empty file
            return None
        return entry

    def save(self, kind: RequestKind, url: str, entry: Entry) -> None:
        """Write the entry of a request; the caller must have stored the bytes before."""
        write_file(self._entry_path(kind, url), json.dumps({"kind": kind, "url": url} | entry))

    def save_bytes(self, data: bytes) -> str:
        """Store bytes, and return their SHA-256."""
        sha256 = hashlib.sha256(data).hexdigest()
        write_file(self.bytes_path(sha256), data)
        return sha256

    def bytes_path(self, sha256: str) -> Path:
        """Return the path at which bytes with this SHA-256 are stored."""
        return self.bytes / sha256

    def temporary_path(self) -> Path:
        """Return a new path for a download whose SHA-256 is not known yet, on the same file system as `bytes_path`."""
        return self.entries / f"{PARTIAL_PREFIX}{os.urandom(16).hex()}.bytes"

    def remove(self, kind: RequestKind, url: str) -> None:
        """Remove the entry of a request. The bytes remain until `clear` removes them."""
        self._entry_path(kind, url).unlink(missing_ok=True)

    def _entry_path(self, kind: RequestKind, url: str) -> Path:
        return self.entries / f"{_request_hash(kind, url)}.json"


def _request_hash(kind: RequestKind, url: str) -> str:
    return hashlib.sha256(f"{kind} {url}".encode()).hexdigest()


@dataclass(frozen=True)
class Usage:
    """How many responses of one source are stored, their size, and when they were received."""

    source: str
    pictures: int
    pages: int
    failures: int
    megabytes: float  # in units of 10^6 bytes
    oldest: str  # time of the oldest response in ISO 8601; "" if there are no responses
    newest: str  # time of the newest response


def source_names(folder: Path) -> list[str]:
    """Return the names of the sources that have stored responses, sorted."""
    return sorted(path.name for path in (folder / "sources").glob("*") if path.is_dir())


def usage(folder: Path) -> list[Usage]:
    """Return the number, size and age of the stored responses of each source."""
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
    """Return the size of all stored files, in units of 10^6 bytes."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def clear(folder: Path, sources: Collection[str] = ()) -> None:
    """Remove the stored responses of these sources; if `sources` is empty, of all sources.

    Bytes that another source also uses are kept.

    Raises:
        LockedError: another process is collecting a source; nothing is removed.
    """
    with _all_locks(folder):
        if not sources:
            shutil.rmtree(folder, ignore_errors=True)
            return
        for source in sources:
            shutil.rmtree(folder / "sources" / source)
        _remove_unused_bytes(folder)


def remove_blocked(folder: Path, blocklist: Blocklist) -> int:
    """Remove the stored responses that a blocklist blocks by URL, host or SHA-256; return the number removed.

    Difference hashes are not compared, because every picture would have to be decoded.

    Raises:
        LockedError: another process is collecting a source; nothing is removed.
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
    """Yield all entries, except damaged ones; a request with a damaged entry is sent again (`SourceResponses.load`)."""
    for source in sources:
        for path in sorted((folder / "sources" / source).glob("[!.]*.json")):
            try:
                entry = json.loads(path.read_text(encoding="utf-8"))
            except ValueError:  # a power cut can leave an empty file
                continue
            yield path, entry


def _remove_unused_bytes(folder: Path) -> None:
    entries = (entry for _, entry in _read_entries(folder, source_names(folder)))
    used = {entry["sha256"] for entry in entries if "status" not in entry}
    for path in (folder / "bytes").glob("*"):
        if path.name not in used:
            path.unlink()


@contextmanager
def _all_locks(folder: Path) -> Iterator[None]:
    """Hold the locks of all sources within the context.

    Raises:
        LockedError: another process holds the lock of a source.
    """
    with ExitStack() as stack:
        for source in source_names(folder):
            try:
                stack.enter_context(source_lock(folder, source).acquire(timeout=0))
            except Timeout:
                raise LockedError(
                    f"source {source} is being collected by another run; wait until that run has finished"
                ) from None
        yield
