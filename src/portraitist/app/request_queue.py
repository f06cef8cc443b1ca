"""Who is being served and who waits, in the order of arrival; and how often each may come. All of it in memory only."""

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class QueueFullError(RuntimeError):
    """The line is full; `place` is where the newcomer would have stood."""

    def __init__(self, place: int) -> None:
        super().__init__(f"{place - 1} pictures wait already, yours would be number {place} in line")
        self.place = place


class RequestQueue:
    """So many are served at a time, so many more may wait. Belongs to one event loop."""

    def __init__(self, served: int, waiting: int) -> None:
        self.served, self.waiting = served, waiting
        self.inside, self.free = 0, served
        self.turns: dict[str, asyncio.Future[None]] = {}  # by ticket, the first in line first

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Inside, from the first byte of an upload to the last of the answer: so much is in memory at most.

        Raises:
            FullError: Too many are.
        """
        if self.inside >= self.served + self.waiting:
            raise QueueFullError(self.inside - self.served + 1)
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1

    def join(self, ticket: str) -> asyncio.Future[None]:
        """A turn, which is done when it is this one's.

        Raises:
            ValueError: The ticket stands in the line already.
        """
        if ticket in self.turns:
            raise ValueError(f"ticket {ticket!r} stands in the line already")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self.free:
            self.free -= 1
            turn.set_result(None)
        else:
            self.turns[ticket] = turn
        return turn

    def place(self, ticket: str) -> int | None:
        """1 is next; None is being served, or not here."""
        return list(self.turns).index(ticket) + 1 if ticket in self.turns else None

    def leave(self, ticket: str) -> None:
        """Whoever joined leaves, served or not; the next one's turn comes."""
        if ticket in self.turns:
            del self.turns[ticket]
            return
        self.free += 1
        while self.free and self.turns:
            turn = self.turns.pop(next(iter(self.turns)))
            turn.set_result(None)
            self.free -= 1


class RateLimiter:
    """So many a minute for each address, in one go or spread."""

    MOST = 10_000  # addresses that are remembered

    def __init__(self, per_minute: int, now: Callable[[], float] = time.monotonic) -> None:
        self.per_minute, self.now = per_minute, now
        self.left: dict[str, tuple[float, float]] = {}  # what is left, and when that was so

    def wait_s(self, address: str) -> int:
        """0, and one is counted; or in how many seconds one may come again."""
        now = self.now()
        left, then = self.left.pop(address, (float(self.per_minute), now))
        left = min(self.per_minute, left + (now - then) * self.per_minute / 60)
        allowed = left >= 1
        self.left[address] = (left - allowed, now)  # last in the order: the least recent is forgotten first
        if len(self.left) > self.MOST:
            del self.left[next(iter(self.left))]
        return 0 if allowed else math.ceil((1 - left) * 60 / self.per_minute)
