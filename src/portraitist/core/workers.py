"""Map a function over many items in worker processes, with ordered results and bounded memory; count cores.

The standard library's pool suffices: an initializer loads models once per process, and results are streamed in order.
joblib would only be another dependency.
"""

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

MAX_PENDING = 8  # items per worker that are submitted, or whose results have not been consumed yet

CGROUPS = Path("/sys/fs/cgroup")

_function: Callable[[Any], Any]  # in a worker process: what `setup` returned


def available_cores(cgroups: Path = CGROUPS) -> int:
    """Return how many cores this process may use, at least 1: by its affinity, and by a container's CPU quota.

    `os.cpu_count()` is the number of the machine's cores, of which a container may have a few only.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([cores, *_cpu_quotas(cgroups)]))


def _cpu_quotas(cgroups: Path) -> Iterator[int]:
    """Yield the CPU quotas, rounded up, of the root control group (in a container, its own), versions 2 and 1."""
    for names in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((cgroups / name).read_text() for name in names).split()
            if int(quota) > 0:
                yield math.ceil(int(quota) / int(period))
        except (OSError, ValueError, ZeroDivisionError):  # no such file, or "max" for no quota
            continue


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
    import cv2  # the sandbox imports this module, and must stay small

    global _function  # noqa: PLW0603  set once per process
    cv2.setNumThreads(1)
    _function = setup()


def _call(item: Any) -> Any:
    return _function(item)
