"""The server's metrics in Prometheus format, on a separate port.

Because of the separate port, a reverse proxy does not publish the metrics by accident. With several worker processes,
each value is the sum over all worker processes. The workers write their values to files in the folder that the
environment variable `PROMETHEUS_MULTIPROC_DIR` names, as prometheus_client defines it.
"""

import asyncio
import os
from collections.abc import Callable

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from portraitist.app.memory import resident_with_children_mb

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"  # read when prometheus_client is imported
SAMPLE_S = 1.0  # interval at which the gauges are updated, in seconds
SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)  # upper bounds of the histogram's buckets

REQUESTS = Counter("portraitist_requests", "Requests by endpoint and HTTP status.", ["endpoint", "status"])
REQUEST_SECONDS = Histogram(
    "portraitist_request_seconds",
    "From a request's head to the end of its response.",
    ["endpoint"],
    buckets=SECONDS,
)
REJECTED = Counter("portraitist_rejected", "Requests that were not answered with an avatar.", ["reason"])
QUEUE_LENGTH = Gauge("portraitist_queue_length", "Requests that wait to be painted.", multiprocess_mode="livesum")
PAINTING = Gauge("portraitist_painting", "Requests that are being painted.", multiprocess_mode="livesum")
MEMORY_BYTES = Gauge(
    "portraitist_memory_bytes", "Resident memory of the workers and their decoders.", multiprocess_mode="livesum"
)


async def sample(queue_lengths: Callable[[], tuple[int, int]]) -> None:
    """Update the gauges every `SAMPLE_S` seconds, until cancelled.

    Args:
        queue_lengths: returns the number of waiting requests, and of requests that are being painted.
    """
    while True:
        waiting, painting = queue_lengths()
        QUEUE_LENGTH.set(waiting)
        PAINTING.set(painting)
        MEMORY_BYTES.set(2**20 * resident_with_children_mb())
        await asyncio.sleep(SAMPLE_S)


def forget_process(process: int) -> None:
    """Remove the gauges of a worker process that has ended."""
    if FOLDER_VARIABLE in os.environ:  # otherwise, there are no metrics or no worker processes
        mark_process_dead(process)


def serve_metrics(host: str, port: int, workers: int) -> None:
    """Serve the metrics of all worker processes in a thread.

    Raises:
        OSError: the address is not available.
    """
    registry = REGISTRY
    if workers > 1:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
    start_http_server(port, host, registry)
