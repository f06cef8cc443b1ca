"""A source's candidates become pictures: each is brought, and has a row whatever became of it.

Many are brought at a time, and the rows come in the order in which the source named the candidates. No more are begun
than are still wanted, so what is kept, and what is asked for, is the same in every run over the same answers.
"""

import hashlib
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from portraitist.collect.blocklist import Blocklist
from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.http import Download
from portraitist.collect.params import CollectParams
from portraitist.collect.sources import Candidate, SourceError
from portraitist.collect.ssrf import FetchError
from portraitist.core.manifest import KINDS, picture_id
from portraitist.core.outcome import Status

AHEAD = 4  # times the connections: so many candidates may wait for the slowest before them
NOT_FINAL = {  # faults of an address that another address of the same picture may not have; an opt-out is for all
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
    """What became of a candidate: the row that says so, the picture's bytes if it was kept, and when it was fetched."""

    row: dict[str, Any]
    members: dict[str, bytes] | None = None
    when: str = ""


def collect_source(
    name: str, source: ModuleType, params: CollectParams, spool: FetchCache, blocklist: Blocklist
) -> Iterator[Collected]:
    """Bring a source's pictures until there are as many of each kind as are wanted.

    Raises:
        SourceError: The source refuses, or no candidate became a picture.
    """
    kinds = [params.kind] if hasattr(params, "kind") else KINDS  # one that searches keeps what it finds as one kind
    kept: Counter[str] = Counter()
    met: Counter[str] = Counter()
    seen: set[str] = set()
    for candidate, brought in _brought(source.candidates(params, spool), kinds, kept, params.limit, spool, blocklist):
        for one in _judged(name, source, params, candidate, brought, seen, blocklist):
            met[one.row["status"]] += 1
            kept[one.row["kind"]] += one.members is not None
            yield one
    if not kept.total():
        told = ", ".join(f"{count} {status}" for status, count in met.most_common()) or "there was no candidate"
        raise SourceError(f"no picture could be had: {told}")


def _brought(
    candidates: Iterator[Candidate],
    kinds: Iterable[str],
    kept: Counter[str],
    limit: int,
    spool: FetchCache,
    blocklist: Blocklist,
) -> Iterator[tuple[Candidate, Future["Brought"]]]:
    """Each candidate and what its address gave, in order. The caller counts what is kept meanwhile."""
    connections = spool.web.params.connections
    waiting: deque[tuple[Candidate, Future[Brought]]] = deque()
    begun: Counter[str] = Counter()
    urls: set[str] = set()
    pool = ThreadPoolExecutor(connections)

    def first() -> tuple[Candidate, Future[Brought]]:
        candidate, brought = waiting.popleft()
        begun[candidate.kind] -= 1
        return candidate, brought

    try:
        while any(kept[kind] < limit for kind in kinds):
            if waiting and (
                len(waiting) >= AHEAD * connections or all(kept[kind] + begun[kind] >= limit for kind in kinds)
            ):
                yield first()
                continue
            candidate = next(candidates, None)
            if candidate is None:
                break
            while waiting and kept[candidate.kind] + begun[candidate.kind] >= limit:
                yield first()
            if kept[candidate.kind] >= limit:
                continue
            again = bool(candidate.url) and candidate.url in urls
            urls.add(candidate.url)
            begun[candidate.kind] += 1
            waiting.append((candidate, pool.submit(_bring, candidate, again, spool, blocklist)))
        while waiting:
            yield first()
    finally:
        pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class Brought:
    """What an address gave: a file with the picture's bytes, or the status why not."""

    path: Path | None = None
    fetched: Download | None = None
    when: str = ""
    status: Status | None = None
    reason: str = ""


def _bring(candidate: Candidate, again: bool, spool: FetchCache, blocklist: Blocklist) -> Brought:
    blocked = blocklist.why([candidate.url, *candidate.others, candidate.page_url], group=candidate.group)
    if blocked:
        return Brought(status=Status.BLOCKLISTED, reason=blocked)
    if candidate.status:
        return Brought(status=candidate.status, reason=candidate.reason)
    if again:
        return Brought(status=Status.DUPLICATE, reason="the same address")
    if candidate.read:
        return Brought()
    failed = FetchError(Status.REFUSED_ADDRESS, "no address")
    for url in (candidate.url, *candidate.others):
        try:
            fetched, path, when = spool.picture(url)
            return Brought(path, fetched, when)
        except FetchError as error:
            failed = error if url == candidate.url else failed
            if error.status not in NOT_FINAL:
                failed = error
                break
    return Brought(status=failed.status, reason=str(failed))


def _judged(
    name: str,
    source: ModuleType,
    params: CollectParams,
    candidate: Candidate,
    future: Future[Brought],
    seen: set[str],
    blocklist: Blocklist,
) -> Iterator[Collected]:
    """The rows of a candidate: one, and one more for each picture that it is split into."""
    brought = future.result()
    about = {
        key: getattr(candidate, key)
        for key in ("kind", "name", "licence", "licence_url", "author", "url", "page_url", "query", "group", "consent")
    } | {"source": name, "pair": candidate.pair}
    if brought.fetched:
        about |= {"format": brought.fetched.format, "final_url": brought.fetched.final_url}
    if brought.status:
        yield Collected(about | {"status": brought.status.value, "reason": brought.reason})
        return
    data = brought.path.read_bytes() if brought.path else candidate.read() if candidate.read else b""
    picture = picture_id(data)
    about |= {"id": picture, "bytes": len(data)}
    blocked = blocklist.why(sha256=hashlib.sha256(data).hexdigest())
    if blocked or picture in seen:
        status, reason = (Status.BLOCKLISTED, blocked) if blocked else (Status.DUPLICATE, "")
        yield Collected(about | {"status": status.value, "reason": reason}, when=brought.when)
        return
    seen.add(picture)
    pieces = source.parts(candidate, data, params) if hasattr(source, "parts") and not candidate.pair else []
    if pieces:
        yield Collected(about | {"status": Status.SPLIT.value, "pair": picture}, when=brought.when)
        done: Future[Brought] = Future()
        done.set_result(Brought())
        for piece in pieces:
            yield from _judged(name, source, params, piece, done, seen, blocklist)
        return
    truth = {"truth.png": candidate.truth()} if candidate.truth else {}
    yield Collected(about | {"status": Status.KEPT.value}, {"bytes": data} | truth, brought.when)
