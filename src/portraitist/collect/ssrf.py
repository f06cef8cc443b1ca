"""HTTP connections that can only reach public addresses (protection against server-side request forgery).

A host name is resolved once, every address is checked, and the connection is made to a checked address, with the name
in `Host` and SNI. This prevents DNS rebinding, where a name resolves to another address the second time. Proxies from
the environment are not used: behind a proxy, no address could be checked.

No library is used: the check must happen between resolving and connecting, at the place where the deadline for
connecting, sending and receiving is enforced; requests and httpx limit single reads only.
"""

import http.client
import io
import ipaddress
import math
import socket
import ssl
import time
from collections.abc import Callable, Collection
from functools import cache
from typing import Any
from urllib.parse import SplitResult, urlsplit

from portraitist.core.outcome import Status

PORTS = {"http": 80, "https": 443}
CONNECT_TIMEOUT_S = 10.0  # for one address
READ_TIMEOUT_S = 15.0  # between two reads of a response
GLOBAL_UNICAST_V6 = ipaddress.IPv6Network("2000::/3")  # outside: loopback, private, and IPv4 addresses embedded in IPv6

Resolve = Callable[..., list[tuple[Any, ...]]]  # the signature of socket.getaddrinfo


class FetchError(RuntimeError):
    """A URL could not be fetched.

    Attributes:
        status: the kind of failure, as in the manifest.
        retry_after_s: seconds from the response's Retry-After header, if any.
        http_status: the response's status code, if it was the reason.
    """

    def __init__(
        self, status: Status, message: str, retry_after_s: float | None = None, http_status: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s
        self.http_status = http_status


class MissingContactError(RuntimeError):
    """`fetch.contact` is empty, but a source needs the web."""


def is_public(address: str) -> bool:
    """Return whether an IP address is global: not loopback, private, multicast, or a tunnel to such an address."""
    ip = ipaddress.ip_address(address.split("%", maxsplit=1)[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped:
            ip = ip.ipv4_mapped
        elif ip.sixtofour or ip.teredo or ip not in GLOBAL_UNICAST_V6:
            return False
    return ip.is_global and not ip.is_multicast


def check_url(url: str, allow: Collection[tuple[str, int]] = ()) -> SplitResult:
    """Split a URL, and check that it is http or https with a host, the scheme's port and no password.

    Args:
        url: the URL to check.
        allow: pairs (IP address, port); these ports are accepted as well.

    Raises:
        FetchError: the URL is malformed or not allowed.
    """
    try:
        url.encode()  # a lone surrogate cannot be sent
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise FetchError(Status.REFUSED_ADDRESS, f"malformed URL: {error}") from None
    if parts.scheme not in PORTS:
        raise FetchError(Status.REFUSED_SCHEME, f"scheme {parts.scheme!r}; only http and https are allowed")
    if not parts.hostname or parts.username is not None or any(ord(char) <= 32 for char in parts.netloc):
        raise FetchError(Status.REFUSED_ADDRESS, "the URL has no host, or has a user name, a password or a space in it")
    if port not in (None, PORTS[parts.scheme]) and port not in {allowed for _, allowed in allow}:
        raise FetchError(
            Status.REFUSED_ADDRESS, f"port {port}; only {PORTS[parts.scheme]} is allowed for {parts.scheme}"
        )
    return parts


class TimedSocket:
    """A socket for http.client with one deadline for all sending and receiving, not only for single operations."""

    def __init__(self, sock: socket.socket, deadline: float = math.inf) -> None:
        self.sock = sock
        self.deadline = deadline  # on the monotonic clock
        self.readers = 0
        self.closed = False

    def remaining(self) -> float:
        """Return the seconds that the next operation may take.

        Raises:
            FetchError: the deadline has passed.
        """
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise self.timeout_error()
        return min(remaining, READ_TIMEOUT_S)

    def timeout_error(self) -> FetchError:
        """Return the error for the limit that was exceeded: the deadline, or the time between two reads."""
        if time.monotonic() >= self.deadline:
            return FetchError(Status.TOO_SLOW, "the request took longer than fetch.deadline_s")
        return FetchError(Status.TOO_SLOW, f"no data for {READ_TIMEOUT_S:.0f} s")

    def sendall(self, data: bytes) -> None:
        """Send all data, as socket.sendall does."""
        self.sock.settimeout(self.remaining())
        try:
            self.sock.sendall(data)
        except TimeoutError:
            raise self.timeout_error() from None

    def makefile(self, mode: str) -> io.BufferedReader:
        """Return a buffered reader, as socket.makefile("rb") does."""
        assert mode == "rb"
        self.readers += 1
        return io.BufferedReader(_Reader(self), 65536)

    def close(self) -> None:
        """Close the socket once its last reader is closed, as socket.close does."""
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
            raise self.timed.timeout_error() from None

    def close(self) -> None:
        if not self.closed:
            self.timed.readers -= 1
            if self.timed.closed:
                self.timed.close()
        super().close()


class GuardedConnection(http.client.HTTPConnection):
    """An HTTP connection to a checked address of a host, with TLS if the scheme is https."""

    sock: TimedSocket

    def __init__(self, parts: SplitResult, allow: Collection[tuple[str, int]], resolve: Resolve | None) -> None:
        port = parts.port or PORTS[parts.scheme]
        super().__init__(parts.hostname or "", port)
        self.default_port = PORTS[parts.scheme]  # so that the Host header omits the default port
        self.scheme = parts.scheme
        self.allow = allow
        self.resolve = resolve or socket.getaddrinfo
        self.deadline = math.inf

    def set_deadline(self, deadline: float) -> None:
        """Set the time on the monotonic clock by which connecting, sending and receiving must be done."""
        self.deadline = deadline
        if self.sock is not None:
            self.sock.deadline = deadline

    def connect(self) -> None:
        """Connect to the first address that accepts; all addresses of the host are checked before any is tried.

        Resolving the name cannot be interrupted, but its time counts towards the deadline.

        Raises:
            FetchError: the name has no address, one of them is not public, none accepts, or the deadline has passed.
        """
        failure: Exception = OSError("no address")
        for family, kind, protocol, _, address in self._public_addresses():
            if time.monotonic() >= self.deadline:
                break
            try:
                self.sock = TimedSocket(self._open(family, kind, protocol, address), self.deadline)
                return
            except (OSError, ssl.CertificateError) as error:
                failure = error
        if time.monotonic() >= self.deadline:
            raise FetchError(Status.TOO_SLOW, f"connecting to {self.host} took longer than fetch.deadline_s")
        raise FetchError(Status.NETWORK_ERROR, f"{self.host}: {failure}") from failure

    def _public_addresses(self) -> list[tuple[Any, ...]]:
        try:
            addresses = self.resolve(self.host, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise FetchError(Status.NETWORK_ERROR, f"{self.host}: {error}") from None
        for *_, address in addresses:
            if not is_public(address[0]) and (address[0], address[1]) not in self.allow:
                raise FetchError(
                    Status.REFUSED_ADDRESS, f"{self.host} resolves to {address[0]}, which is not a public address"
                )
        return addresses

    def _open(self, family: int, kind: int, protocol: int, address: Any) -> socket.socket:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(self._connect_timeout())
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.scheme == "https":
                sock.settimeout(self._connect_timeout())  # for the complete handshake
                return context().wrap_socket(sock, server_hostname=self.host)
        except BaseException:
            sock.close()
            raise
        return sock

    def _connect_timeout(self) -> float:
        return max(0.001, min(CONNECT_TIMEOUT_S, self.deadline - time.monotonic()))  # 0 would mean non-blocking


@cache
def context() -> ssl.SSLContext:
    """Return the TLS settings: certificates are verified with the system's trust store."""
    return ssl.create_default_context()
