"""Web access for sources. Every response is stored in `.fetch-cache`, and read from there when it is needed again.

A later run with the same parameters therefore sends no request and gives the same bytes, even if code was edited in
between. Stored responses do not expire; `portraitist dataset clear-cache` removes them. Failures that may be temporary
(a busy, broken or unreachable host) are not stored, so the next run tries again.

No HTTP cache library is used, because such libraries follow Cache-Control. The result of a stage would then depend on
when it runs.
"""

import sys
import threading
from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from portraitist.collect.http import Download, HttpClient, Response
from portraitist.collect.response_store import Entry, RequestKind, SourceResponses, source_lock
from portraitist.collect.ssrf import FetchError, check_url
from portraitist.core.outcome import Status

NOT_STORED = {  # failures that depend on the blocklist, or may be temporary, such as a wrong address from a hotel's DNS
    Status.REFUSED_ADDRESS,
    Status.THROTTLED,
    Status.NETWORK_ERROR,
    Status.TOO_SLOW,
    Status.CUT_OFF,
    Status.BLOCKLISTED,
}
TEMPORARY_HTTP_STATUSES = {408, 425, 429}  # and all status codes from 500 on
ROBOTS_REFUSALS = {Status.ROBOTS_DENIED, Status.OPTED_OUT}
OK = 200
SERVER_ERROR = 500  # the lowest status code of a failure of the server


class FetchCache:
    """A context manager that requests URLs for one source and stores the responses.

    At the first request, it locks the source's responses against other processes.

    Args:
        web: HTTP client, used if a response is not stored yet.
        folder: the folder of stored responses, created at the first request.
        source: name of the source; each source has its own responses.
    """

    def __init__(self, web: HttpClient, folder: Path, source: str) -> None:
        self.web = web
        self.folder = folder
        self.source = source
        self.num_stored = 0  # responses that were read from the store in this run
        self._opening = threading.Lock()
        self._lock: FileLock | None = None
        self._responses: SourceResponses | None = None

    def __enter__(self) -> "FetchCache":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._lock:
            self._lock.release()

    def download(self, url: str) -> tuple[Download, Path, str]:
        """Return a picture as (metadata, path to the file, time of the download in ISO 8601).

        Raises:
            FetchError: as in `HttpClient.download`, or the SHA-256 of the picture is blocklisted.
        """
        check_url(url, self.web.allow)  # before anything is stored, because the URL may contain a password
        responses = self._open()
        entry = self._load("picture", url, self.web.params.respect_robots)
        if entry is None:
            entry = self._download(responses, url)
            responses.save("picture", url, entry)
        if "status" in entry:
            raise FetchError(Status(entry["status"]), entry["message"])
        download = Download(**{field.name: entry[field.name] for field in fields(Download)})
        blocked = self.web.blocklist.why([url, download.final_url], download.sha256)
        if blocked:
            raise FetchError(Status.BLOCKLISTED, blocked)
        max_bytes = int(self.web.params.max_mb * 1e6)
        if download.bytes > max_bytes:
            raise FetchError(Status.TOO_LARGE, f"the file has {download.bytes} bytes; fetch.max_mb allows {max_bytes}")
        return download, responses.bytes_path(download.sha256), entry["fetched_at"]

    def _download(self, responses: SourceResponses, url: str) -> Entry:
        """Request a picture and store its bytes; return the entry to store, which describes the picture or the failure.

        Only permanent failures are returned. Other failures are raised as a `FetchError`.
        """
        params = self.web.params
        entry: Entry = {"fetched_at": _now(), "obeyed_robots": params.respect_robots}
        path = responses.temporary_path()
        try:
            download = self.web.download(url, path)
        except FetchError as error:
            if error.status in NOT_STORED or _is_temporary(error.http_status or 0):
                raise
            return entry | {"status": error.status.value, "message": str(error), "max_mb": params.max_mb}
        blocked = self.web.blocklist.why(sha256=download.sha256)
        if blocked:
            path.unlink()
            return entry | {"status": Status.BLOCKLISTED.value, "message": blocked, "sha256": download.sha256}
        path.replace(responses.bytes_path(download.sha256))
        return entry | asdict(download)

    def get_text(
        self,
        url: str,
        crawled: bool,
        headers: Mapping[str, str] | None = None,
        secret: Mapping[str, str] | None = None,
    ) -> Response:
        """Return the response of a web page or an API; only responses with status code 200 are stored.

        The arguments are those of `HttpClient.get_text`.

        Raises:
            FetchError: the request is not allowed, the server sent no response, or the response exceeds a limit.
        """
        responses, obeys_robots = self._open(), crawled and self.web.params.respect_robots
        entry = self._load("page", url, obeys_robots)
        if entry:
            text = responses.bytes_path(entry["sha256"]).read_bytes().decode("utf-8", "surrogatepass")
            return Response(entry["final_url"], OK, text)
        response = self.web.get_text(url, crawled, headers, secret)
        if response.status == OK:
            data = response.text.encode("utf-8", "surrogatepass")
            sha256 = responses.save_bytes(data)
            entry = {"fetched_at": _now(), "obeyed_robots": obeys_robots, "final_url": response.url}
            responses.save("page", url, entry | {"sha256": sha256, "bytes": len(data)})
        return response

    def limit_rate(self, host: str, seconds: float) -> None:
        """Set the minimum interval in seconds between two requests to a host, see `HttpClient.limit_rate`."""
        self.web.limit_rate(host, seconds)

    def discard(self, url: str) -> None:
        """Remove a stored page, so that the next run requests it again.

        Call this for a captcha page. Such a page can have status code 200, and is then stored like a result page.
        """
        self._open().remove("page", url)

    def _open(self) -> SourceResponses:
        """Lock and return the source's responses; wait if another process is collecting the same source."""
        with self._opening:
            if self._responses is None:
                lock = source_lock(self.folder, self.source)
                try:
                    lock.acquire(timeout=0)
                except Timeout:
                    message = "another run collects this source; waiting until it has finished"
                    print(f"collect {self.source}: {message}", file=sys.stderr)
                    lock.acquire()
                self._lock, self._responses = lock, SourceResponses(self.folder, self.source)
            return self._responses

    def _load(self, kind: RequestKind, url: str, obeys_robots: bool) -> Entry | None:
        """Return the stored entry of a request; None if there is none, or if the entry is out of date.

        An entry is out of date if a parameter has changed since it was stored, and a new request could therefore have
        another result.
        """
        entry = self._open().load(kind, url)
        if entry is None or (obeys_robots and not entry["obeyed_robots"]):
            return None
        status = entry.get("status")
        if status in ROBOTS_REFUSALS and not obeys_robots:
            return None
        if status == Status.TOO_LARGE and entry["max_mb"] != self.web.params.max_mb:
            return None
        if status == Status.BLOCKLISTED and not self.web.blocklist.why(sha256=entry["sha256"]):
            return None
        with self._opening:
            self.num_stored += 1
        return entry


def _is_temporary(http_status: int) -> bool:
    return http_status >= SERVER_ERROR or http_status in TEMPORARY_HTTP_STATUSES


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
