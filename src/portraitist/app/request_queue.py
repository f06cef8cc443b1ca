"""The server's request queue and rate limiter; all state is in memory.

A ticket is the text that identifies a request, for example when a client asks for its position in the queue.
"""

import asyncio
import math
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter


class QueueFullError(RuntimeError):
    """The queue is full; `position` is the position that the rejected request would have had."""

    def __init__(self, position: int) -> None:
        super().__init__(f"the queue is full: {position - 1} pictures are waiting, yours would be number {position}")
        self.position = position

    def __reduce__(self) -> tuple[type["QueueFullError"], tuple[int]]:
        """Pickle only the position; the message is created from it."""
        return QueueFullError, (self.position,)


class DuplicateTicketError(ValueError):
    """A request with the same ticket is already in the queue."""


class Admissions:
    """The queue with the requests of all worker processes, and the rate limits.

    A request is in the queue from the end of its upload until its response. The methods are thread-safe.

    The whole server has one `Admissions` object. If the server has several worker processes, this object is in their
    parent process, the supervisor, and the workers call it through a proxy.

    Args:
        max_waiting: number of requests that may wait for a painting thread.
        per_minute: number of requests per minute that one address may send.
    """

    def __init__(self, max_waiting: int, per_minute: int) -> None:
        self.max_waiting = max_waiting
        self._limiter, self._lock = AddressRateLimiter(per_minute), threading.Lock()
        self._threads: dict[int, int] = {}  # number of painting threads of each process
        self._waiting: dict[str, int] = {}  # process of each waiting ticket, in order of arrival
        self._painted: dict[str, int] = {}  # process of each ticket that is being painted

    def register(self, process: int, threads: int) -> list[int]:
        """Add a worker process, and remove the worker processes that have ended, together with their requests.

        Args:
            process: id of the process.
            threads: number of its painting threads.

        Returns:
            The ids of the processes that were removed.
        """
        with self._lock:
            ended = [other for other in self._threads if not _is_running(other)]
            for tickets in (self._waiting, self._painted):
                for ticket in [ticket for ticket, owner in tickets.items() if owner in ended]:
                    del tickets[ticket]
            self._threads = {other: self._threads[other] for other in self._threads if other not in ended}
            self._threads[process] = threads
        return ended

    def hit(self, address: str) -> int:
        """Count a request of a client address, and return 0 if the request is allowed.

        If the request exceeds the limit, return the number of seconds until another request is allowed.
        """
        with self._lock:
            return self._limiter.hit(address)

    def admit(self, process: int, ticket: str) -> None:
        """Append a request to the queue.

        Args:
            process: id of the worker process that received the request.
            ticket: unique name of the request.

        Raises:
            QueueFullError: all painting threads are busy, and `max_waiting` requests are waiting.
            DuplicateTicketError: the ticket is already in the queue.
        """
        with self._lock:
            threads, admitted = sum(self._threads.values()), len(self._waiting) + len(self._painted)
            if admitted >= threads + self.max_waiting:
                raise QueueFullError(admitted - threads + 1)
            if ticket in self._waiting or ticket in self._painted:
                raise DuplicateTicketError(
                    f"a request with the ticket {ticket!r} is already in the queue; wait for the response to that "
                    "request, or send a different X-Ticket header"
                )
            self._waiting[ticket] = process

    def start(self, ticket: str) -> None:
        """Mark a waiting request as being painted."""
        with (
            self._lock,
            suppress(KeyError),
        ):  # KeyError: `register` has removed the request, because its process has ended
            self._painted[ticket] = self._waiting.pop(ticket)

    def release(self, ticket: str) -> None:
        """Remove an answered request."""
        with self._lock:
            self._waiting.pop(ticket, None)
            self._painted.pop(ticket, None)

    def position(self, ticket: str) -> int | None:
        """Return the position of a request among the waiting ones; the next one to be painted has position 1.

        If the request is not waiting, return None.
        """
        with self._lock:
            return list(self._waiting).index(ticket) + 1 if ticket in self._waiting else None


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


class RequestQueue:
    """Assign the painting threads of this process to the requests of this process, first come, first served.

    Use each `RequestQueue` in one event loop only.

    Args:
        threads: number of painting threads of this process.
        admissions: the queue of the whole server, which this process shares with the other worker processes.
    """

    def __init__(self, threads: int, admissions: Admissions) -> None:
        self.admissions, self.threads, self.idle_threads = admissions, threads, threads
        self._waiting: dict[str, asyncio.Future[None]] = {}  # by ticket, in order of arrival

    @property
    def waiting(self) -> int:
        """Number of requests that wait for a painting thread of this process."""
        return len(self._waiting)

    @property
    def painting(self) -> int:
        """Number of requests that this process is painting."""
        return self.threads - self.idle_threads

    @contextmanager
    def admit(self, ticket: str) -> Iterator[asyncio.Future[None]]:
        """Hold a place in the queue for a request while the context is open.

        The context's value is a future. Wait for this future before you paint the request: it is done as soon as one of
        the painting threads is free and assigned to the request.

        Raises:
            QueueFullError: too many requests are waiting.
            DuplicateTicketError: the ticket is already in the queue.
        """
        self.admissions.admit(os.getpid(), ticket)
        turn = self._waiting[ticket] = asyncio.get_running_loop().create_future()
        self._start_next()
        try:
            yield turn
        finally:
            if not self._waiting.pop(ticket, None):
                self.idle_threads += 1
                self._start_next()
            self.admissions.release(ticket)

    def _start_next(self) -> None:
        while self.idle_threads and self._waiting:
            ticket = next(iter(self._waiting))
            self._waiting.pop(ticket).set_result(None)
            self.idle_threads -= 1
            self.admissions.start(ticket)


class AddressRateLimiter:
    """Allow `per_minute` requests from each address in any 60 seconds.

    State is kept for at most `max_addresses` addresses; the addresses with the latest requests are kept.
    """

    def __init__(self, per_minute: int, max_addresses: int = 10_000) -> None:
        self.max_addresses = max_addresses
        self._item = RateLimitItemPerMinute(per_minute)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._addresses: OrderedDict[str, None] = (
            OrderedDict()
        )  # least recent first; their number is limited here, because the library `limits` does not do it

    def hit(self, address: str) -> int:
        """Count a request of a client address, and return 0 if the request is allowed.

        If the request exceeds the limit, return the number of seconds until another request is allowed.
        """
        self._addresses[address] = None
        self._addresses.move_to_end(address)
        if len(self._addresses) > self.max_addresses:
            self._limiter.clear(self._item, self._addresses.popitem(last=False)[0])
        if self._limiter.hit(self._item, address):
            return 0
        reset_time = self._limiter.get_window_stats(self._item, address).reset_time
        return max(1, math.ceil(reset_time - time.time()))
