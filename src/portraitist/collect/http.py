"""The one guarded, polite download: every picture that a source finds in the web, and all it asks to find it.

What the project itself needs comes from where it is published, by other ways, and is checked by its hash: see `weights`
and `static_page`. CelebA comes by torchvision's downloader, if params ask for it.

Guarded: see `guard`; redirects are followed by hand, each through the same gate; an answer has a cap in bytes and in
seconds, comes as it is (no compression, so no bomb), and a picture begins and ends as one. Polite: one request per host
in so many seconds, robots.txt, X-Robots-Tag, Retry-After, and a User-Agent that says who asks. No cookie is kept, no
script is run, and nothing pretends to be a browser: a site that wants no program is left alone, and told of.
"""

import hashlib
import http.client
import re
import threading
import time
from collections import defaultdict, deque
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO
from urllib.parse import SplitResult, quote, urlencode, urljoin

from portraitist.collect import robots
from portraitist.collect.blocklist import Blocklist
from portraitist.collect.params import FetchParams
from portraitist.collect.ssrf import FetchError, GuardedConnection, MissingContactError, Resolve, check_url
from portraitist.core.outcome import Status

AGENT = "portraitist"
MAX_HOPS = 4
MAX_TEXT_BYTES = 5 << 20
MAX_ROBOTS_BYTES = 512 << 10  # RFC 9309, 2.5 asks for at least as much
PATIENCE_S = 60.0  # a Retry-After or Crawl-delay that is longer is told, not waited for
TRIES = 3
IDLE = 128  # connections that wait for another request, of all hosts
CHUNK = 64 << 10
TAIL = 64 << 10  # where a picture's end is looked for: some cameras write on after it
OPT_OUTS = {"noai", "noimageai"}
REDIRECTS = {301, 302, 303, 307, 308}
BUSY = {429, 503}

Host = tuple[str, str, int | None]  # scheme, name, port


@dataclass(frozen=True)
class Response:
    """What a page or an interface said: any status, the text of at most 5 MiB, the address that it came from."""

    url: str
    status: int
    text: str
    retry_after_s: float | None = None


@dataclass(frozen=True)
class Download:
    """A picture that was saved."""

    sha256: str
    bytes: int
    format: str
    final_url: str
    hops: int


def sniff_format(head: bytes) -> str:
    """The format that a file's first bytes say; "" if it is none that pictures come in."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    starts = {b"\xff\xd8\xff": "jpeg", b"\x89PNG\r\n\x1a\n": "png", b"GIF8": "gif", b"II*\0": "tiff", b"MM\0*": "tiff"}
    named = next((form for start, form in starts.items() if head.startswith(start)), "")
    return named or ("bmp" if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0" else "")


def is_whole(form: str, head: bytes, tail: bytes, size: int) -> bool:
    """Whether a file ends as its format says. Only decoding shows all faults; this one shows a cut, for nothing."""
    if form == "jpeg":
        return b"\xff\xd9" in tail
    if form == "png":
        return b"IEND" in tail
    if form == "gif":
        return b"\x3b" in tail[-16:]
    if form == "webp":
        return size >= int.from_bytes(head[4:8], "little") + 8
    if form == "bmp":
        return size >= int.from_bytes(head[2:6], "little")
    return True


class HttpClient:
    """The way out. One for a run: it holds each host's pace, robots.txt and open connections, for any thread.

    `allow` names addresses (ip, port) that are reached though they are not public; it is for tests, and no params file
    can set it. `resolve` is what names are looked up by.
    """

    def __init__(
        self,
        params: FetchParams,
        blocklist: Blocklist = Blocklist(),
        allow: Collection[tuple[str, int]] = (),
        resolve: Resolve | None = None,
    ) -> None:
        self.params = params
        self.blocklist = blocklist
        self.allow = frozenset(allow)
        self.resolve = resolve
        self.paces: dict[str, float] = {}
        self.next_at: dict[str, float] = {}
        self.closed_until: dict[str, float] = {}
        self.rules: dict[str, robots.Rules] = {}
        self.locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self.lock = threading.Lock()
        self.idle: dict[Host, deque[GuardedConnection]] = defaultdict(deque)

    def __enter__(self) -> "HttpClient":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections that wait for another request."""
        with self.lock:
            for idle in self.idle.values():
                while idle:
                    idle.pop().close()

    def pace(self, host: str, seconds: float) -> None:
        """Ask this host no more often than once in so many seconds, whatever less params say."""
        self.paces[host] = seconds

    def picture(self, url: str, dest: Path) -> Download:
        """Save the picture at an address as the file dest; its folder must be there.

        Raises:
            FetchError: There is none that may be had, or it is not whole; dest is then not made.
        """
        partial = dest.with_name(f"{dest.name}.partial")
        try:
            asked = self._answer(url, {"Accept": "image/*"}, crawled=True)
            with asked as (answer, hops, final_url), partial.open("wb") as file:
                sha256, size, form = self._saved(answer, file)
            partial.replace(dest)
        finally:
            partial.unlink(missing_ok=True)
        return Download(sha256, size, form, final_url, hops)

    def text(
        self,
        url: str,
        crawled: bool,
        headers: Mapping[str, str] | None = None,
        secret: Mapping[str, str] | None = None,
    ) -> Response:
        """What a page or an interface answers, whatever the status.

        crawled: whether robots.txt is asked: yes for pages, no for an interface that is documented for programs.
        secret: parts of the query that are sent, and shown nowhere.

        Raises:
            FetchError: There is no answer, or none that may be had.
        """
        try:
            asked = {"Accept": "*/*"} | dict(headers or {})
            with self._answer(url, asked, crawled, dict(secret or {}), any_status=True) as (answer, _, final_url):
                charset = re.search(r"charset=[\"']?([\w-]+)", answer.headers.get("Content-Type", ""), re.I)
                body = _capped(answer, MAX_TEXT_BYTES)
                wait_s = _retry_after_s(answer)
        except FetchError as error:
            raise FetchError(error.status, _without(str(error), secret), error.retry_after_s) from None
        return Response(
            _without(final_url, secret), answer.status, decode_text(body, charset[1] if charset else ""), wait_s
        )

    @contextmanager
    def _answer(
        self,
        url: str,
        headers: dict[str, str],
        crawled: bool,
        secret: dict[str, str] | None = None,
        any_status: bool = False,
    ) -> Iterator[tuple[http.client.HTTPResponse, int, str]]:
        """The answer behind all redirects: (the answer, how many redirects, the last address)."""
        for hops in range(MAX_HOPS + 1):
            parts = self._gate(url, crawled)
            connection, answer = self._asked_until_free(parts, headers, secret or {}, any_status)
            try:
                place = answer.headers.get("Location")
                if answer.status in REDIRECTS and place:
                    _capped(answer, CHUNK, strict=False)
                    url, secret = _joined(url, place), None  # what is secret is meant for the first host only
                    headers = {name: value for name, value in headers.items() if name in ("Accept", "Accept-Language")}
                    continue
                if not any_status and answer.status != 200:
                    raise FetchError(Status.HTTP_ERROR, f"status {answer.status}", http_status=answer.status)
                if answer.headers.get("Content-Encoding", "identity").lower() not in ("", "identity"):
                    told = answer.headers["Content-Encoding"]
                    raise FetchError(Status.ENCODED, f"the answer is in {told!r}, though it was asked for as it is")
                yield answer, hops, url
                return
            finally:
                self._give_back(parts, connection, answer)
        raise FetchError(Status.TOO_MANY_REDIRECTS, f"more than {MAX_HOPS} redirects")

    def _gate(self, url: str, crawled: bool) -> SplitResult:
        """The parts of an address that may be asked now; returns when the host's turn has come."""
        if not self.params.contact:
            raise MissingContactError(
                "fetch.contact is empty; sites are told who asks: give an address or a page of yours"
            )
        parts = check_url(url, self.allow)
        blocked = self.blocklist.why(urls=[url])
        if blocked:
            raise FetchError(Status.BLOCKLISTED, blocked)
        rules = self._rules(parts) if crawled and self.params.respect_robots else robots.NONE
        if not rules.allow(parts.path + (f"?{parts.query}" if parts.query else "")):
            raise FetchError(Status.ROBOTS_DENIED, f"robots.txt of {parts.netloc} keeps programs out of {parts.path}")
        if rules.delay_s > PATIENCE_S:
            told = f"robots.txt of {parts.netloc} asks for {rules.delay_s:g} s between two requests"
            raise FetchError(Status.ROBOTS_DENIED, f"{told}, more than {PATIENCE_S:g}")
        self._wait(parts, rules.delay_s)
        return parts

    def _wait(self, parts: SplitResult, delay_s: float) -> None:
        """Sleep until it is our turn; who waits while the host asks to be left alone takes another turn after it."""
        host = parts.hostname or ""
        pace = max(self.params.seconds_per_host, self.paces.get(host, 0.0), delay_s)
        while True:
            with self.lock:
                now = time.monotonic()
                turn = max(now, self.next_at.get(host, 0.0), self.closed_until.get(host, 0.0))
                self.next_at[host] = turn + pace
            time.sleep(max(0.0, turn - now))
            if time.monotonic() >= self.closed_until.get(host, 0.0):
                return

    def _asked_until_free(
        self, parts: SplitResult, headers: dict[str, str], secret: dict[str, str], any_status: bool
    ) -> tuple[GuardedConnection, http.client.HTTPResponse]:
        """The host's answer; one that is busy is asked again when it says so, a broken connection is made again."""
        wait_s, status = None, 0
        for attempt in range(1, TRIES + 1):
            try:
                connection, answer = self._asked(parts, headers, secret, fresh=attempt > 1)
            except (OSError, http.client.HTTPException) as error:
                if attempt == TRIES:
                    raise FetchError(Status.NETWORK_ERROR, f"{type(error).__name__}: {error}") from error
                continue
            if answer.status not in BUSY:
                return connection, answer
            wait_s, status = _retry_after_s(answer), answer.status
            if wait_s is None or wait_s > PATIENCE_S or attempt == TRIES:
                if any_status:
                    return connection, answer
                self._give_back(parts, connection, answer)
                break
            self._give_back(parts, connection, answer)
            self.closed_until[parts.hostname or ""] = time.monotonic() + wait_s
            self._wait(parts, 0.0)
        told = "" if wait_s is None else f", and to be left alone for {wait_s:.0f} s"
        raise FetchError(Status.THROTTLED, f"status {status}{told}", wait_s)

    def _asked(
        self, parts: SplitResult, headers: dict[str, str], secret: dict[str, str], fresh: bool
    ) -> tuple[GuardedConnection, http.client.HTTPResponse]:
        told = {
            "User-Agent": f"{AGENT}/1 (+{self.params.contact})",
            "Accept-Encoding": "identity",
        } | headers
        query = parts.query + ("&" if parts.query and secret else "") + urlencode(secret)
        path = _plain(parts.path or "/") + (f"?{_plain(query)}" if query else "")
        connection = GuardedConnection(parts, self.allow, self.resolve) if fresh else self._taken(parts)
        try:
            if connection.sock is None:
                connection.connect()
            connection.sock.end = time.monotonic() + self.params.deadline_s
            connection.request("GET", path, headers=told)
            return connection, connection.getresponse()
        except BaseException:
            connection.close()
            raise

    def _taken(self, parts: SplitResult) -> GuardedConnection:
        key = (parts.scheme, parts.hostname or "", parts.port)
        with self.lock:
            return self._popped(key) if key in self.idle else GuardedConnection(parts, self.allow, self.resolve)

    def _popped(self, key: Host) -> GuardedConnection:
        connection = self.idle[key].popleft()
        if not self.idle[key]:
            del self.idle[key]
        return connection

    def _give_back(self, parts: SplitResult, connection: GuardedConnection, answer: http.client.HTTPResponse) -> None:
        """Keep the connection for the next request, if its answer was read to its end; of too many, close one."""
        read = answer.isclosed() or answer.length == 0
        answer.close()
        if read and connection.sock:
            with self.lock:
                self.idle[parts.scheme, parts.hostname or "", parts.port].append(connection)
                if sum(map(len, self.idle.values())) <= IDLE:
                    return
                connection = self._popped(next(iter(self.idle)))
        connection.close()

    def _rules(self, parts: SplitResult) -> robots.Rules:
        """What robots.txt says, by RFC 9309: none there allows all, none to be had forbids all."""
        site = f"{parts.scheme}://{parts.netloc}"
        with self.lock:
            lock = self.locks[site]
        with lock:
            if site not in self.rules:
                self.rules[site] = self._rules_of(site)
            return self.rules[site]

    def _rules_of(self, site: str) -> robots.Rules:
        try:
            with self._answer(f"{site}/robots.txt", {"Accept": "text/plain"}, crawled=False, any_status=True) as told:
                answer = told[0]
                if answer.status == 200:
                    text = _capped(answer, MAX_ROBOTS_BYTES, strict=False).decode("utf-8", "replace")
                    return robots.Rules.of(text, AGENT)
                missing = 400 <= answer.status < 500 and answer.status != 429
                return robots.NONE if missing else robots.ALL_FORBIDDEN
        except FetchError as error:
            if error.status in (Status.ENCODED, Status.TOO_MANY_REDIRECTS):
                return robots.ALL_FORBIDDEN
            raise

    def _saved(self, answer: http.client.HTTPResponse, file: BinaryIO) -> tuple[str, int, str]:
        """Write a picture's bytes as they come: (sha256, size, format)."""
        directives = {part.strip().lower() for part in ",".join(answer.headers.get_all("X-Robots-Tag", [])).split(",")}
        ours = {part.removeprefix(f"{AGENT}:").strip() for part in directives}
        if self.params.respect_robots and ours & OPT_OUTS:
            raise FetchError(Status.OPTED_OUT, f"X-Robots-Tag: {', '.join(sorted(ours & OPT_OUTS))}")
        most = int(self.params.max_mb * 1e6)
        told = answer.length  # http.client knows it unless the answer is chunked or ends with the connection
        if told is not None and told > most:
            raise FetchError(Status.TOO_LARGE, f"{told} bytes; at most {most} are read")
        digest, size, head, tail, form = hashlib.sha256(), 0, b"", b"", ""
        for chunk in _pieces(answer):
            if not form:
                head += chunk[:64]
                form = sniff_format(head)
                if not form and len(head) >= 12:
                    raise FetchError(Status.NOT_A_PICTURE, f"the answer begins with {head[:16]!r}")
            size += len(chunk)
            if size > most:
                raise FetchError(Status.TOO_LARGE, f"more than {most} bytes")
            digest.update(chunk)
            file.write(chunk)
            tail = (tail + chunk)[-TAIL:]
        if told is not None and size != told:
            raise FetchError(Status.CUT_OFF, f"{size} bytes of {told}")
        if not form:
            raise FetchError(Status.NOT_A_PICTURE, f"the answer is {head[:16]!r}")
        if not is_whole(form, head, tail, size):
            raise FetchError(Status.CUT_OFF, f"{size} bytes of {form} without its end")
        return digest.hexdigest(), size, form


def _pieces(answer: http.client.HTTPResponse) -> Iterator[bytes]:
    """An answer's body as it comes."""
    while True:
        try:
            piece = answer.read1(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise FetchError(Status.NETWORK_ERROR, f"{type(error).__name__}: {error}") from error
        if not piece:
            return
        yield piece


def _capped(answer: http.client.HTTPResponse, most: int, strict: bool = True) -> bytes:
    body = b""
    for piece in _pieces(answer):
        body += piece
        if len(body) > most:
            if strict:
                raise FetchError(Status.TOO_LARGE, f"more than {most} bytes of text")
            break
    return body[:most]


def decode_text(body: bytes, charset: str = "") -> str:
    """Text in the charset that is named for it; else UTF-8, else what old Chinese pages are in."""
    for name in (charset, "utf-8", "gb18030"):
        try:
            return body.decode(name)
        except (LookupError, UnicodeDecodeError):
            continue
    return body.decode("utf-8", "replace")


def _retry_after_s(answer: http.client.HTTPResponse) -> float | None:
    """Seconds until the host wants to be asked again, given as such or as a date."""
    told = (answer.headers.get("Retry-After") or "").strip()
    if told.isdigit():
        return float(told)
    try:
        return max(0.0, parsedate_to_datetime(told).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _joined(url: str, place: str) -> str:
    try:
        return urljoin(url, place)
    except ValueError as error:
        raise FetchError(Status.REFUSED_ADDRESS, f"redirected to no address: {error}") from None


def _plain(part: str) -> str:
    """A path or query in the characters that may be sent; what is quoted already stays."""
    return quote(part, safe="/%:;=&?~+!$,'@()*[]|")


def _without(text: str, secret: Mapping[str, str] | None) -> str:
    for value in (secret or {}).values():
        text = text.replace(quote(value, safe=""), "…").replace(value, "…")
    return text
