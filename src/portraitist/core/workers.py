"""Map a function over many items in worker processes, with ordered results and bounded memory.

The standard library's pool suffices: an initializer loads models once per process, and results are streamed in order.
joblib would only be another dependency.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from typing import Any, TypeVar

import cv2

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_PENDING = 8  # items per worker that are submitted, or whose results have not been consumed yet

_function: Callable[[Any], Any]  # in a worker process: what `setup` returned


def map_ordered(setup: Callable[[], Callable[[Item], Result]], items: Iterable[Item], workers: int) -> Iterator[Result]:
    """Yield function(item) for each item, in order, where `setup()` returns the function.

    `setup` is called once in each worker process, to load what the function needs. With one worker, everything runs in
    the calling process; else `setup`, items and results must be picklable.
    """
    if workers == 1:
        yield from map(setup(), items)
        return
    items = iter(items)
    # spawned, not forked: OpenCV's threads do not survive a fork
    with ProcessPoolExecutor(workers, get_context("spawn"), _initialize, (setup,)) as pool:
        pending: deque[Future[Result]] = deque(
            pool.submit(_call, item) for item in islice(items, MAX_PENDING * workers)
        )
        while pending:
            result = pending.popleft().result()
            pending.extend(pool.submit(_call, item) for item in islice(items, 1))
            yield result


def _initialize(setup: Callable[[], Callable[[Any], Any]]) -> None:
    global _function  # noqa: PLW0603  set once per process
    cv2.setNumThreads(1)
    _function = setup()


def _call(item: Any) -> Any:
    return _function(item)
