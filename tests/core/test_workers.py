import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from portraitist.core.workers import MAX_PENDING, available_cores, map_ordered

ROOT = Path(__file__).resolve().parents[2]


class Square:
    """A function with a constant; it also returns the id of the process that created it."""

    def __init__(self, offset: int) -> None:
        self.offset, self.process = offset, os.getpid()

    def __call__(self, item: int) -> tuple[int, int]:
        if item < 0:
            raise ValueError(f"{item} is negative")
        return item * item + self.offset, self.process


def record(count: int, taken: list[int]) -> Iterator[int]:
    for item in range(count):
        taken.append(item)
        yield item


@pytest.mark.parametrize("workers", [1, 2])
def test_results_are_in_order_and_setup_runs_once_per_process(workers: int):
    results = list(map_ordered(partial(Square, 7), range(60), workers))
    assert [result for result, _ in results] == [item * item + 7 for item in range(60)]
    processes = {process for _, process in results}
    assert (processes == {os.getpid()}) if workers == 1 else (os.getpid() not in processes)
    assert len(processes) <= workers


@pytest.mark.parametrize(("workers", "at_most"), [(1, 1), (2, 2 * MAX_PENDING + 1)])
def test_number_of_pending_items_is_bounded(workers: int, at_most: int):
    taken: list[int] = []
    results = map_ordered(partial(Square, 0), record(100, taken), workers)
    for number in range(1, 40):
        assert next(results)[0] == (number - 1) ** 2
        assert number <= len(taken) < number + at_most
    results.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_exception_in_worker_is_raised_in_caller(workers: int):
    setup: Callable[[], Square] = partial(Square, 0)
    with pytest.raises(ValueError, match="-3 is negative"):
        list(map_ordered(setup, [1, 2, -3, 4], workers))


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "200000 100000\n"}, 2),
        ({"cpu.max": "150000 100000\n"}, 2),
        ({"cpu.max": "1000 100000\n"}, 1),
        ({"cpu.max": "nonsense"}, 8),
        ({"cpu/cpu.cfs_quota_us": "300000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
    ],
)
def test_cores_are_limited_by_affinity_and_container_quota(files, cores, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert available_cores(tmp_path) == cores


def test_cores_are_counted_in_one_place():
    files = [path for top in ("src", "pipeline", "benchmarks") for path in (ROOT / top).rglob("*.py")]
    counting = {path.name for path in files if "cpu_count" in path.read_text(encoding="utf-8")}
    assert counting == {"workers.py"}
