"""Child processes for work that strangers' bytes may break: a file that kills its reader costs that one file.

A few long-lived children each do one task at a time, under a limit of memory, of processor time and of patience; one
that dies is replaced. What goes in and comes out is JSON and plain bytes, never pickle: a child is not trusted.
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

AHEAD = 4  # tasks begun for each worker before the first of their answers was taken
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # each child has one core, and reserves no more


class DiedError(RuntimeError):
    """A child died of its task, or was stopped for it; the message says why."""


@dataclass(frozen=True)
class Message:
    """What a child is told and what it answers: JSON, and bytes by name."""

    about: dict[str, Any]
    parts: dict[str, bytes]

    def write(self, pipe: IO[bytes]) -> None:
        """Into a pipe."""
        sizes = {name: len(data) for name, data in self.parts.items()}
        head = json.dumps({"about": self.about, "sizes": sizes}).encode()
        pipe.write(struct.pack(">I", len(head)) + head)
        for data in self.parts.values():
            pipe.write(data)
        pipe.flush()

    @classmethod
    def read(cls, pipe: IO[bytes]) -> "Message":
        """Out of a pipe.

        Raises:
            EOFError: It ends before the message does.
        """
        head = json.loads(_exactly(pipe, struct.unpack(">I", _exactly(pipe, 4))[0]))
        return cls(head["about"], {name: _exactly(pipe, size) for name, size in head["sizes"].items()})


def _exactly(pipe: IO[bytes], size: int) -> bytes:
    data = pipe.read(size)
    if len(data) < size:
        raise EOFError(f"{size} bytes expected, found {len(data)}")
    return data


@dataclass(frozen=True)
class Limits:
    """What one task may take."""

    memory_mb: int  # of address space, the interpreter's own included
    cpu_s: int
    wall_s: float  # also ends what only waits


class Child:
    """One process, at work on one task at a time."""

    def __init__(self, task: str, limits: Limits) -> None:
        self.limits = limits
        told = [task, str(limits.memory_mb), str(limits.cpu_s)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", "from portraitist.sandbox import serve; serve()", *told],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | ONE_THREAD | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        assert self.process.stdin
        assert self.process.stdout
        self.to, self.back = self.process.stdin, self.process.stdout
        self.started = False

    def ask(self, message: Message) -> Message:
        """The answer to a message.

        Raises:
            DiedError: The child died of it; it answers no more.
            RuntimeError: The child did not even start.
        """
        if not self.started:
            try:
                Message.read(self.back)
            except EOFError:
                raise RuntimeError("a child process did not start; its complaint stands above") from None
            self.started = True
        late = threading.Event()

        def stop() -> None:
            late.set()
            self.process.kill()

        timer = threading.Timer(self.limits.wall_s, stop)
        timer.daemon = True
        timer.start()
        try:
            message.write(self.to)
            return Message.read(self.back)
        except (EOFError, OSError):
            code = self.process.wait()
            raise DiedError(f"stopped after {self.limits.wall_s:g} s" if late.is_set() else _told(code)) from None
        finally:
            timer.cancel()

    def close(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.wait()
        self.back.close()
        with contextlib.suppress(BrokenPipeError):  # the rest of a message that it died of
            self.to.close()


def _told(code: int) -> str:
    if -code == signal.SIGXCPU:
        return "it took more processor time than allowed"
    return f"its reader was ended by {signal.Signals(-code).name}" if code < 0 else f"its reader ended with code {code}"


class Sandbox:
    """A pool of children that all do one task, "package.module:function"; `with` ends them.

    The function takes and gives a Message. There is a child for each core that this process may use, or `workers`.
    """

    def __init__(self, task: str, limits: Limits, workers: int | None = None) -> None:
        workers = workers or cores()
        self.task, self.limits, self.workers = task, limits, workers
        self.idle: SimpleQueue[Child] = SimpleQueue()
        self.threads = ThreadPoolExecutor(workers)
        for _ in range(workers):
            self.idle.put(Child(task, limits))

    def map(self, messages: Iterable[Message]) -> Iterator[Message]:
        """The answers in the messages' order, a few in memory at a time. Of one that a child died of: {"died": why}."""
        begun: deque[Future[Message]] = deque()
        for message in messages:
            begun.append(self.threads.submit(self._one, message))
            if len(begun) > AHEAD * self.workers:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()

    def _one(self, message: Message) -> Message:
        child = self.idle.get()
        try:
            return child.ask(message)
        except DiedError as error:
            child.close()
            child = Child(self.task, self.limits)
            return Message({"died": str(error)}, {})
        finally:
            self.idle.put(child)

    def __enter__(self) -> "Sandbox":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.threads.shutdown(cancel_futures=True)
        while not self.idle.empty():
            self.idle.get().close()


def cores() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def serve() -> None:
    """The child's side: answers until the pipe is closed. What libraries print goes nowhere."""
    task, memory_mb, cpu_s = sys.argv[1:]
    module, _, name = task.partition(":")
    function: Callable[[Message], Message] = getattr(importlib.import_module(module), name)
    asked, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    _limit(resource.RLIMIT_AS, int(memory_mb) * 2**20)
    _limit(resource.RLIMIT_CORE, 0)
    Message({}, {}).write(answers)
    while True:
        try:
            message = Message.read(asked)
        except EOFError:
            return
        spent = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
        _limit(resource.RLIMIT_CPU, int(spent) + 1 + int(cpu_s))
        function(message).write(answers)


def _limit(what: int, most: int) -> None:
    hard = resource.getrlimit(what)[1]
    with contextlib.suppress(ValueError, OSError):  # macOS knows some limits only by name
        resource.setrlimit(what, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
