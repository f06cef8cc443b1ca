import asyncio
import signal

import pytest

from portraitist.app.shutdown import Shutdown, ShuttingDownError


@pytest.fixture
def received():
    """The signals that reach the handler below `Shutdown`, which stands for uvicorn's."""
    numbers = []
    handlers = {
        kind: signal.signal(kind, lambda kind, frame: numbers.append(kind)) for kind in (signal.SIGTERM, signal.SIGINT)
    }
    yield numbers
    for kind, handler in handlers.items():
        signal.signal(kind, handler)


def test_signal_is_delayed_until_requests_are_answered(received):
    async def run():
        shutdown, admitted = Shutdown(limit_s=60.0), [2]
        with shutdown.delay_signals(lambda: admitted[0]):
            signal.raise_signal(signal.SIGTERM)
            await asyncio.sleep(0.2)
            assert (shutdown.begun.is_set(), shutdown.expired.is_set(), received) == (True, False, [])
            admitted[0] = 0
            await asyncio.wait_for(shutdown.expired.wait(), 5)
        assert received == [signal.SIGTERM]

    asyncio.run(run())


def test_shutdown_has_a_time_limit(received):
    async def run():
        shutdown = Shutdown(limit_s=0.1)
        with shutdown.delay_signals(lambda: 1):
            signal.raise_signal(signal.SIGTERM)
            await asyncio.wait_for(shutdown.expired.wait(), 5)
        assert received == [signal.SIGTERM]

    asyncio.run(run())


def test_second_interrupt_does_not_wait(received):
    async def run():
        shutdown = Shutdown(limit_s=60.0)
        with shutdown.delay_signals(lambda: 1):
            signal.raise_signal(signal.SIGINT)
            await shutdown.begun.wait()
            assert received == []
            signal.raise_signal(signal.SIGINT)
            assert received == [signal.SIGINT]

    asyncio.run(run())


def test_shutdown_cancels_unfinished_work(received):
    async def run():
        shutdown, cancelled = Shutdown(limit_s=0.0), []

        async def upload(seconds):
            try:
                await asyncio.sleep(seconds)
                return "received"
            except asyncio.CancelledError:
                cancelled.append(seconds)
                raise

        with shutdown.delay_signals(lambda: 0):
            assert await shutdown.until_begun(upload(0)) == "received"
            asyncio.get_running_loop().call_later(0.05, signal.raise_signal, signal.SIGTERM)
            with pytest.raises(ShuttingDownError):
                await shutdown.until_begun(upload(60))
            with pytest.raises(ShuttingDownError):
                await shutdown.until_begun(upload(61))
            await asyncio.sleep(0)
        assert cancelled == [60]

    asyncio.run(run())
