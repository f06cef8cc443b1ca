"""Record every request in the metrics and in the access log.

A line of the log contains no address, file name or other text that the client has sent. A path that is not an endpoint
is logged as `other`.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

from portraitist.app.server_metrics import REJECTED, REQUEST_SECONDS, REQUESTS

OTHER = "other"
METHODS = ("GET", "HEAD", "POST")
REASON_KEY = "reason"  # attribute of the request's state: why the request was rejected


class RequestRecorder:
    """ASGI application that wraps another one and records its requests.

    Args:
        app: the application.
        endpoints: first segments of the paths that are recorded by name; all others are recorded as `other`.
        access_log: write each request as a line of JSON to stdout.
    """

    def __init__(self, app: Any, endpoints: Collection[str], access_log: bool) -> None:
        self.app, self.endpoints, self.access_log = app, frozenset(endpoints), access_log

    async def __call__(
        self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        """Pass a request on to the application, and record it after the response."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status, received, sent = time.monotonic(), 500, 0, 0

        async def counted_receive() -> Any:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            return message

        async def counted_send(message: Any) -> None:
            nonlocal status, sent
            status = message.get("status", status)
            sent += len(message.get("body", b""))
            await send(message)

        scope.setdefault("state", {})
        try:
            await self.app(scope, counted_receive, counted_send)
        except asyncio.CancelledError:
            status = 499
            raise
        finally:
            segment = scope["path"].lstrip("/").partition("/")[0]  # the path of OPTIONS * has no slash
            endpoint = f"/{segment}" if segment in self.endpoints else OTHER
            seconds, reason = time.monotonic() - started, scope["state"].get(REASON_KEY)
            REQUESTS.labels(endpoint, status).inc()
            REQUEST_SECONDS.labels(endpoint).observe(seconds)
            if reason:
                REJECTED.labels(reason).inc()
            if self.access_log:
                write_event(
                    "request",
                    method=scope["method"] if scope["method"] in METHODS else OTHER,
                    endpoint=endpoint,
                    status=status,
                    **({"reason": reason} if reason else {}),
                    seconds=round(seconds, 3),
                    bytes_received=received,
                    bytes_sent=sent,
                )


def write_event(event: str, **fields: Any) -> None:
    """Write an event and its fields as a line of JSON to stdout; ignore errors, such as a full disk."""
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
    with suppress(OSError):
        sys.stdout.write(json.dumps({"time": now, "event": event, "process": os.getpid(), **fields}) + "\n")
        sys.stdout.flush()
