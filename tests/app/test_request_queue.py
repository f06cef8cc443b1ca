import asyncio
from contextlib import ExitStack

import pytest

from portraitist.app.request_queue import QueueFullError, RateLimiter, RequestQueue


def in_loop(work):
    return asyncio.run(work())


def test_turns_come_in_the_order_of_arrival_and_everyone_knows_the_place():
    async def work():
        line = RequestQueue(served=2, waiting=3)
        turns = {ticket: line.join(ticket) for ticket in "abcde"}
        assert [turn.done() for turn in turns.values()] == [True, True, False, False, False]
        assert [line.place(ticket) for ticket in "abcde"] == [None, None, 1, 2, 3]
        line.leave("b")
        assert (turns["c"].done(), line.place("d"), line.place("e")) == (True, 1, 2)
        line.leave("d")  # gives up
        assert line.place("e") == 1
        line.leave("a")
        line.leave("c")
        assert turns["e"].done()
        line.leave("e")
        assert (line.free, line.turns) == (2, {})

    in_loop(work)


def test_one_more_than_may_wait_is_told_where_it_would_have_stood():
    line = RequestQueue(served=1, waiting=20)
    with ExitStack() as stack:
        for _ in range(21):
            stack.enter_context(line.entered())
        with (
            pytest.raises(QueueFullError, match="20 pictures wait already, yours would be number 21 in line"),
            line.entered(),
        ):
            pass
    assert line.inside == 0
    with line.entered():
        assert line.inside == 1


def test_a_ticket_stands_in_the_line_once():
    async def work():
        line = RequestQueue(served=0, waiting=3)
        line.join("a")
        with pytest.raises(ValueError, match="ticket 'a' stands in the line already"):
            line.join("a")

    in_loop(work)


def test_a_minutes_pictures_may_come_at_once_and_then_one_by_one():
    clock = [100.0]
    rate = RateLimiter(per_minute=6, now=lambda: clock[0])
    assert [rate.wait_s("a") for _ in range(8)] == [0] * 6 + [10, 10]
    assert rate.wait_s("b") == 0
    clock[0] += 9.9
    assert rate.wait_s("a") == 1
    clock[0] += 0.2
    assert rate.wait_s("a") == 0
    clock[0] += 1000
    assert [rate.wait_s("a") for _ in range(7)] == [0] * 6 + [10]


def test_the_addresses_that_are_remembered_are_bounded():
    rate = RateLimiter(per_minute=1, now=lambda: 0.0)
    rate.MOST = 3
    for address in "abcd":
        rate.wait_s(address)
    assert list(rate.left) == ["b", "c", "d"]
