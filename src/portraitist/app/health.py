"""Endpoints for load balancers and supervisors: `/healthz` and `/readyz`."""

from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route


def health_routes(not_ready: Callable[[], str]) -> list[Route]:
    """Return the routes of both endpoints.

    Args:
        not_ready: returns the reason why the server cannot accept pictures now, or an empty string if it can.
    """

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> Response:
        reason = not_ready()
        return JSONResponse({"status": reason or "ok"}, 503 if reason else 200)

    return [Route("/healthz", healthz), Route("/readyz", readyz)]
