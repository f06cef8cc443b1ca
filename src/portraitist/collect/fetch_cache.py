"""A disk cache of a source's responses, so that a resumed run requests nothing twice.

A response is stored under the hash of its URL: first its bytes, then its metadata, each written atomically. Failures
that may be temporary (a busy, broken or unreachable host) are not stored, so the next run tries again.

No HTTP cache library is used: those follow Cache-Control, while a resumed run must reuse every final result, error
statuses included, until the stage has finished.
"""

import hashlib
import json
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from portraitist.collect.http import Download, HttpClient, Response
from portraitist.collect.ssrf import FetchError
from portraitist.core.files import FolderLock, atomic_write
from portraitist.core.outcome import Status

TEMPORARY = {Status.THROTTLED, Status.NETWORK_ERROR, Status.TOO_SLOW, Status.CUT_OFF}
OK = 200
SERVER_ERROR = 500  # the first status code that describes a failure of the server, not of the URL


class FetchCache(FolderLock):
    """A locked folder of responses, filled through an HTTP client.

    Args:
        web: sends the requests that are not in the cache.
        folder: created if missing; only one process may use it at a time.
    """

    def __init__(self, web: HttpClient, folder: Path) -> None:
        super().__init__(folder)
        self.web = web

    def __enter__(self) -> "FetchCache":
        super().__enter__()
        return self

    def clear(self) -> None:
        """Remove the folder, once everything has been saved elsewhere."""
        shutil.rmtree(self.folder)
        with suppress(OSError):  # not empty: another run is unfinished
            self.folder.parent.rmdir()

    def download(self, url: str) -> tuple[Download, Path, str]:
        """Return a picture as (metadata, path to the file, time of the download in ISO 8601).

        Raises:
            FetchError: see `HttpClient.download`.
        """
        entry, path = self._load(url), self._path(url, "bytes")
        if entry is None:
            when = _now()
            try:
                entry = {"fetched": asdict(self.web.download(url, path)), "when": when}
            except FetchError as error:
                if error.status in TEMPORARY or (error.http_status or 0) >= SERVER_ERROR:
                    raise
                entry = {"status": error.status.value, "message": str(error)}
            self._store(url, entry)
        if "status" in entry:
            raise FetchError(Status(entry["status"]), entry["message"])
        return Download(**entry["fetched"]), path, entry["when"]

    def get_text(
        self,
        url: str,
        crawled: bool,
        headers: Mapping[str, str] | None = None,
        secret: Mapping[str, str] | None = None,
    ) -> Response:
        """Return the response of a page or an API, see `HttpClient.get_text`; only status 200 is cached.

        Raises:
            FetchError: see `HttpClient.get_text`.
        """
        entry = self._load(url)
        if entry is None:
            response = self.web.get_text(url, crawled, headers, secret)
            if response.status == OK:
                self._store(url, asdict(response))
            return response
        return Response(**entry)

    def limit_rate(self, host: str, seconds: float) -> None:
        """Set the minimum seconds between two requests to a host, see `HttpClient.limit_rate`."""
        self.web.limit_rate(host, seconds)

    def discard(self, url: str) -> None:
        """Remove a response from the cache, such as a captcha page with status 200; the next run requests it again."""
        self._path(url, "json").unlink(missing_ok=True)

    def _path(self, url: str, suffix: str) -> Path:
        return self.folder / f"{hashlib.sha256(url.encode()).hexdigest()}.{suffix}"

    def _load(self, url: str) -> dict[str, Any] | None:
        path = self._path(url, "json")
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None

    def _store(self, url: str, entry: dict[str, Any]) -> None:
        with atomic_write(self._path(url, "json")) as partial:
            partial.write_text(json.dumps(entry), encoding="utf-8")


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
