"""Fetch the pictures that a source found. Each picture gets a row of the manifest, also if it is rejected.

A candidate is a picture that a source found. Several candidates are fetched at the same time, but never more than the
number of pictures that are still needed. Their results are processed in the order of the source, not in the order in
which the responses arrive. Runs that receive the same responses therefore send the same requests, and give the same
result.
"""

import hashlib
import sys
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from portraitist.collect.blocklist import Blocklist
from portraitist.collect.candidate import Candidate, SourceError
from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.http import Download
from portraitist.collect.params import CollectParams
from portraitist.collect.ssrf import FetchError
from portraitist.core.manifest import KINDS, picture_id
from portraitist.core.outcome import Status

MAX_PENDING_PER_CONNECTION = 4  # limits the fetched candidates that wait for an earlier, slower one
COPIED_FIELDS = ("kind", "name", "licence", "licence_url", "author", "url", "page_url", "query", "group", "consent")
TRY_NEXT_URL = {  # after these failures, the picture's next URL is tried; after an opt-out, for example, it is not
    Status.HTTP_ERROR,
    Status.NETWORK_ERROR,
    Status.TOO_SLOW,
    Status.TOO_LARGE,
    Status.ENCODED,
    Status.CUT_OFF,
    Status.NOT_A_PICTURE,
    Status.REFUSED_ADDRESS,
    Status.REFUSED_SCHEME,
    Status.TOO_MANY_REDIRECTS,
}


@dataclass(frozen=True)
class Collected:
    """One row of the manifest, and the files of the picture if it is kept."""

    row: dict[str, Any]
    members: dict[str, bytes] | None = None  # files for the shard by ending; None if the picture is not kept
    fetched_at: str = ""  # time of the download in ISO 8601; "" for a local file


def collect_source(
    name: str, source: ModuleType, params: CollectParams, cache: FetchCache, blocklist: Blocklist
) -> Iterator[Collected]:
    """Yield the rows and pictures of a source until `params.limit` pictures of each kind are kept.

    Raises:
        SourceError: the source refuses requests, or no picture was kept.
    """
    collector = _Collector(name, source, params, cache, blocklist)
    statuses: Counter[str] = Counter()
    for candidate, future in collector.fetch_in_order():
        for collected in collector.process(candidate, future.result()):
            statuses[collected.row["status"]] += 1
            collector.kept[collected.row["kind"]] += collected.members is not None
            yield collected
    full = [kind for kind in collector.kinds if collector.kept[kind] >= params.limit]
    if full:
        reached = f"limits.{name} ({params.limit}) reached for {' and '.join(full)}"
        print(f"collect {name}: {reached}; any further pictures were not collected", file=sys.stderr)
    if not collector.kept.total():
        counts = ", ".join(f"{count} {status}" for status, count in statuses.most_common())
        found = f"status of the candidates: {counts}" if counts else "the source found no candidates"
        clear = f"to request them again, first run: portraitist dataset clear-cache {name}"
        stored = f"; some responses were read from the cache; {clear}" if cache.num_stored else ""
        raise SourceError(f"no picture was kept; {found}{stored}")


@dataclass(frozen=True)
class _Fetched:
    """The result for one candidate: a downloaded file with metadata, or a failure.

    If the candidate is a local file, which is read later, all fields have their defaults.
    """

    path: Path | None = None
    download: Download | None = None
    fetched_at: str = ""
    status: Status | None = None
    reason: str = ""


class _Collector:
    """The state of collecting one source. The caller updates `kept`, the number of kept pictures of each kind."""

    def __init__(
        self, name: str, source: ModuleType, params: CollectParams, cache: FetchCache, blocklist: Blocklist
    ) -> None:
        self.name = name
        self.source = source
        self.params = params
        self.cache = cache
        self.blocklist = blocklist
        self.kinds = [params.kind] if hasattr(params, "kind") else KINDS  # all results of a search have the same kind
        self.kept: Counter[str] = Counter()
        self.seen_ids: set[str] = set()

    def fetch_in_order(self) -> Iterator[tuple[Candidate, Future[_Fetched]]]:
        """Yield each candidate with its result, in the source's order, until enough pictures are kept."""
        limit = self.params.limit
        connections = self.cache.web.params.connections
        pending: deque[tuple[Candidate, Future[_Fetched]]] = deque()
        in_flight: Counter[str] = Counter()
        urls: set[str] = set()
        candidates = self.source.candidates(self.params, self.cache)
        pool = ThreadPoolExecutor(connections)

        def next_result() -> tuple[Candidate, Future[_Fetched]]:
            candidate, future = pending.popleft()
            in_flight[candidate.kind] -= 1
            return candidate, future

        try:
            while any(self.kept[kind] < limit for kind in self.kinds):
                enough = all(self.kept[kind] + in_flight[kind] >= limit for kind in self.kinds)
                if pending and (enough or len(pending) >= MAX_PENDING_PER_CONNECTION * connections):
                    yield next_result()
                    continue
                candidate = next(candidates, None)
                if candidate is None:
                    break
                while pending and self.kept[candidate.kind] + in_flight[candidate.kind] >= limit:
                    yield next_result()
                if self.kept[candidate.kind] >= limit:
                    continue
                repeated = bool(candidate.url) and candidate.url in urls
                urls.add(candidate.url)
                in_flight[candidate.kind] += 1
                pending.append((candidate, pool.submit(self._fetch, candidate, repeated)))
            while pending:
                yield next_result()
        finally:
            pool.shutdown(cancel_futures=True)

    def _fetch(self, candidate: Candidate, repeated: bool) -> _Fetched:
        urls = (candidate.url, *candidate.others)
        blocked = self.blocklist.why([*urls, candidate.page_url], group=candidate.group)
        if blocked:
            return _Fetched(status=Status.BLOCKLISTED, reason=blocked)
        if candidate.status:
            return _Fetched(status=candidate.status, reason=candidate.reason)
        if repeated:
            return _Fetched(status=Status.DUPLICATE, reason="the same URL")
        if candidate.read:
            return _Fetched()
        failure = FetchError(Status.REFUSED_ADDRESS, "no URL")
        for url in urls:
            try:
                download, path, fetched_at = self.cache.download(url)
                return _Fetched(path, download, fetched_at)
            except FetchError as error:
                failure = error if url == candidate.url else failure
                if error.status not in TRY_NEXT_URL:
                    failure = error
                    break
        return _Fetched(status=failure.status, reason=str(failure))

    def process(self, candidate: Candidate, fetched: _Fetched) -> Iterator[Collected]:
        """Yield the candidate's row of the manifest, with the picture's files if the picture is kept.

        Some sources find collages: one picture with a photo and its painting side by side. A collage is cut into two
        pictures. In this case, yield the row of the collage, then the rows of the two pictures.
        """
        row = {field: getattr(candidate, field) for field in COPIED_FIELDS}
        row |= {"source": self.name, "pair": candidate.pair}
        if fetched.download:
            row |= {"format": fetched.download.format, "final_url": fetched.download.final_url}
        if fetched.status:
            yield Collected(row | {"status": fetched.status.value, "reason": fetched.reason})
            return
        data = fetched.path.read_bytes() if fetched.path else candidate.read() if candidate.read else b""
        picture = picture_id(data)
        row |= {"id": picture, "bytes": len(data)}
        blocked = self.blocklist.why(sha256=hashlib.sha256(data).hexdigest())
        if blocked or picture in self.seen_ids:
            status = Status.BLOCKLISTED if blocked else Status.DUPLICATE
            yield Collected(row | {"status": status.value, "reason": blocked}, fetched_at=fetched.fetched_at)
            return
        self.seen_ids.add(picture)
        pieces = self._split(candidate, data)
        if pieces:
            yield Collected(row | {"status": Status.SPLIT.value, "pair": picture}, fetched_at=fetched.fetched_at)
            for piece in pieces:
                yield from self.process(piece, _Fetched())
            return
        truth = {"truth.png": candidate.truth()} if candidate.truth else {}
        yield Collected(row | {"status": Status.KEPT.value}, {"bytes": data} | truth, fetched.fetched_at)

    def _split(self, candidate: Candidate, data: bytes) -> list[Candidate]:
        if candidate.pair or not hasattr(self.source, "parts"):
            return []
        return self.source.parts(candidate, data, self.params)
