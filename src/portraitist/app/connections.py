"""Limit the server's connections, so that a few addresses with idle or incomplete requests cannot block others.

uvicorn limits neither the connections per address nor the time for a request's head. Its `limit_concurrency` counts
idle connections too, and when it is reached, all clients get status 503. Therefore, this module extends uvicorn's HTTP
protocol. A connection is incomplete if it has no complete request. If an address has too many connections, the oldest
incomplete connection of this address is closed; addresses of reverse proxies have no such limit. If all addresses
together have too many connections, one address is chosen: of those with an incomplete connection, the one with the most
connections. Its oldest incomplete connection is closed. If no connection can be closed, the new one is refused.
"""

import asyncio
import errno
import ipaddress
import resource
import sys
import time
from collections import defaultdict
from typing import Any

from starlette.requests import ClientDisconnect
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CONNECTIONS = 512
MAX_PER_ADDRESS = 64
RESERVED_FILES = 192  # file descriptors that are not for connections: the backlog below, models, libraries
BACKLOG = 100  # connections that asyncio accepts before the first one is checked against the limits
IDLE_S = 10.0  # limit for receiving a request's head, and between two requests
SEND_S = 60.0  # limit for a client to read a complete response, which is in memory until then
LOG_INTERVAL_S = 60.0  # between two messages of `LoopErrorLog`


def max_connections() -> int:
    """Return the maximum number of connections; it is below the limit on open files (`ulimit -n`)."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MAX_CONNECTIONS if soft == resource.RLIM_INFINITY else max(16, min(MAX_CONNECTIONS, soft - RESERVED_FILES))


def is_proxy(address: str, trusted: str) -> bool:
    """Return whether an address is in a comma-separated list of addresses and networks; `*` matches all."""
    for entry in filter(None, (part.strip() for part in trusted.split(","))):
        if entry in ("*", address):
            return True
        try:
            if ipaddress.ip_address(address) in ipaddress.ip_network(entry, strict=False):
                return True
        except ValueError:
            continue
    return False


class ConnectionPool:
    """All open connections, by address, and their limits.

    Args:
        proxies: addresses of reverse proxies, comma-separated; the limit per address does not apply to them.
        limit: maximum number of connections; by default `max_connections()`.
        per_address: maximum number of connections of one address.
        idle_s: seconds after which a connection without a complete request head is closed.
        send_s: seconds after which a connection is closed if the client has not read the response.
    """

    def __init__(
        self,
        proxies: str = "",
        limit: int | None = None,
        per_address: int = MAX_PER_ADDRESS,
        idle_s: float = IDLE_S,
        send_s: float = SEND_S,
    ) -> None:
        self.proxies, self.per_address, self.idle_s, self.send_s = proxies, per_address, idle_s, send_s
        self.limit = max_connections() if limit is None else limit
        self._open: defaultdict[str, dict[BoundedProtocol, None]] = defaultdict(dict)  # oldest first

    def protocol(self) -> type[H11Protocol]:
        """Return the protocol class for `uvicorn.Config(http=...)`."""
        return type("PooledProtocol", (BoundedProtocol,), {"pool": self})

    def add(self, connection: "BoundedProtocol") -> bool:
        """Register a connection; return False if it must be refused.

        If a limit is exceeded, another connection without a complete request is closed. If there is none, the new
        connection must be refused.
        """
        own = self._open[connection.address]
        own[connection] = None
        if len(own) > self.per_address and not is_proxy(connection.address, self.proxies):
            return self._evict(own, connection)
        if sum(map(len, self._open.values())) > self.limit:
            return any(self._evict(group, connection) for group in sorted(self._open.values(), key=len, reverse=True))
        return True

    def remove(self, connection: "BoundedProtocol") -> None:
        """Remove a closed connection."""
        group = self._open.get(connection.address, {})
        group.pop(connection, None)
        if not group:
            self._open.pop(connection.address, None)

    @staticmethod
    def _evict(group: "dict[BoundedProtocol, None]", new: "BoundedProtocol") -> bool:
        for connection in group:
            if connection is not new and connection.is_incomplete and not connection.transport.is_closing():
                connection.transport.abort()
                return True
        return False


class BoundedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1 protocol with the limits of a `ConnectionPool`."""

    pool: ConnectionPool
    idle_timer: asyncio.TimerHandle | None = None
    send_timer: asyncio.TimerHandle | None = None

    @property
    def address(self) -> str:
        """Address of the peer; behind a reverse proxy, this is the proxy's address."""
        return self.client[0] if self.client else ""

    @property
    def is_idle(self) -> bool:
        """Whether there is no request to answer. The connection is also idle while a request's head is incomplete."""
        return self.cycle is None or self.cycle.response_complete

    @property
    def is_incomplete(self) -> bool:
        """Whether the connection is idle (see `is_idle`), or the body of its request is still being received."""
        return self.is_idle or self.cycle.more_body

    def connection_made(self, transport: Any) -> None:
        """Register the connection, or refuse it."""
        super().connection_made(transport)
        if not self.pool.add(self):
            transport.abort()
            return
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Remove the connection from the pool."""
        self.pool.remove(self)
        for timer in filter(None, (self.idle_timer, self.send_timer)):
            timer.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Start two time limits for the client: one to read the response, and one to send its next request."""
        super().on_response_complete()
        if self.send_timer:
            self.send_timer.cancel()
        self.send_timer = self.loop.call_later(self.pool.send_s, self._close_if_unread)
        self._watch()

    def _watch(self) -> None:
        if self.idle_timer:
            self.idle_timer.cancel()
        self.idle_timer = self.loop.call_later(self.pool.idle_s, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if self.is_idle and not self.transport.get_write_buffer_size() and not self.transport.is_closing():
            self.transport.abort()

    def _close_if_unread(self) -> None:
        if self.transport.get_write_buffer_size():
            self.transport.abort()


class LoopErrorLog:
    """An asyncio exception handler that prints at most one line per minute, without tracebacks.

    asyncio's own handler prints a traceback for every connection that it cannot accept, which may be megabytes per
    second.
    """

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Print an unhandled error, except if its cause is that a client disconnected during an upload."""
        error = context.get("exception")
        if isinstance(error, ClientDisconnect) or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + LOG_INTERVAL_S
        reason = f"{context.get('message', '')}: {type(error).__name__}" if error else context.get("message", "")
        if isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE):
            reason = "too many open files; raise `ulimit -n`"
        print(f"portraitist: {reason}", file=sys.stderr, flush=True)
