import os
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from portraitist.core.workers import AHEAD, map_ordered


class Squares:
    """Work that is begun with a number, and remembers where."""

    def __init__(self, plus: int) -> None:
        self.plus, self.begun_in = plus, os.getpid()

    def __call__(self, item: int) -> tuple[int, int]:
        if item < 0:
            raise ValueError(f"{item} has no root")
        return item * item + self.plus, self.begun_in


def counted(items: int, taken: list[int]) -> Iterator[int]:
    for item in range(items):
        taken.append(item)
        yield item


@pytest.mark.parametrize("workers", [1, 2])
def test_the_results_come_in_the_order_of_the_items_and_begin_is_called_once_a_process(workers: int):
    results = list(map_ordered(partial(Squares, 7), range(60), workers))
    assert [result for result, _ in results] == [item * item + 7 for item in range(60)]
    processes = {process for _, process in results}
    assert (processes == {os.getpid()}) if workers == 1 else (os.getpid() not in processes)
    assert len(processes) <= workers


@pytest.mark.parametrize(("workers", "at_most"), [(1, 1), (2, 2 * AHEAD + 1)])
def test_no_more_items_are_taken_than_are_under_way(workers: int, at_most: int):
    taken: list[int] = []
    results = map_ordered(partial(Squares, 0), counted(100, taken), workers)
    for number in range(1, 40):
        assert next(results)[0] == (number - 1) ** 2
        assert number <= len(taken) < number + at_most
    results.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_what_goes_wrong_in_a_worker_goes_wrong_here(workers: int):
    begin: Callable[[], Squares] = partial(Squares, 0)
    with pytest.raises(ValueError, match="-3 has no root"):
        list(map_ordered(begin, [1, 2, -3, 4], workers))
