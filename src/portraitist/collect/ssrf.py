"""The way out to the web, guarded: which addresses may be reached, and connections that go to no other.

A name is resolved once, the address that was checked is the one that is connected to, and the name goes into `Host`
and SNI: a name that answers differently the second time (DNS rebinding) is never asked a second time. Proxies of the
environment are not used, for behind a proxy no address could be checked.
"""

import http.client
import io
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable, Collection
from functools import cache
from typing import Any
from urllib.parse import SplitResult, urlsplit

from portraitist.core.outcome import Status

PORTS = {"http": 80, "https": 443}
CONNECT_S = 10.0  # to one address
READ_S = 15.0  # between two pieces of an answer
OPEN_V6 = ipaddress.IPv6Network("2000::/3")  # outside it lie loopback, private nets, and v4 addresses in v6 clothes

Resolve = Callable[..., list[tuple[Any, ...]]]  # as socket.getaddrinfo


class FetchError(RuntimeError):
    """An address that gave no picture, and of which kind the fault is; the message says what was found.

    `http_status` is the answer's, if it is that that was the fault.
    """

    def __init__(
        self, status: Status, message: str, retry_after_s: float | None = None, http_status: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s
        self.http_status = http_status


class MissingContactError(RuntimeError):
    """The web shall be asked, and no contact is given; the message says where to."""


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet: not of this machine, its networks, or a tunnel to such."""
    ip = ipaddress.ip_address(address.split("%", maxsplit=1)[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped:
            ip = ip.ipv4_mapped
        elif ip.sixtofour or ip.teredo or ip not in OPEN_V6:
            return False
    return ip.is_global and not ip.is_multicast


def check_url(url: str, allow: Collection[tuple[str, int]] = ()) -> SplitResult:
    """The parts of an address that may be asked: http or https, a host, the scheme's port, no password.

    Raises:
        FetchError: It is another.
    """
    try:
        url.encode()  # half a character cannot be sent
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise FetchError(Status.REFUSED_ADDRESS, f"no address: {error}") from None
    if parts.scheme not in PORTS:
        raise FetchError(Status.REFUSED_SCHEME, f"{parts.scheme or 'no scheme'}; http and https are fetched")
    if not parts.hostname or parts.username is not None or any(ord(char) <= 32 for char in parts.netloc):
        raise FetchError(Status.REFUSED_ADDRESS, "an address needs a host, and no name or password before it")
    if port not in (None, PORTS[parts.scheme]) and port not in {allowed for _, allowed in allow}:
        raise FetchError(Status.REFUSED_ADDRESS, f"port {port}; only {PORTS[parts.scheme]} is asked by {parts.scheme}")
    return parts


class TimedSocket:
    """A socket for http.client on which sending and receiving end at one moment, however slowly bytes drip."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.end = 0.0  # on the monotonic clock
        self.readers = 0
        self.closed = False

    def remaining(self) -> float:
        """Seconds that the next step may take.

        Raises:
            FetchError: There are none.
        """
        left = self.end - time.monotonic()
        if left <= 0:
            raise self.late()
        return min(left, READ_S)

    def late(self) -> FetchError:
        """Which of the two times is over."""
        whole = time.monotonic() >= self.end
        return FetchError(Status.TOO_SLOW, "the whole took too long" if whole else f"nothing came for {READ_S:.0f} s")

    def sendall(self, data: bytes) -> None:
        """As a socket's."""
        self.sock.settimeout(self.remaining())
        try:
            self.sock.sendall(data)
        except TimeoutError:
            raise self.late() from None

    def makefile(self, mode: str) -> io.BufferedReader:
        """As a socket's, for reading."""
        assert mode == "rb"
        self.readers += 1
        return io.BufferedReader(_Reader(self), 65536)

    def close(self) -> None:
        """As a socket's: what is being read may be read to its end."""
        self.closed = True
        if not self.readers:
            self.sock.close()


class _Reader(io.RawIOBase):
    def __init__(self, timed: TimedSocket) -> None:
        self.timed = timed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self.timed.sock.settimeout(self.timed.remaining())
        try:
            return self.timed.sock.recv_into(buffer)
        except TimeoutError:
            raise self.timed.late() from None

    def close(self) -> None:
        if not self.closed:
            self.timed.readers -= 1
            if self.timed.closed:
                self.timed.close()
        super().close()


class GuardedConnection(http.client.HTTPConnection):
    """A connection to a checked address of a host, encrypted if the scheme is https."""

    sock: TimedSocket

    def __init__(self, parts: SplitResult, allow: Collection[tuple[str, int]], resolve: Resolve | None) -> None:
        port = parts.port or PORTS[parts.scheme]
        super().__init__(parts.hostname or "", port)
        self.default_port = PORTS[parts.scheme]  # so that Host names no port that is plain
        self.scheme = parts.scheme
        self.allow = allow
        self.resolve = resolve or socket.getaddrinfo

    def connect(self) -> None:
        """Connect to the first address that answers; all of the host's are checked before any is tried.

        Raises:
            FetchError: The name has no address, one of them is not public, or none answers.
        """
        try:
            found = self.resolve(self.host, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise FetchError(Status.NETWORK_ERROR, f"{self.host}: {error}") from None
        for *_, where in found:
            if not is_public(where[0]) and (where[0], where[1]) not in self.allow:
                raise FetchError(Status.REFUSED_ADDRESS, f"{self.host} is at {where[0]}, which is not a public address")
        why: Exception = OSError("no address")
        for family, kind, protocol, _, where in found:
            sock = socket.socket(family, kind, protocol)
            try:
                sock.settimeout(CONNECT_S)
                sock.connect(where)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self.scheme == "https":
                    sock = context().wrap_socket(sock, server_hostname=self.host)
            except (OSError, ssl.CertificateError) as error:
                sock.close()
                why = error
                continue
            self.sock = TimedSocket(sock)
            return
        raise FetchError(Status.NETWORK_ERROR, f"{self.host}: {why}") from why


@cache
def context() -> ssl.SSLContext:
    """How certificates are checked: by the system's list."""
    return ssl.create_default_context()
