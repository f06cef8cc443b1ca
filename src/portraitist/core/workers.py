"""Work on many items in worker processes: results in the order of the items, a bounded number under way."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from typing import Any, TypeVar

import cv2

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 8  # items a worker that are under way or wait to be taken: memory stays flat however many there are

_work: Callable[[Any], Any]  # of a worker process: what it was begun with


def map_ordered(begin: Callable[[], Callable[[Item], Result]], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """The result for each item, in their order. `begin` is called once in each process: it opens what work needs.

    With one worker all happens in this process. Else `begin`, items and results travel between processes, so they can
    be pickled.
    """
    if workers == 1:
        yield from map(begin(), items)
        return
    items = iter(items)
    # spawned, not forked: OpenCV's threads do not survive a fork
    with ProcessPoolExecutor(workers, get_context("spawn"), _begin, (begin,)) as pool:
        under_way: deque[Future[Result]] = deque(pool.submit(_do, item) for item in islice(items, AHEAD * workers))
        while under_way:
            result = under_way.popleft().result()
            under_way.extend(pool.submit(_do, item) for item in islice(items, 1))
            yield result


def _begin(begin: Callable[[], Callable[[Any], Any]]) -> None:
    global _work
    cv2.setNumThreads(1)
    _work = begin()


def _do(item: Any) -> Any:
    return _work(item)
