"""The server's request queue and rate limiter. All state is in memory and belongs to one event loop."""

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter


class QueueFullError(RuntimeError):
    """The queue is full; `position` is the position that the rejected request would have had."""

    def __init__(self, position: int) -> None:
        super().__init__(f"the queue is full: {position - 1} pictures are waiting, yours would be number {position}")
        self.position = position


class RequestQueue:
    """Serve `workers` requests at a time, first come, first served, while at most `max_waiting` others wait."""

    def __init__(self, workers: int, max_waiting: int) -> None:
        self.workers, self.max_waiting = workers, max_waiting
        self.admitted, self.idle_workers = 0, workers
        self._waiting: dict[str, asyncio.Future[None]] = {}  # by ticket, in order of arrival

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Count a request from the end of its upload until it is answered.

        Raises:
            QueueFullError: `workers + max_waiting` requests are already admitted.
        """
        if self.admitted >= self.workers + self.max_waiting:
            raise QueueFullError(self.admitted - self.workers + 1)
        self.admitted += 1
        try:
            yield
        finally:
            self.admitted -= 1

    def join(self, ticket: str) -> asyncio.Future[None]:
        """Return a future that is done when a worker is free for this ticket.

        Raises:
            ValueError: the ticket is already in the queue.
        """
        if ticket in self._waiting:
            raise ValueError(f"ticket {ticket!r} is in the queue already")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.idle_workers:
            self.idle_workers -= 1
            turn.set_result(None)
        else:
            self._waiting[ticket] = turn
        return turn

    def position(self, ticket: str) -> int | None:
        """Return the position of a waiting ticket, 1 for the next; None if the ticket is being served or unknown."""
        return list(self._waiting).index(ticket) + 1 if ticket in self._waiting else None

    def leave(self, ticket: str) -> None:
        """Remove a ticket, whether it was served or not, and serve the next one."""
        if ticket in self._waiting:
            del self._waiting[ticket]
            return
        self.idle_workers += 1
        while self.idle_workers and self._waiting:
            turn = self._waiting.pop(next(iter(self._waiting)))
            turn.set_result(None)
            self.idle_workers -= 1


class AddressRateLimiter:
    """Allow `per_minute` requests from each address in any 60 seconds; remember at most `max_addresses`."""

    def __init__(self, per_minute: int, max_addresses: int = 10_000) -> None:
        self.max_addresses = max_addresses
        self._item = RateLimitItemPerMinute(per_minute)
        self._limiter = MovingWindowRateLimiter(MemoryStorage())
        self._addresses: OrderedDict[str, None] = (
            OrderedDict()
        )  # least recent first; the library `limits` does not bound their number

    def hit(self, address: str) -> int:
        """Count a request and return 0, or the seconds until the next one is allowed."""
        self._addresses[address] = None
        self._addresses.move_to_end(address)
        if len(self._addresses) > self.max_addresses:
            self._limiter.clear(self._item, self._addresses.popitem(last=False)[0])
        if self._limiter.hit(self._item, address):
            return 0
        reset_time = self._limiter.get_window_stats(self._item, address).reset_time
        return max(1, math.ceil(reset_time - time.time()))
