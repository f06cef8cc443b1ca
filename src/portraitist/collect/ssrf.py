"""HTTP connections to public addresses only, as protection against server-side request forgery (SSRF).

A host name is resolved once, every address is checked, and the connection is made to a checked address. This prevents
DNS rebinding, where a name resolves to another address the second time. Proxies from the environment are not used,
because a proxy resolves the name itself, and this module could not check the addresses.

No HTTP library is used. The addresses must be checked between resolving and connecting, and one deadline must limit
connecting, sending and receiving together; requests and httpx only limit each single operation.
"""

import http.client
import io
import ipaddress
import math
import select
import socket
import ssl
import time
from collections.abc import Callable, Collection
from functools import cache
from typing import Any
from urllib.parse import SplitResult, urlsplit

from portraitist.collect.blocklist import DEFAULT_PORTS
from portraitist.core.outcome import Status

CONNECT_TIMEOUT_S = 10.0  # per address
READ_TIMEOUT_S = 15.0  # between two reads of a response
# Loopback and private addresses, and IPv4 addresses embedded in IPv6, are outside of this network.
GLOBAL_UNICAST_V6 = ipaddress.IPv6Network("2000::/3")

Resolve = Callable[..., list[tuple[Any, ...]]]  # the signature of socket.getaddrinfo


class FetchError(RuntimeError):
    """A URL could not be fetched.

    Attributes:
        status: the kind of failure, for the column `status` of the manifest.
        retry_after_s: seconds from the response's header Retry-After, if any.
        http_status: status code of the response, if the status code was the reason for the error.
    """

    def __init__(
        self, status: Status, message: str, retry_after_s: float | None = None, http_status: int | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s
        self.http_status = http_status


class MissingContactError(RuntimeError):
    """The parameter `fetch.contact` is empty, but a source has to download from the web."""


def is_public(address: str) -> bool:
    """Return whether an IP address is public.

    Loopback, private and multicast addresses are not public, nor are IPv6 addresses that tunnel to an IPv4 address.
    """
    ip = ipaddress.ip_address(address.split("%", maxsplit=1)[0])
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped:
            ip = ip.ipv4_mapped
        elif ip.sixtofour or ip.teredo or ip not in GLOBAL_UNICAST_V6:
            return False
    return ip.is_global and not ip.is_multicast


def check_url(url: str, allow: Collection[tuple[str, int]] = ()) -> SplitResult:
    """Split a URL into its parts, and check that requests to it are allowed.

    The URL must have the scheme http or https, a host, the scheme's standard port, and no user name or password.

    Args:
        url: the URL to check.
        allow: pairs (IP address, port). The URL may also have one of these ports. The addresses are not used here.

    Raises:
        FetchError: the URL is malformed or not allowed.
    """
    try:
        url.encode()  # a lone surrogate cannot be sent
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise FetchError(Status.REFUSED_ADDRESS, f"malformed URL: {error}") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise FetchError(Status.REFUSED_SCHEME, f"the URL has scheme {parts.scheme!r}; only http and https are allowed")
    if not parts.hostname or parts.username is not None or any(ord(char) <= 32 for char in parts.netloc):
        raise FetchError(Status.REFUSED_ADDRESS, "the URL has no host, or has a user name, a password or a space in it")
    if port not in (None, DEFAULT_PORTS[parts.scheme]) and port not in {allowed for _, allowed in allow}:
        raise FetchError(
            Status.REFUSED_ADDRESS,
            f"the URL has port {port}; only port {DEFAULT_PORTS[parts.scheme]} is allowed for {parts.scheme}",
        )
    return parts


class TimedSocket:
    """A socket for http.client with one deadline for all sending and receiving together."""

    def __init__(self, sock: socket.socket, deadline: float = math.inf) -> None:
        self.sock = sock
        self.deadline = deadline  # on the monotonic clock
        self.readers = 0
        self.closed = False

    def remaining(self) -> float:
        """Return how many seconds the next operation may take.

        Raises:
            FetchError: the deadline has passed.
        """
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise self.timeout_error()
        return min(remaining, READ_TIMEOUT_S)

    def timeout_error(self) -> FetchError:
        """Return the error for the limit that was exceeded: the deadline, or the time for a single operation."""
        if time.monotonic() >= self.deadline:
            return FetchError(Status.TOO_SLOW, "the request took longer than fetch.deadline_s allows")
        return FetchError(Status.TOO_SLOW, f"the host sent no data for {READ_TIMEOUT_S:.0f} s")

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
        """Close the socket as soon as its last reader is closed, as socket.close does."""
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
    """An HTTP connection that connects to public addresses only, with TLS if the scheme is https.

    Args:
        parts: the URL, as `check_url` returns it.
        allow: pairs (IP address, port). Connections to them are allowed even if the address is not public.
        resolve: used instead of socket.getaddrinfo.
    """

    sock: TimedSocket

    def __init__(self, parts: SplitResult, allow: Collection[tuple[str, int]], resolve: Resolve | None) -> None:
        port = parts.port or DEFAULT_PORTS[parts.scheme]
        super().__init__(parts.hostname or "", port)
        self.default_port = DEFAULT_PORTS[parts.scheme]  # so that the Host header omits the default port
        self.scheme = parts.scheme
        self.allow = allow
        self.resolve = resolve or socket.getaddrinfo
        self.deadline = math.inf

    def set_deadline(self, deadline: float) -> None:
        """Set the time, on the monotonic clock, by which connecting, sending and receiving must have finished."""
        self.deadline = deadline
        if self.sock is not None:
            self.sock.deadline = deadline

    def has_ended(self) -> bool:
        """Return whether the server has closed a connection that waits for the next request."""
        readable = select.poll()
        readable.register(self.sock.sock, select.POLLIN)  # the server sends nothing but the end of the connection
        return bool(readable.poll(0))

    def connect(self) -> None:
        """Check all addresses of the host, then connect to the first one that accepts.

        Resolving the name cannot be interrupted, but its time counts towards the deadline.

        Raises:
            FetchError: the name has no address, an address is not public, no address accepts the connection, or the
                deadline has passed.
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
            raise FetchError(Status.TOO_SLOW, f"connecting to {self.host} took longer than fetch.deadline_s allows")
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
        return max(0.001, min(CONNECT_TIMEOUT_S, self.deadline - time.monotonic()))  # not 0, which means non-blocking


@cache
def context() -> ssl.SSLContext:
    """Return the TLS settings: certificates are verified with the system's trust store."""
    return ssl.create_default_context()
