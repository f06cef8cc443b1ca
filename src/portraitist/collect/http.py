"""The HTTP client that requests pictures and web pages for the sources.

The client is protected against hostile servers:
- Connections go to public addresses only (see `ssrf`). Every URL of a redirect chain is checked.
- The size and the duration of a response are limited.
- A compressed response is rejected, because a few compressed bytes can expand to a huge text.
- A downloaded picture must begin and end as its format requires.

The client is polite to servers:
- It keeps a minimum interval between requests to a host, and obeys robots.txt, X-Robots-Tag and Retry-After.
- Its User-Agent contains the user's contact.
- It stores no cookies, runs no scripts and imitates no browser. If a site refuses a request, this is reported.

Some modules download files without this client, and verify the files by hash: `weights` (pretrained models),
`app.model_hub` (users' models; only if the hub sends a hash), `app.site_builder` (a JavaScript package) and
`sources.celeba` (the data set CelebA).
"""

import codecs
import hashlib
import html
import http.client
import json
import math
import re
import threading
import time
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from types import TracebackType
from typing import BinaryIO
from urllib.parse import SplitResult, urlencode, urljoin

from portraitist.collect import robots
from portraitist.collect.blocklist import Blocklist, percent_encode
from portraitist.collect.params import FetchParams
from portraitist.collect.ssrf import FetchError, GuardedConnection, MissingContactError, Resolve, check_url
from portraitist.core.files import atomic_write
from portraitist.core.outcome import Status

AGENT = "portraitist"
MAX_REDIRECTS = 4
MAX_TEXT_BYTES = 5 << 20
MAX_ROBOTS_BYTES = 512 << 10  # RFC 9309, section 2.5: at least 500 KiB
MAX_WAIT_S = 60.0  # longest Retry-After or Crawl-delay that is waited for; a longer one is an error
MAX_ATTEMPTS = 3
MAX_IDLE_CONNECTIONS = 128  # for all hosts together
CHUNK_BYTES = 64 << 10
TAIL_BYTES = 64 << 10  # the end marker is searched in these last bytes, because some cameras append data after it
OPT_OUTS = {"noai", "noimageai"}  # directives of X-Robots-Tag
REDIRECTS = {301, 302, 303, 307, 308}
BUSY = {429, 503}
PYTHON_CODECS = {
    "idna",
    "punycode",
    "undefined",
    "unicode-escape",
    "raw-unicode-escape",
    "charmap",
}  # codecs of Python that are not character sets of web pages
REDACTED = "…"  # replaces secrets in texts

Host = tuple[str, str, int | None]  # scheme, name, port


@dataclass(frozen=True)
class Response:
    """The response of a web page or an API, with any status code."""

    url: str  # after redirects
    status: int
    text: str  # at most 5 MiB of encoded text
    retry_after_s: float | None = None  # seconds from the header Retry-After


@dataclass(frozen=True)
class Download:
    """Metadata of a downloaded picture."""

    sha256: str
    bytes: int  # size of the file
    format: str  # such as "jpeg"
    final_url: str  # after redirects


def sniff_format(head: bytes) -> str:
    """Return the picture format that a file's first 12 bytes identify, such as "jpeg"; "" if it is not known."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "webp"
    magic = {b"\xff\xd8\xff": "jpeg", b"\x89PNG\r\n\x1a\n": "png", b"GIF8": "gif", b"II*\0": "tiff", b"MM\0*": "tiff"}
    form = next((form for start, form in magic.items() if head.startswith(start)), "")
    return form or ("bmp" if head[:2] == b"BM" and head[6:10] == b"\0\0\0\0" else "")


def is_complete(form: str, head: bytes, tail: bytes, size: int) -> bool:
    """Return whether a file ends as its format requires, to detect truncated downloads; always True for TIFF.

    Args:
        form: the format, as `sniff_format` returns it.
        head: at least the first 8 bytes of the file.
        tail: the last bytes of the file.
        size: number of bytes of the file.
    """
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
    """A thread-safe HTTP client; it remembers each host's rate limit, robots.txt rules and idle connections.

    Args:
        params: section `fetch` of params.yaml.
        blocklist: URLs and hosts that are never requested, not even after a redirect.
        allow: pairs (IP address, port). Connections to them are allowed even if the address is not public. For tests
            only; no parameter of params.yaml sets it.
        resolve: used instead of socket.getaddrinfo.
    """

    def __init__(
        self,
        params: FetchParams,
        blocklist: Blocklist | None = None,
        allow: Collection[tuple[str, int]] = (),
        resolve: Resolve | None = None,
    ) -> None:
        self.params = params
        self.blocklist = blocklist or Blocklist()
        self.allow = frozenset(allow)
        self.resolve = resolve
        self.min_intervals_s: dict[str, float] = {}
        self.next_request_at: dict[str, float] = {}  # by host, on the monotonic clock, as all times in this class
        self.busy_until: dict[str, float] = {}
        self.robots_rules: dict[str, robots.Rules] = {}
        self.robots_locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
        self.lock = threading.Lock()
        self.idle: dict[Host, deque[GuardedConnection]] = defaultdict(deque)

    def __enter__(self) -> "HttpClient":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the idle connections."""
        with self.lock:
            for connections in self.idle.values():
                while connections:
                    connections.pop().close()

    def limit_rate(self, host: str, seconds: float) -> None:
        """Set the minimum interval in seconds between two requests to a host.

        If `fetch.seconds_per_host` is larger, that value is used.
        """
        self.min_intervals_s[host] = seconds

    def download(self, url: str, dest: Path) -> Download:
        """Save a picture as the file `dest`, whose folder must exist.

        Raises:
            FetchError: the picture cannot be downloaded or is truncated; `dest` is not created.
            OSError: the file cannot be written; the error names the file.
        """
        with atomic_write(dest) as partial:
            request = self._open(url, {"Accept": "image/*"}, crawled=True)
            with request as (response, final_url), partial.open("wb") as file:
                sha256, size, form = self._save_picture(response, file)
        return Download(sha256, size, form, final_url)

    def get_text(
        self,
        url: str,
        crawled: bool,
        headers: Mapping[str, str] | None = None,
        secret: Mapping[str, str] | None = None,
    ) -> Response:
        """Return the response of a web page or an API, with any status code.

        Args:
            url: the URL, without the secret query parameters.
            crawled: whether to obey robots.txt. True for pages; False for an API that is documented for programs.
            headers: additional request headers.
            secret: secret query parameters, such as an API key. They are not sent to other hosts after a redirect.
                Their values are removed from the response and from errors, as is the token of an Authorization header.

        Raises:
            FetchError: the request is not allowed, the server sent no response, or the response exceeds a limit.
        """
        all_headers = {"Accept": "*/*"} | dict(headers or {})
        secrets = [*(secret or {}).values(), all_headers.get("Authorization", "").rpartition(" ")[2]]
        try:
            with self._open(url, all_headers, crawled, dict(secret or {}), any_status=True) as (response, final_url):
                charset = re.search(r"charset=[\"']?([\w-]+)", response.headers.get("Content-Type", ""), re.I)
                body = _read(response, MAX_TEXT_BYTES)
                wait_s = _retry_after_s(response)
        except FetchError as error:
            raise FetchError(error.status, _redact(str(error), secrets), error.retry_after_s) from None
        text = decode_text(body, charset[1] if charset else "")
        return Response(_redact(final_url, secrets), response.status, _redact(text, secrets), wait_s)

    @contextmanager
    def _open(
        self,
        url: str,
        headers: dict[str, str],
        crawled: bool,
        secret: dict[str, str] | None = None,
        any_status: bool = False,
    ) -> Iterator[tuple[http.client.HTTPResponse, str]]:
        """Yield (the response after all redirects, the final URL)."""
        for _ in range(MAX_REDIRECTS + 1):
            parts, delay_s = self._check_and_wait(url, crawled)
            connection, response = self._send_with_retries(parts, delay_s, headers, secret or {}, any_status)
            try:
                location = response.headers.get("Location")
                if response.status in REDIRECTS and location:
                    _read(response, CHUNK_BYTES, strict=False)
                    url, secret = _join(url, location), None  # secrets are for the first host only
                    headers = {name: value for name, value in headers.items() if name in ("Accept", "Accept-Language")}
                    continue
                if not any_status and response.status != 200:
                    raise FetchError(Status.HTTP_ERROR, f"status {response.status}", http_status=response.status)
                encoding = response.headers.get("Content-Encoding", "identity").lower()
                if encoding not in ("", "identity"):
                    raise FetchError(
                        Status.ENCODED, f"the response has Content-Encoding {encoding!r}; only 'identity' is allowed"
                    )
                yield response, url
                return
            finally:
                self._release(parts, connection, response)
        raise FetchError(Status.TOO_MANY_REDIRECTS, f"the URL leads to more than {MAX_REDIRECTS} redirects")

    def _check_and_wait(self, url: str, crawled: bool) -> tuple[SplitResult, float]:
        """Check that a URL may be requested, and wait as its host's rate limit requires.

        Returns:
            The parts of the URL, and the Crawl-delay of the site's robots.txt in seconds.

        Raises:
            FetchError: the URL is not allowed by the blocklist or by robots.txt, or is malformed.
            MissingContactError: `fetch.contact` is empty.
        """
        if not self.params.contact:
            raise MissingContactError(
                "fetch.contact is empty; to download from the web, set it to your email address or web page, "
                "which is sent to the sites"
            )
        parts = check_url(url, self.allow)
        blocked = self.blocklist.why(urls=[url])
        if blocked:
            raise FetchError(Status.BLOCKLISTED, blocked)
        rules = self._robots_rules(parts) if crawled and self.params.respect_robots else robots.ALLOW_ALL
        if not rules.can_fetch(url):
            found = f"failed with status {rules.http_status}" if rules.http_status else f"disallows {parts.path}"
            message = f"robots.txt of {parts.netloc} {found}"
            raise FetchError(Status.ROBOTS_DENIED, message, http_status=rules.http_status)
        if rules.crawl_delay_s > MAX_WAIT_S:
            raise FetchError(
                Status.ROBOTS_DENIED,
                f"robots.txt of {parts.netloc} has a Crawl-delay of {rules.crawl_delay_s:g} s; "
                f"this program waits at most {MAX_WAIT_S:g} s",
            )
        self._wait(parts, rules.crawl_delay_s)
        return parts, rules.crawl_delay_s

    def _wait(self, parts: SplitResult, delay_s: float) -> None:
        """Sleep until the host's rate limit, and any Retry-After header from the host, allow a request."""
        host = parts.hostname or ""
        interval_s = max(self.params.seconds_per_host, self.min_intervals_s.get(host, 0.0), delay_s)
        while True:
            with self.lock:
                now = time.monotonic()
                slot = max(now, self.next_request_at.get(host, 0.0), self.busy_until.get(host, 0.0))
                self.next_request_at[host] = slot + interval_s
            time.sleep(max(0.0, slot - now))
            if time.monotonic() >= self.busy_until.get(host, 0.0):
                return

    def _send_with_retries(
        self, parts: SplitResult, delay_s: float, headers: dict[str, str], secret: dict[str, str], any_status: bool
    ) -> tuple[GuardedConnection, http.client.HTTPResponse]:
        """Send a request; try up to three times if the connection breaks or the host is busy (status 429 or 503).

        After a busy response, wait as long as its header Retry-After requires. Without this header, do not try again.
        Repeated requests obey the host's rate limit and the site's Crawl-delay, `delay_s`.
        """
        wait_s, status = None, 0
        for attempt in range(1, MAX_ATTEMPTS + 1):
            if attempt > 1:
                self._wait(parts, delay_s)
            try:
                connection, response = self._send(parts, headers, secret, fresh=attempt > 1)
            except (OSError, http.client.HTTPException) as error:
                if attempt == MAX_ATTEMPTS:
                    raise FetchError(Status.NETWORK_ERROR, f"{type(error).__name__}: {error}") from error
                continue
            if response.status not in BUSY:
                return connection, response
            wait_s, status = _retry_after_s(response), response.status
            if wait_s is None or wait_s > MAX_WAIT_S or attempt == MAX_ATTEMPTS:
                if any_status:
                    return connection, response
                self._release(parts, connection, response)
                break
            self._release(parts, connection, response)
            self.busy_until[parts.hostname or ""] = time.monotonic() + wait_s
        retry_after = "" if wait_s is None else f", Retry-After {wait_s:.0f} s"
        raise FetchError(Status.THROTTLED, f"the host is busy: status {status}{retry_after}", wait_s)

    def _send(
        self, parts: SplitResult, headers: dict[str, str], secret: dict[str, str], fresh: bool
    ) -> tuple[GuardedConnection, http.client.HTTPResponse]:
        all_headers = {
            "User-Agent": f"{AGENT}/1 (+{self.params.contact})",
            "Accept-Encoding": "identity",
        } | headers
        query = parts.query + ("&" if parts.query and secret else "") + urlencode(secret)
        target = percent_encode(parts.path or "/") + (f"?{percent_encode(query)}" if query else "")
        connection = GuardedConnection(parts, self.allow, self.resolve) if fresh else self._take_connection(parts)
        connection.set_deadline(time.monotonic() + self.params.deadline_s)
        try:
            if connection.sock is None:
                connection.connect()  # first, because it rejects host names that request() cannot encode
            connection.request("GET", target, headers=all_headers)
            return connection, connection.getresponse()
        except BaseException:
            connection.close()
            raise

    def _take_connection(self, parts: SplitResult) -> GuardedConnection:
        key = (parts.scheme, parts.hostname or "", parts.port)
        with self.lock:
            while key in self.idle:
                connection = self._pop_idle(key)
                if not connection.has_ended():
                    return connection
                connection.close()
        return GuardedConnection(parts, self.allow, self.resolve)

    def _pop_idle(self, key: Host) -> GuardedConnection:
        connection = self.idle[key].popleft()
        if not self.idle[key]:
            del self.idle[key]
        return connection

    def _release(self, parts: SplitResult, connection: GuardedConnection, response: http.client.HTTPResponse) -> None:
        """Keep a connection for reuse if its response was read to the end; otherwise, close the connection.

        If there are too many idle connections afterwards, one of them is closed.
        """
        finished = response.isclosed() or response.length == 0
        response.close()
        if finished and connection.sock:
            with self.lock:
                self.idle[parts.scheme, parts.hostname or "", parts.port].append(connection)
                if sum(map(len, self.idle.values())) <= MAX_IDLE_CONNECTIONS:
                    return
                connection = self._pop_idle(next(iter(self.idle)))
        connection.close()

    def _robots_rules(self, parts: SplitResult) -> robots.Rules:
        """Return the robots.txt rules of a site, which are requested once."""
        site = f"{parts.scheme}://{parts.netloc}"
        with self.lock:
            lock = self.robots_locks[site]
        with lock:
            if site not in self.robots_rules:
                self.robots_rules[site] = self._fetch_robots_rules(site)
            return self.robots_rules[site]

    def _fetch_robots_rules(self, site: str) -> robots.Rules:
        """Request the robots.txt of a site (RFC 9309, section 2.3.1).

        If the file does not exist, everything is allowed; if the server fails to send the file, nothing is allowed.
        """
        request = self._open(f"{site}/robots.txt", {"Accept": "text/plain"}, crawled=False, any_status=True)
        try:
            with request as (response, _):
                if response.status == 200:
                    text = _read(response, MAX_ROBOTS_BYTES, strict=False).decode("utf-8", "replace")
                    return robots.Rules.parse(text, AGENT)
                missing = 400 <= response.status < 500 and response.status != 429
                return robots.ALLOW_ALL if missing else replace(robots.DISALLOW_ALL, http_status=response.status)
        except FetchError as error:
            if error.status in (Status.ENCODED, Status.TOO_MANY_REDIRECTS):
                return robots.DISALLOW_ALL
            raise

    def _save_picture(self, response: http.client.HTTPResponse, file: BinaryIO) -> tuple[str, int, str]:
        """Write a picture to an open file while checking its bytes; return (SHA-256, size in bytes, format)."""
        self._check_opt_out(response)
        max_bytes = int(self.params.max_mb * 1e6)
        length = response.length  # None if the response is chunked or ends with the connection
        if length is not None and length > max_bytes:
            raise FetchError(Status.TOO_LARGE, f"the file has {length} bytes; fetch.max_mb allows {max_bytes}")
        digest, size, head, tail, form = hashlib.sha256(), 0, b"", b"", ""
        for chunk in _chunks(response):
            if not form:
                head += chunk[:64]
                form = sniff_format(head)
                if not form and len(head) >= 12:
                    raise FetchError(
                        Status.NOT_A_PICTURE, f"the response is not a picture; it begins with {head[:16]!r}"
                    )
            size += len(chunk)
            if size > max_bytes:
                raise FetchError(
                    Status.TOO_LARGE, f"the file has more than the {max_bytes} bytes that fetch.max_mb allows"
                )
            digest.update(chunk)
            file.write(chunk)
            tail = (tail + chunk)[-TAIL_BYTES:]
        if length is not None and size != length:
            raise FetchError(Status.CUT_OFF, f"received {size} of {length} bytes before the connection ended")
        if not form:
            raise FetchError(Status.NOT_A_PICTURE, f"the response is not a picture; it begins with {head[:16]!r}")
        if not is_complete(form, head, tail, size):
            raise FetchError(Status.CUT_OFF, f"received {size} bytes of a {form} file without an end marker")
        return digest.hexdigest(), size, form

    def _check_opt_out(self, response: http.client.HTTPResponse) -> None:
        header = ",".join(response.headers.get_all("X-Robots-Tag", []))
        directives = {part.strip().lower().removeprefix(f"{AGENT}:").strip() for part in header.split(",")}
        if self.params.respect_robots and directives & OPT_OUTS:
            found = f"X-Robots-Tag: {', '.join(sorted(directives & OPT_OUTS))}"
            raise FetchError(Status.OPTED_OUT, f"the server forbids the use of the picture for training ({found})")


def _chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    """Yield a response's body in chunks as they arrive.

    Raises:
        FetchError: the connection failed.
    """
    while True:
        try:
            chunk = response.read1(CHUNK_BYTES)
        except (OSError, http.client.HTTPException) as error:
            raise FetchError(Status.NETWORK_ERROR, f"{type(error).__name__}: {error}") from error
        if not chunk:
            return
        yield chunk


def _read(response: http.client.HTTPResponse, max_bytes: int, strict: bool = True) -> bytes:
    """Return the body of a response, at most `max_bytes`.

    Raises:
        FetchError: the connection failed, or the body is longer than `max_bytes` and `strict` is True. If `strict` is
            False, the rest of a longer body is dropped.
    """
    body = b""
    for chunk in _chunks(response):
        body += chunk
        if len(body) > max_bytes:
            if strict:
                raise FetchError(Status.TOO_LARGE, f"the text has more than the {max_bytes} bytes that are allowed")
            break
    return body[:max_bytes]


def decode_text(body: bytes, charset: str = "") -> str:
    """Decode the text of a web page.

    The declared charset is tried first, then UTF-8, then GB 18030, which old Chinese pages use. A charset is skipped
    if it is unknown, cannot decode the bytes, or is not for text.
    """
    for name in (charset, "utf-8", "gb18030"):
        try:
            if codecs.lookup(name).name not in PYTHON_CODECS:
                return body.decode(name)
        except (LookupError, ValueError):
            continue
    return body.decode("utf-8", "replace")


def _retry_after_s(response: http.client.HTTPResponse) -> float | None:
    """Return the time in the header Retry-After in seconds from now; None if the header is missing or malformed.

    The header contains a number of seconds or a date.
    """
    value = (response.headers.get("Retry-After") or "").strip()
    try:
        if value.isascii() and value.isdigit():
            seconds = float(value)
        else:
            seconds = max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError, IndexError, OSError):  # the date parser checks no ranges
        return None
    return seconds if math.isfinite(seconds) else None


def _join(url: str, location: str) -> str:
    """Return the URL of a redirect; `location` is the header Location as http.client decodes it, as Latin-1."""
    with suppress(UnicodeError):
        location = location.encode("latin-1").decode("utf-8")  # as browsers do, although only ASCII is allowed
    try:
        return urljoin(url, location)
    except ValueError as error:
        raise FetchError(Status.REFUSED_ADDRESS, f"redirect to a malformed URL: {error}") from None


def _redact(text: str, secrets: Iterable[str]) -> str:
    """Replace secrets in a text by `REDACTED`, also where their characters are escaped for a URL, JSON or HTML."""
    for value in filter(None, secrets):
        text = re.sub("".join(map(_escapes, value)), REDACTED, text, flags=re.IGNORECASE)
    return text


def _escapes(char: str) -> str:
    """Return a regular expression that matches a character and its escaped forms in URLs, JSON and HTML."""
    code = ord(char)
    in_url = "".join(f"%{byte:02x}" for byte in char.encode())
    forms = [char, in_url, json.dumps(char)[1:-1], f"\\u{code:04x}", f"\\{char}", html.escape(char)]
    forms += [f"&#{code};", f"&#x{code:x};", *("+" for _ in range(char == " "))]
    return f"(?:{'|'.join(re.escape(form) for form in dict.fromkeys(forms))})"
