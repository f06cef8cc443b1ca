"""Graceful shutdown: after a signal, finish accepted requests within a time limit, and refuse new ones.

A request is accepted (admitted to the queue) when its upload is complete.
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

SIGNALS = (signal.SIGTERM, signal.SIGINT)
POLL_S = 0.05
Result = TypeVar("Result")


class ShuttingDownError(RuntimeError):
    """The server is shutting down and does not accept this request."""

    def __init__(self) -> None:
        super().__init__("the server is shutting down")


class Shutdown:
    """State of a shutdown; for use in one event loop.

    When uvicorn receives a signal, it closes its socket at once, and new clients get no HTTP response. Therefore, the
    signal is passed on to uvicorn only when all accepted requests are answered, or when `limit_s` has passed. Until
    then, new requests and incomplete uploads are refused with an HTTP response.

    Args:
        limit_s: seconds to finish accepted requests.

    Attributes:
        begun: set by the first signal.
        expired: set when all accepted requests are answered, or when `limit_s` has passed. After `limit_s`, accepted
            requests that still wait for a painting thread are refused.
    """

    def __init__(self, limit_s: float) -> None:
        self.limit_s, self.begun, self.expired = limit_s, asyncio.Event(), asyncio.Event()
        self._draining: asyncio.Task[None] | None = None

    async def until_begun(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Run `work` and return its result; cancel it when the shutdown begins.

        Raises:
            ShuttingDownError: the shutdown has begun.
        """
        if self.begun.is_set():
            work.close()
            raise ShuttingDownError
        task, begun = asyncio.ensure_future(work), asyncio.ensure_future(self.begun.wait())
        try:
            await asyncio.wait({task, begun}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise ShuttingDownError
        finally:
            task.cancel()
            task.add_done_callback(
                lambda ended: ended.cancelled() or ended.exception()
            )  # retrieve the exception; otherwise, asyncio logs it
            begun.cancel()

    @contextmanager
    def delay_signals(self, admitted: Callable[[], int]) -> Iterator[None]:
        """Delay the handlers of `SIGNALS` until all accepted requests are answered, or `limit_s` has passed.

        A second Ctrl-C ends the process at once. Only the main thread can handle signals; in other threads, this
        function does nothing.

        Args:
            admitted: returns the number of accepted requests that are not answered yet.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        handlers = {kind: signal.getsignal(kind) for kind in SIGNALS}

        def handle(kind: int, frame: FrameType | None) -> None:
            handler = handlers[signal.Signals(kind)]
            stop = (lambda: handler(kind, frame)) if callable(handler) else (lambda: None)
            if self.begun.is_set() and kind == signal.SIGINT:
                stop()
            else:
                loop.call_soon_threadsafe(self._begin, admitted, stop)

        for kind in SIGNALS:
            signal.signal(kind, handle)
        try:
            yield
        finally:
            for kind, handler in handlers.items():
                signal.signal(kind, handler)

    def _begin(self, admitted: Callable[[], int], stop: Callable[[], None]) -> None:
        if not self.begun.is_set():
            self.begun.set()
            self._draining = asyncio.ensure_future(self._drain(admitted, stop))

    async def _drain(self, admitted: Callable[[], int], stop: Callable[[], None]) -> None:
        end = asyncio.get_running_loop().time() + self.limit_s
        while admitted() and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(POLL_S)
        self.expired.set()
        stop()
