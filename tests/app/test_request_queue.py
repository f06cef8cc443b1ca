import asyncio
from contextlib import ExitStack

import pytest
from limits.storage import memory

from portraitist.app.request_queue import AddressRateLimiter, QueueFullError, RequestQueue


def test_requests_are_served_in_order_of_arrival():
    async def run():
        queue = RequestQueue(workers=2, max_waiting=3)
        turns = {ticket: queue.join(ticket) for ticket in "abcde"}
        assert [turn.done() for turn in turns.values()] == [True, True, False, False, False]
        assert [queue.position(ticket) for ticket in "abcde"] == [None, None, 1, 2, 3]
        queue.leave("b")
        assert (turns["c"].done(), queue.position("d"), queue.position("e")) == (True, 1, 2)
        queue.leave("d")  # gives up
        assert queue.position("e") == 1
        queue.leave("a")
        queue.leave("c")
        assert turns["e"].done()
        queue.leave("e")
        assert (queue.idle_workers, queue.position("e")) == (2, None)

    asyncio.run(run())


def test_full_queue_error_has_the_position():
    queue = RequestQueue(workers=1, max_waiting=20)
    with ExitStack() as stack:
        for _ in range(21):
            stack.enter_context(queue.admit())
        with pytest.raises(QueueFullError, match=r"20 .* number 21") as raised, queue.admit():
            pass
    assert (raised.value.position, queue.admitted) == (21, 0)
    with queue.admit():
        assert queue.admitted == 1


def test_ticket_joins_the_queue_once():
    async def run():
        queue = RequestQueue(workers=0, max_waiting=3)
        queue.join("a")
        with pytest.raises(ValueError, match="ticket 'a'"):
            queue.join("a")

    asyncio.run(run())


@pytest.fixture
def clock(monkeypatch):
    """The time that the library `limits` reads, which tests set."""
    now = [1_000_000.0]
    monkeypatch.setattr(memory.time, "time", lambda: now[0])
    return now


def test_rate_limit_is_a_moving_minute(clock):
    limiter = AddressRateLimiter(per_minute=2)
    assert limiter.hit("a") == 0
    clock[0] += 20
    assert limiter.hit("a") == 0
    assert limiter.hit("a") == 40
    assert limiter.hit("b") == 0
    clock[0] += 39.9
    assert limiter.hit("a") == 1
    clock[0] += 0.2
    assert limiter.hit("a") == 0
    assert limiter.hit("a") == 20


def test_remembered_addresses_are_bounded():
    limiter = AddressRateLimiter(per_minute=1, max_addresses=3)
    assert [limiter.hit(address) for address in "abcd"] == [0] * 4
    assert limiter.hit("d") > 0
    assert limiter.hit("a") == 0  # forgotten when d came
    assert len(limiter._limiter.storage.events) <= 3
