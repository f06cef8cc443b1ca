"""Apply a function to shards in worker processes: joblib's on this machine, or Ray's on many machines.

A shard is a tar file of pictures. Results are in the order of the shards and do not depend on the backend or on the
number of workers. Each worker processes one shard at a time; if it dies, only that shard is processed again.
`joblib.Parallel` would end all workers when one dies, so each worker has its own joblib executor.
"""

import os
import sys
import threading
import time
import uuid
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from tqdm import tqdm

from portraitist.core.params import PositiveInt, Section
from portraitist.core.shards import Shards

Result = TypeVar("Result")

MAX_DEATHS = 3  # workers that may die on one shard; then bisection finds the picture that kills them
MAX_AHEAD = 8  # shards per worker that may be processed while an earlier shard is unfinished; limits memory
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # because there is one worker per core
QUIET_S = 30.0  # seconds between two lines of progress if the output is not a terminal
ORPHAN_S = 0.2  # seconds until a worker notices that its parent died; a stage needs longer to start again

_functions: dict[str, Callable[[Any], Any]] = {}  # in a worker process: the function that `setup` returned


class WorkersParams(Section):
    """Worker processes of the stages clean, crop and mask. The outputs do not depend on these parameters."""

    # "ray" uses the cluster whose address is in the environment variable RAY_ADDRESS. If the variable is not set, Ray
    # starts a new cluster on this machine.
    backend: Literal["joblib", "ray"]
    processes: PositiveInt  # number of joblib's workers; Ray uses all CPUs of its cluster


class WorkerLostError(RuntimeError):
    """A worker process died during a task, or its machine was lost."""


@dataclass(frozen=True)
class ShardTask:
    """A task for one worker: the pictures of one shard, which the worker reads and processes."""

    name: str  # file name of the shard that the task writes
    pictures: tuple[Mapping[str, Any], ...]  # rows of a manifest, with at least an `id`
    shards: Shards  # reads the pictures
    rejected: Mapping[str, str] = field(default_factory=dict)  # reason, by id, of pictures that must not be processed


def shard_tasks(shards: Shards, pictures: Mapping[str, Mapping[str, Any]]) -> Iterator[ShardTask]:
    """Yield a task for each shard that contains any of these pictures, in the order of the shards.

    Args:
        shards: the shards to read.
        pictures: rows of a manifest, by the picture's id.
    """
    for name, ids in shards.ids_by_shard().items():
        chosen = tuple(pictures[picture] for picture in ids if picture in pictures)
        if chosen:
            yield ShardTask(name, chosen, shards.select(picture["id"] for picture in chosen))


def map_shards(
    setup: Callable[[], Callable[[ShardTask], Result]], tasks: Sequence[ShardTask], params: WorkersParams, label: str
) -> Iterator[Result]:
    """Yield the result for each task, in order, and print the progress to stderr.

    If worker processes die three times on the same shard, the picture that kills them is found by bisection. This
    picture is added to `ShardTask.rejected`, and the shard is processed again.

    Args:
        setup: called once in each worker process; returns the function that processes a task. The function must not
            process the pictures in `ShardTask.rejected`.
        tasks: one task per shard. `setup`, tasks and results must be picklable.
        params: backend and number of processes.
        label: name of the stage in the printed progress.

    Raises:
        WorkerLostError: the workers died on a shard, but bisection found no single picture that kills a worker.
    """
    with closing(_RayPool(setup) if params.backend == "ray" else _JoblibPool(setup, params.processes)) as pool:
        yield from _run(pool, tasks, _Progress(tasks, label))


class _Pool(ABC):
    """Worker processes, each of which runs one task at a time."""

    @abstractmethod
    def num_workers(self) -> int:
        """Return how many tasks can run at a time; the number may change while a cluster grows or shrinks."""

    @abstractmethod
    def submit(self, task: ShardTask) -> Future:
        """Start a task on an idle worker."""

    @abstractmethod
    def result(self, future: Future) -> Any:
        """Return the result of a finished task.

        Raises:
            WorkerLostError: the worker died during the task.
        """

    @abstractmethod
    def close(self) -> None:
        """End all workers, including those that run a task."""


def _run(pool: _Pool, tasks: Sequence[ShardTask], progress: "_Progress") -> Iterator[Any]:
    waiting, running = deque(enumerate(tasks)), dict[Future, tuple[int, ShardTask]]()
    results, deaths = dict[int, Any](), Counter[int]()
    with closing(progress):
        for number in range(len(tasks)):
            while number not in results:
                workers = pool.num_workers()
                while waiting and len(running) < workers and waiting[0][0] < number + MAX_AHEAD * workers:
                    index, task = waiting.popleft()
                    running[pool.submit(task)] = index, task
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    index, task = running.pop(future)
                    try:
                        results[index] = pool.result(future)
                        progress.add(task)
                    except WorkerLostError as error:
                        progress.report_loss(task, error)
                        deaths[index] += 1
                        if deaths[index] == MAX_DEATHS:
                            task, deaths[index] = _without_killer(pool, task), 0
                        waiting.appendleft((index, task))
            yield results.pop(number)


def _without_killer(pool: _Pool, task: ShardTask) -> ShardTask:
    """Find the picture that kills its worker, by bisection, and return the task with this picture in `rejected`."""
    pictures = [picture for picture in task.pictures if picture["id"] not in task.rejected]
    while len(pictures) > 1:
        half = pictures[: len(pictures) // 2]
        pictures = half if _dies(pool, replace(task, pictures=tuple(half))) else pictures[len(half) :]
    if not pictures or not all(_dies(pool, replace(task, pictures=tuple(pictures))) for _ in range(MAX_DEATHS)):
        found = f"shard {task.name}: {MAX_DEATHS} workers died, but no picture alone kills its worker"
        raise WorkerLostError(f"{found}; free memory, or lower workers.processes or shard_size")
    reason = f"it killed its worker process {MAX_DEATHS} times"
    return replace(task, rejected={**task.rejected, pictures[0]["id"]: reason})


def _dies(pool: _Pool, task: ShardTask) -> bool:
    """Return whether a task kills its worker. The task's output is overwritten when its shard is processed again."""
    future = pool.submit(task)
    wait([future])
    try:
        pool.result(future)
    except WorkerLostError:
        return True
    return False


class _JoblibPool(_Pool):
    """Processes of joblib's executor (loky): each executor has one process."""

    def __init__(self, setup: Callable[[], Callable[[ShardTask], Any]], processes: int) -> None:
        self._arguments = uuid.uuid4().hex, setup, Path.cwd()
        self._processes = processes
        self._idle = [self._start() for _ in range(processes)]
        self._busy: dict[Future, Any] = {}

    @staticmethod
    def _start() -> Any:
        from joblib.externals.loky import ProcessPoolExecutor

        return ProcessPoolExecutor(1, env=ONE_THREAD, initializer=_watch_parent, initargs=(os.getpid(),))

    def num_workers(self) -> int:
        return self._processes

    def submit(self, task: ShardTask) -> Future:
        executor = self._idle.pop()
        try:
            future = executor.submit(_call, *self._arguments, task)
        except BrokenExecutor:  # its process died while it was idle
            executor = self._start()
            future = executor.submit(_call, *self._arguments, task)
        self._busy[future] = executor
        return future

    def result(self, future: Future) -> Any:
        executor = self._busy.pop(future)
        try:
            return future.result()
        except BrokenExecutor as error:
            executor.shutdown(kill_workers=True)
            executor = self._start()
            raise WorkerLostError(f"joblib lost a worker: {str(error).split('. ')[0]}") from None
        finally:
            self._idle.append(executor)

    def close(self) -> None:
        for executor in (*self._idle, *self._busy.values()):
            executor.shutdown(kill_workers=True)


class _RayPool(_Pool):
    """Tasks of Ray, each on one CPU. The folder of the project must have the same path on all machines."""

    def __init__(self, setup: Callable[[], Callable[[ShardTask], Any]]) -> None:
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        try:
            import ray
        except ImportError:
            raise ImportError(
                "workers.backend is ray, but Ray is not installed; install it (pip install 'portraitist[cluster]'), "
                "or set workers.backend=joblib"
            ) from None
        self._ray, self._connected_before = ray, ray.is_initialized()
        if not self._connected_before:
            address = os.environ.get("RAY_ADDRESS")
            local = {} if address else {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
            ray.init(address or "local", log_to_driver=False, logging_level="warning", **local)
        paths = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        function = ray.remote(num_cpus=1, max_retries=0, runtime_env={"env_vars": ONE_THREAD | paths})(_call)
        arguments = uuid.uuid4().hex, setup, Path.cwd()
        self._submit = lambda task: function.remote(*arguments, task)

    def num_workers(self) -> int:
        return max(1, int(self._ray.cluster_resources().get("CPU", 0)))

    def submit(self, task: ShardTask) -> Future:
        return self._submit(task).future()

    def result(self, future: Future) -> Any:
        from ray.exceptions import RayError, RayTaskError

        try:
            return future.result()
        except RayTaskError as error:  # raised by the function
            raise error.cause from None
        except RayError as error:
            raise WorkerLostError(f"Ray lost a worker: {str(error).splitlines()[0]}") from None

    def close(self) -> None:
        if not self._connected_before:
            self._ray.shutdown()


def _watch_parent(parent: int) -> None:
    """Start a thread that ends this process soon after its parent was killed.

    Otherwise an orphaned worker could overwrite the outputs of the next run.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(ORPHAN_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _call(token: str, setup: Callable[[], Callable[[Any], Any]], folder: Path, task: ShardTask) -> Any:
    """Run a task in a worker process, and call `setup` first if `token` is new.

    Each call of `map_shards` has its own token, so a new token means that a new call has begun.
    """
    if token not in _functions:
        import cv2

        os.chdir(folder)
        cv2.setNumThreads(1)
        _functions.clear()
        _functions[token] = setup()
    return _functions[token](task)


class _Progress:
    """Progress on stderr: in a terminal a bar, else a line every 30 seconds. At the end, a summary is printed."""

    def __init__(self, tasks: Sequence[ShardTask], label: str) -> None:
        self._label, self._shards, self._done, self._started = label, len(tasks), 0, time.monotonic()
        pause = 0.1 if sys.stderr.isatty() else QUIET_S
        total = sum(len(task.pictures) for task in tasks)
        self._bar = tqdm(total=total, desc=label, unit="picture", mininterval=pause, delay=pause, leave=False)

    def add(self, task: ShardTask) -> None:
        self._done += 1
        self._bar.set_postfix_str(f"{self._done} of {self._shards} shards", refresh=False)
        self._bar.update(len(task.pictures))

    def report_loss(self, task: ShardTask, error: WorkerLostError) -> None:
        self._bar.write(f"{self._label}: shard {task.name}: {error}; its pictures are processed again", sys.stderr)

    def close(self) -> None:
        self._bar.close()
        seconds = time.monotonic() - self._started
        rates = f"{self._bar.n / seconds:.1f} pictures/s, {self._done / seconds:.2g} shards/s"
        print(f"{self._label}: {self._bar.n} pictures in {self._done} shards, {rates}", file=sys.stderr)
