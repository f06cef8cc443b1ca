import asyncio
import multiprocessing
import os
import pickle
from contextlib import ExitStack

import pytest
from limits.storage import memory

from portraitist.app.request_queue import (
    AddressRateLimiter,
    Admissions,
    DuplicateTicketError,
    QueueFullError,
    RequestQueue,
)


def make_queue(threads, max_waiting):
    admissions = Admissions(max_waiting, per_minute=60)
    admissions.register(os.getpid(), threads)
    return RequestQueue(threads, admissions)


def test_requests_are_served_in_order_of_arrival():
    async def run():
        queue = make_queue(threads=2, max_waiting=3)
        position = queue.admissions.position
        admitted = {ticket: queue.admit(ticket) for ticket in "abcde"}
        turns = {ticket: admission.__enter__() for ticket, admission in admitted.items()}

        def leave(ticket):
            admitted[ticket].__exit__(None, None, None)

        assert [turn.done() for turn in turns.values()] == [True, True, False, False, False]
        assert [position(ticket) for ticket in "abcde"] == [None, None, 1, 2, 3]
        assert (queue.waiting, queue.painting) == (3, 2)
        leave("b")
        assert (turns["c"].done(), position("d"), position("e")) == (True, 1, 2)
        leave("d")  # gives up
        assert position("e") == 1
        leave("a")
        leave("c")
        assert turns["e"].done()
        leave("e")
        assert (queue.waiting, queue.painting, position("e")) == (0, 0, None)

    asyncio.run(run())


def test_full_queue_error_has_the_position():
    admissions = Admissions(max_waiting=20, per_minute=60)
    admissions.register(os.getpid(), threads=1)
    for number in range(21):
        admissions.admit(os.getpid(), f"{number}")
    with pytest.raises(QueueFullError, match=r"20 .* number 21") as raised:
        admissions.admit(os.getpid(), "late")
    assert pickle.loads(pickle.dumps(raised.value)).position == 21
    admissions.release("7")
    admissions.admit(os.getpid(), "late")


def test_ticket_joins_the_queue_once():
    async def run():
        queue = make_queue(threads=0, max_waiting=3)
        with ExitStack() as stack:
            stack.enter_context(queue.admit("a"))
            with pytest.raises(DuplicateTicketError, match="ticket 'a'"):
                stack.enter_context(queue.admit("a"))
        with queue.admit("a"):
            pass

    asyncio.run(run())


def test_processes_share_capacity_and_positions():
    admissions = Admissions(max_waiting=1, per_minute=60)
    first, second = os.getpid(), os.getppid()
    for process in (first, second):
        admissions.register(process, threads=1)
    admissions.admit(first, "a")
    admissions.admit(second, "b")
    admissions.start("a")
    admissions.admit(second, "c")
    assert [admissions.position(ticket) for ticket in "abc"] == [None, 1, 2]
    with pytest.raises(QueueFullError):
        admissions.admit(first, "d")


def test_requests_of_an_ended_process_leave_the_queue():
    ended = multiprocessing.get_context("spawn").Process(target=print)
    ended.start()
    ended.join()
    admissions = Admissions(max_waiting=0, per_minute=60)
    assert admissions.register(ended.pid, threads=1) == []
    admissions.admit(ended.pid, "a")
    assert admissions.register(os.getpid(), threads=1) == [ended.pid]
    admissions.admit(os.getpid(), "a")
    with pytest.raises(QueueFullError):
        admissions.admit(os.getpid(), "b")


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
