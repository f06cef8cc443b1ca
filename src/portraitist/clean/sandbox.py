"""Worker processes with limits, to decode untrusted files: if a file crashes the decoder, only that file is lost.

Each worker runs one task at a time. The memory, the CPU time and the wall time of a task are limited. A worker that
dies is replaced.

Messages are JSON and plain bytes, never pickle. A malicious file could take over a worker, and a pickle from this
worker could then run any code in the parent process.

No library is used: the pools of the standard library, joblib and loky can neither set resource limits per task, nor
kill one task without losing the others.
"""

import contextlib
import importlib
import json
import os
import resource
import signal
import struct
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from types import TracebackType
from typing import IO, Any

from portraitist.core.cores import available_cores

MAX_PENDING = 4  # tasks per worker that are submitted before their results are read; limits the memory
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # because there is one worker per core


class WorkerDiedError(RuntimeError):
    """A worker crashed during a task, or the task exceeded a limit; the message says which."""


@dataclass(frozen=True)
class Message:
    """A request to a worker, or its response."""

    content: dict[str, Any]  # values that JSON can represent
    parts: dict[str, bytes]  # byte strings, such as files, by name

    def write(self, pipe: IO[bytes]) -> None:
        """Write the message to a pipe.

        Raises:
            TypeError: a part is not a byte string; nothing was written.
        """
        if not all(isinstance(data, bytes) for data in self.parts.values()):
            raise TypeError(
                f"parts must be bytes, found {', '.join(type(data).__name__ for data in self.parts.values())}"
            )
        sizes = {name: len(data) for name, data in self.parts.items()}
        header = json.dumps({"content": self.content, "sizes": sizes}).encode()
        pipe.write(struct.pack(">I", len(header)) + header)
        for data in self.parts.values():
            pipe.write(data)
        pipe.flush()

    @classmethod
    def read(cls, pipe: IO[bytes]) -> "Message":
        """Read a message from a pipe.

        Raises:
            EOFError: the pipe was closed before the end of the message.
        """
        header = json.loads(_read_exactly(pipe, struct.unpack(">I", _read_exactly(pipe, 4))[0]))
        return cls(header["content"], {name: _read_exactly(pipe, size) for name, size in header["sizes"].items()})


def _read_exactly(pipe: IO[bytes], size: int) -> bytes:
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError(f"the pipe was closed: expected {size} bytes, found {len(data)}")
    return data


@dataclass(frozen=True)
class Limits:
    """Resources that one task may use."""

    memory_mb: int  # address space of the process, including the Python interpreter, in units of 2^20 bytes
    cpu_s: int  # CPU time
    wall_s: float  # wall time


class Worker:
    """One worker process, which runs one task at a time."""

    def __init__(self, task: str, limits: Limits) -> None:
        self.limits = limits
        arguments = [task, str(limits.memory_mb), str(limits.cpu_s)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from portraitist.clean.sandbox import serve; serve()", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | ONE_THREAD | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert self.process.stdin
        assert self.process.stdout
        self._requests, self._responses = self.process.stdin, self.process.stdout
        self._started = False

    def run(self, request: Message) -> Message:
        """Send a request and wait for the response.

        Raises:
            WorkerDiedError: the worker crashed or exceeded a limit; the worker cannot be used again.
            RuntimeError: the worker process did not start.
        """
        if not self._started:
            try:
                Message.read(self._responses)
            except EOFError:
                raise RuntimeError("a worker process did not start; see its error message above") from None
            self._started = True
        timed_out = threading.Event()

        def kill() -> None:
            timed_out.set()
            self.process.kill()

        timer = threading.Timer(self.limits.wall_s, kill)
        timer.daemon = True
        timer.start()
        try:
            request.write(self._requests)
            return Message.read(self._responses)
        except (EOFError, OSError):
            code = self.process.wait()
            reason = f"decoding was stopped after {self.limits.wall_s:g} s" if timed_out.is_set() else _describe(code)
            raise WorkerDiedError(reason) from None
        finally:
            timer.cancel()

    def close(self) -> None:
        """Kill the process."""
        self.process.kill()
        self.process.wait()
        self._responses.close()
        with contextlib.suppress(BrokenPipeError):  # there may be unsent bytes of the request that killed the worker
            self._requests.close()


def _describe(exit_code: int) -> str:
    if -exit_code == signal.SIGXCPU:
        return "decoding took more CPU time than allowed"
    if exit_code < 0:
        return f"the decoder was ended by signal {signal.Signals(-exit_code).name}"
    return f"the decoder exited with code {exit_code}"


class Sandbox:
    """A context manager for a pool of worker processes that run the same function.

    Args:
        task: the function, as "package.module:function"; it takes and returns a Message.
        limits: resources that one call of the function may use.
        workers: number of processes; by default, one per CPU core.
    """

    def __init__(self, task: str, limits: Limits, workers: int | None = None) -> None:
        self.workers = workers or available_cores()
        self._task, self._limits = task, limits
        self._idle: SimpleQueue[Worker | None] = SimpleQueue()  # None: a worker that must be started again
        self._threads = ThreadPoolExecutor(self.workers)
        for _ in range(self.workers):
            self._idle.put(Worker(task, limits))

    def map(self, requests: Iterable[Message]) -> Iterator[Message]:
        """Yield the responses in the order of the requests; few of them are in memory at a time.

        If the worker died during a request, the content of the response is {"died": reason}.
        """
        pending: deque[Future[Message]] = deque()
        for request in requests:
            pending.append(self._threads.submit(self._run, request))
            if len(pending) > MAX_PENDING * self.workers:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()

    def _run(self, request: Message) -> Message:
        worker, response = self._idle.get(), None
        try:
            worker = worker or Worker(self._task, self._limits)
            response = worker.run(request)
            return response
        except WorkerDiedError as error:
            return Message({"died": str(error)}, {})
        finally:
            if response is None and worker:
                # Its pipes may contain a part of a message, which the next task would get, so it is never used again.
                worker.close()
            self._idle.put(None if response is None else worker)

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._threads.shutdown(cancel_futures=True)
        while not self._idle.empty():
            if worker := self._idle.get():
                worker.close()


def serve() -> None:
    """Run a worker process, which answers requests until the pipe is closed.

    The arguments are in sys.argv: task, memory in 2^20 bytes, CPU time in seconds. Everything that the task prints is
    discarded.
    """
    task, memory_mb, cpu_s = sys.argv[1:]
    module, _, name = task.partition(":")
    function: Callable[[Message], Message] = getattr(importlib.import_module(module), name)
    requests, responses = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    _limit(resource.RLIMIT_AS, int(memory_mb) * 2**20)
    _limit(resource.RLIMIT_CORE, 0)
    Message({}, {}).write(responses)
    while True:
        try:
            request = Message.read(requests)
        except EOFError:
            return
        used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        _limit(resource.RLIMIT_CPU, int(used) + 1 + int(cpu_s))
        function(request).write(responses)


def _limit(kind: int, value: int) -> None:
    hard = resource.getrlimit(kind)[1]
    with contextlib.suppress(ValueError, OSError):  # macOS does not support every limit
        resource.setrlimit(kind, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))
