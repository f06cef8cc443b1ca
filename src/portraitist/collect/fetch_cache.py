"""What was fetched for a source so far: a run that is killed goes on where it was, and fetches nothing twice.

An answer is kept under the hash of its address, its bytes first and what is known of it last, each written aside and
moved to its place. Faults that may pass (a host that is busy, broken or away) are not kept: the next run tries again.
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
from portraitist.core.files import FolderLock
from portraitist.core.outcome import Status

PASSING = {Status.THROTTLED, Status.NETWORK_ERROR, Status.TOO_SLOW, Status.CUT_OFF}
OK = 200
BROKEN = 500  # this status and those above are the host's own trouble; those below say something of the address


class FetchCache(FolderLock):
    """A folder of answers between a source and the web. `with` locks it; `done` removes it."""

    def __init__(self, web: HttpClient, folder: Path) -> None:
        super().__init__(folder)
        self.web = web

    def __enter__(self) -> "FetchCache":
        super().__enter__()
        return self

    def done(self) -> None:
        """All is in the shards: what was kept for a next try can go."""
        shutil.rmtree(self.folder)
        with suppress(OSError):  # other work is unfinished
            self.folder.parent.rmdir()

    def picture(self, url: str) -> tuple[Download, Path, str]:
        """The picture at an address, in a file, and when it was fetched.

        Raises:
            FetchError: As `Web.picture`.
        """
        known, path = self._known(url), self._place(url, "bytes")
        if known is None:
            when = _now()
            try:
                known = {"fetched": asdict(self.web.picture(url, path)), "when": when}
            except FetchError as error:
                if error.status in PASSING or (error.http_status or 0) >= BROKEN:
                    raise
                known = {"status": error.status.value, "message": str(error)}
            self._keep(url, known)
        if "status" in known:
            raise FetchError(Status(known["status"]), known["message"])
        return Download(**known["fetched"]), path, known["when"]

    def text(
        self,
        url: str,
        crawled: bool,
        headers: Mapping[str, str] | None = None,
        secret: Mapping[str, str] | None = None,
    ) -> Response:
        """As `Web.text`; an answer of status 200 is kept, a refusal is asked for again next time.

        Raises:
            FetchError: As `Web.text`.
        """
        known = self._known(url)
        if known is None:
            answer = self.web.text(url, crawled, headers, secret)
            if answer.status == OK:
                self._keep(url, asdict(answer))
            return answer
        return Response(**known)

    def pace(self, host: str, seconds: float) -> None:
        """As `Web.pace`."""
        self.web.pace(host, seconds)

    def forget(self, url: str) -> None:
        """An answer that looked well and was a refusal: it is asked for again next time."""
        self._place(url, "json").unlink(missing_ok=True)

    def _place(self, url: str, ending: str) -> Path:
        return self.folder / f"{hashlib.sha256(url.encode()).hexdigest()}.{ending}"

    def _known(self, url: str) -> dict[str, Any] | None:
        place = self._place(url, "json")
        return json.loads(place.read_text(encoding="utf-8")) if place.exists() else None

    def _keep(self, url: str, known: dict[str, Any]) -> None:
        place = self._place(url, "json")
        partial = place.with_suffix(".partial")
        partial.write_text(json.dumps(known), encoding="utf-8")
        partial.replace(place)


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
