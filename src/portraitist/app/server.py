"""The HTTP server: serves the web page, and paints uploaded pictures.

Pictures are kept in memory until the request is answered. They are neither written to disk nor logged. The page loads
nothing from other hosts.
"""

import asyncio
import logging
import os
import re
import secrets
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from weakref import WeakValueDictionary

from PIL import Image
from starlette.applications import Starlette
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from portraitist.app.avatar import DEFAULT_SIZE_PX, Avatar, ModelError, Portraitist, RejectedError, StyleError
from portraitist.app.compositing import Finish, FinishError, apply_finish, encode_avatar, load_background
from portraitist.app.connections import BACKLOG, LoopErrorLog
from portraitist.app.decoders import Decoders
from portraitist.app.health import health_routes
from portraitist.app.memory import (
    DECODER_MB,
    THREAD_MB,
    MemoryPlan,
    default_memory_mb,
    release_free_memory,
    resident_mb,
)
from portraitist.app.model_file import HOUSE_STYLE
from portraitist.app.page_files import StylePreviews, data_uri, encode_webp, page_files
from portraitist.app.request_log import REASON_KEY, RequestRecorder
from portraitist.app.request_queue import Admissions, DuplicateTicketError, QueueFullError, RequestQueue
from portraitist.app.server_metrics import forget_process, sample
from portraitist.app.shutdown import Shutdown, ShuttingDownError
from portraitist.app.styles import StyleOptions
from portraitist.clean.decode import CleanPicture
from portraitist.core.outcome import Status

MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
}
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
FILES = page_files("server_backend.js")
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
HTTP_STATUS = {Status.NOT_A_PICTURE: 415, Status.UNREADABLE: 415, Status.ANIMATED: 415, Status.TOO_LARGE: 413}
MAX_FACES = 12  # maximum number of faces that are painted in a picture
MAX_FIELD_CHARS = 200  # maximum length of a form field that is not a file
FORM_OVERHEAD_BYTES = 2000  # size of a multipart body in addition to its pictures
FILE_FIELDS = ("selfie", "background", "like")
TEXT_FIELDS = ("face", "style", "strength", "keep_colours", "align", "background", "shape", "size")
OTHER_PICTURES = {"background": "the background picture", "like": "the portrait to paint like"}  # names in messages
POLL_S = 1.0  # interval at which the connection of a waiting client is checked, in seconds
CLOSE_S = 3  # seconds for sending responses after a shutdown's time limit; then connections are closed
REASONS = {  # reasons of errors in metrics and log, by HTTP status
    400: "malformed",
    408: "slow_upload",
    413: "too_large",
    415: "malformed",
    429: "rate_limit",
    499: "disconnected",
}
Handler = Callable[[dict[str, Any]], Response]


@dataclass(frozen=True)
class Limits:
    """Limits of the server.

    Attributes:
        megabytes: maximum size of one picture, in units of 10**6 bytes.
        memory_mb: limit on the memory of one worker process together with its decoders (the child processes that decode
            uploaded pictures), in units of 2**20 bytes. In `server_processes.Settings`: limit of all workers together.
            None: `default_memory_mb` computes the limit of each worker from its number of cores.
        waiting: number of requests that may wait to be painted, in all worker processes together.
        per_minute: number of pictures per minute from one address, in all worker processes together.
        upload_s: maximum time for one upload, in seconds.
        silent_s: maximum time without data during an upload, in seconds.
        shutdown_s: time to finish accepted requests after SIGTERM, in seconds.
    """

    megabytes: float = 20.0
    memory_mb: int | None = None
    waiting: int = 20
    per_minute: int = 30
    upload_s: float = 60.0
    silent_s: float = 5.0
    shutdown_s: float = 20.0


class RefusedError(HTTPException):
    """The server is too busy; the client may send the request again after `retry_after_s` seconds.

    Args:
        reason: short name for metrics and log.
        status: HTTP status, 429 or 503.
        message: one sentence for the client.
        retry_after_s: seconds until the client may try again.
    """

    def __init__(self, reason: str, status: int, message: str, retry_after_s: int = 5) -> None:
        super().__init__(status, message, {"Retry-After": str(retry_after_s)})
        self.reason = reason


class _Endpoints:
    """The handlers of requests. They share the model, the memory limits, the queue and the rate limits."""

    decoders: Decoders

    def __init__(self, portraitist: Portraitist, cores: int, limits: Limits, admissions: Admissions) -> None:
        self.portraitist, self.limits, self.admissions = portraitist, limits, admissions
        self.memory = plan_memory(limits, cores)
        self.queue, self.shutdown = RequestQueue(self.memory.threads, admissions), Shutdown(limits.shutdown_s)
        self.pool = ThreadPoolExecutor(self.memory.threads)
        self.previews = StylePreviews(portraitist)
        self.preview_lock = asyncio.Lock()  # one preview at a time, so that a photo waits for one at most
        self.uploads: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()  # by client address
        self.upload_bytes: Counter[str] = Counter()  # bytes of uploads in memory, by client address
        self.capacity = self.memory.threads + limits.waiting  # number of requests whose uploads may be in memory

    async def faces(self, request: Request) -> Response:
        """Return, as JSON, the layers of each face, from which the page composes avatars."""
        return await self._handle(request, self._paint_faces)

    async def avatar(self, request: Request) -> Response:
        """Return one avatar as a PNG, the same picture that the command `portraitist paint` writes.

        The body of the request is a multipart form. FILE_FIELDS lists the fields that may be files, and TEXT_FIELDS the
        fields that may be text. The field `background` may be either.
        """
        return await self._handle(request, self._paint_avatar)

    async def styles(self, _: Request) -> Response:
        """Return, as JSON, name and address of the preview of each style of the model."""
        names = self.portraitist.style_names
        return JSONResponse([{"name": name, "preview": f"preview/{quote(name, safe='')}"} for name in names])

    async def preview(self, request: Request) -> Response:
        """Return an example face in a style, as a WebP picture."""
        style = request.path_params["style"]
        if style not in self.portraitist.style_names:
            raise HTTPException(404, "not found")
        async with self.preview_lock:
            data = await asyncio.get_running_loop().run_in_executor(self.pool, self.previews.__getitem__, style)
        return Response(data, media_type="image/webp")

    async def position(self, request: Request) -> Response:
        """Return, as JSON, the queue position of the request that a ticket identifies; null if it is not waiting."""
        return JSONResponse({"position": self.admissions.position(request.path_params["ticket"])})

    def not_ready(self) -> str:
        """Return the reason why the server cannot accept pictures now, or an empty string if it can."""
        if self.shutdown.begun.is_set():
            return "shutting down"
        return "" if self._memory_suffices() else "no memory left"

    @property
    def admitted(self) -> int:
        """Number of this process's requests that wait or are being painted."""
        return self.queue.waiting + self.queue.painting

    async def _handle(self, request: Request, handler: Handler) -> Response:
        address = request.client.host if request.client else ""
        retry_after_s = self.admissions.hit(address)
        if retry_after_s:
            limit = f"at most {self.limits.per_minute} pictures per minute are allowed"
            raise RefusedError("rate_limit", 429, f"{limit}; try again in {retry_after_s} s", retry_after_s)
        if float(request.headers.get("content-length") or 0) > _max_body_bytes(self.limits):
            raise self._too_large()
        ticket = request.headers.get("x-ticket", "")[:64] or secrets.token_urlsafe(12)
        try:
            with ExitStack() as resources:
                count_bytes = resources.enter_context(self._upload_memory(address))
                fields = await self.shutdown.until_begun(self._receive(request, address, count_bytes))
                turn = resources.enter_context(self.queue.admit(ticket))
                return await self._wait_and_run(request, turn, fields, handler)
        except QueueFullError as error:
            raise RefusedError("queue_full", 503, f"{error}; try again in a few seconds") from error
        except ShuttingDownError as error:
            raise RefusedError("shutting_down", 503, f"{error}; try again in a few seconds") from error
        except DuplicateTicketError as error:
            raise HTTPException(400, str(error)) from error

    async def _receive(self, request: Request, address: str, count_bytes: Callable[[int], None]) -> dict[str, Any]:
        async with self._upload_slot(address):
            return await self._read_form(request, count_bytes)

    def _upload_slot(self, address: str) -> asyncio.Semaphore:
        """Return the semaphore of a client address; it limits simultaneous uploads to a quarter of `capacity`."""
        return self.uploads.setdefault(address, asyncio.Semaphore(max(1, self.capacity // 4)))

    @contextmanager
    def _upload_memory(self, address: str) -> Iterator[Callable[[int], None]]:
        """Count the uploaded bytes of one request until the request is answered.

        Incomplete uploads are not in the queue, so the queue does not limit their memory. Instead, the total number of
        uploaded bytes in memory is limited. One client address may use a quarter of this limit.

        Yields:
            A function that must be called with the number of bytes of each received chunk. It raises `RefusedError` if
            a limit is exceeded.
        """
        limit = 1e6 * self.memory.uploads_mb
        limit_per_address = max(limit / 4, _max_body_bytes(self.limits))
        received = 0

        def count(size: int) -> None:
            nonlocal received
            if self.upload_bytes.total() + size > limit or self.upload_bytes[address] + size > limit_per_address:
                raise RefusedError("upload_memory", 503, "too many uploads at once; try again in a few seconds")
            received += size
            self.upload_bytes[address] += size

        try:
            yield count
        finally:
            self.upload_bytes[address] -= received
            if not self.upload_bytes[address]:
                del self.upload_bytes[address]

    def _check_memory(self) -> None:
        """Raise `RefusedError` if painting would exceed the memory limit, for example because of unread responses."""
        if not self._memory_suffices():
            raise RefusedError("memory", 503, "the server has no memory left; try again in a few seconds")

    def _memory_suffices(self) -> bool:
        if resident_mb() + THREAD_MB > self.memory.process_mb:
            release_free_memory()
        return resident_mb() + THREAD_MB <= self.memory.process_mb

    async def _wait_and_run(
        self, request: Request, turn: asyncio.Future[None], fields: dict[str, Any], handler: Handler
    ) -> Response:
        while not (await asyncio.wait([turn], timeout=POLL_S))[0]:
            if await request.is_disconnected():
                raise ClientDisconnect
            if self.shutdown.expired.is_set():
                raise ShuttingDownError
        self._check_memory()
        return await asyncio.get_running_loop().run_in_executor(self.pool, handler, fields)

    def _too_large(self) -> HTTPException:
        return HTTPException(413, f"a picture may have at most {self.limits.megabytes:g} megabytes")

    async def _read_form(self, request: Request, count_bytes: Callable[[int], None]) -> dict[str, Any]:
        """Return the form's fields by name: text as str, files as bytes."""
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            raise HTTPException(415, "the body must be multipart/form-data with a file `selfie`")
        parser = MultiPartParser(
            request.headers,
            self._body(request, count_bytes),
            max_files=len(FILE_FIELDS),
            max_fields=len(TEXT_FIELDS),
            max_part_size=MAX_FIELD_CHARS,
        )
        parser.spool_max_size = int(_max_body_bytes(self.limits)) + 1  # never written to disk
        try:
            form = await asyncio.wait_for(parser.parse(), self.limits.upload_s)
        except asyncio.TimeoutError as error:
            raise HTTPException(408, f"the upload took longer than {self.limits.upload_s:g} s") from error
        except MultiPartException as error:
            raise HTTPException(400, f"malformed form: {error.message}") from error
        except (LookupError, ValueError) as error:  # `charset=` is unknown, or a field is not encoded in it
            raise HTTPException(400, "malformed form: a field cannot be decoded by its charset; use utf-8") from error
        fields = await _read_fields(form)
        if any(len(value) > self.limits.megabytes * 1e6 for value in fields.values() if isinstance(value, bytes)):
            raise self._too_large()
        return fields

    async def _body(self, request: Request, count_bytes: Callable[[int], None]) -> AsyncGenerator[bytes, None]:
        """Yield the chunks of the request's body; stop with an error if it is too large or too slow."""
        received, chunks = 0, request.stream()
        while True:
            try:
                chunk = await asyncio.wait_for(anext(chunks), self.limits.silent_s)
            except StopAsyncIteration:
                return
            except asyncio.TimeoutError as error:
                raise HTTPException(408, f"no data was received for {self.limits.silent_s:g} s") from error
            received += len(chunk)
            if received > _max_body_bytes(self.limits):
                raise self._too_large()
            count_bytes(len(chunk))
            yield chunk

    def _paint(
        self, fields: dict[str, Any], selected: slice, size_px: int = DEFAULT_SIZE_PX
    ) -> tuple[list[Avatar | RejectedError], int]:
        if not isinstance(fields.get("selfie"), bytes):
            raise HTTPException(400, "the file `selfie` is missing")
        style = self.portraitist.read_style(self._style_options(fields))
        cleaned = self._decode(fields, "selfie")
        crops = self.portraitist.crops(cleaned)
        align = self._flag(fields, "align")
        return self.portraitist.paint_crops(cleaned, crops[selected], size_px, align, style), len(crops)

    def _style_options(self, fields: dict[str, Any]) -> StyleOptions:
        """Convert the form's fields `style`, `like`, `strength` and `keep_colours`."""
        strength = fields.get("strength", "1")
        if not re.fullmatch(r"[01](\.\d{1,4})?|\.\d{1,4}", strength):
            raise FinishError(f"strength is {strength!r}; it must be a number from 0 to 1 with at most 4 decimals")
        example = Image.fromarray(self._decode(fields, "like").picture) if "like" in fields else None
        return StyleOptions(
            fields.get("style", HOUSE_STYLE), example, float(strength), self._flag(fields, "keep_colours")
        )

    def _decode(self, fields: dict[str, Any], name: str) -> CleanPicture:
        """Decode an uploaded picture. The error of a picture that is not the selfie says which picture it is."""
        try:
            return self.decoders.read(fields[name])
        except RejectedError as error:
            if name not in OTHER_PICTURES:
                raise
            raise RejectedError(error.status, f"{OTHER_PICTURES[name]}: {error}") from error

    def _flag(self, fields: dict[str, Any], name: str) -> bool:
        value = fields.get(name, "false")
        if value not in ("true", "false"):
            raise FinishError(f"{name} is {value!r}; allowed are true and false")
        return bool(value == "true")

    def _paint_faces(self, fields: dict[str, Any]) -> Response:
        results, count = self._paint(fields, slice(MAX_FACES))
        rejected = [result for result in results if isinstance(result, RejectedError)]
        if len(rejected) == len(results):
            raise rejected[0]
        faces = [_face_json(result) if isinstance(result, Avatar) else {"error": str(result)} for result in results]
        return JSONResponse({"faces": faces, "left_out": count - len(results)})

    def _paint_avatar(self, fields: dict[str, Any]) -> Response:
        face, size = fields.get("face", "1"), fields.get("size") or None
        if not (_is_number(face) and 1 <= int(face) <= MAX_FACES):
            raise FinishError(f"face is {face!r}; allowed are 1 to {MAX_FACES}")
        if size is not None and not _is_number(size):
            raise FinishError(f"size is {size!r}; expected a number of pixels, such as 512")
        background = fields.get("background", "backdrop")
        if isinstance(background, bytes):
            background = load_background(self._decode(fields, "background"))
        finish = Finish.parse(background, fields.get("shape", "square"), int(size) if size else None)
        selected = slice(int(face) - 1, int(face))
        results, count = self._paint(fields, selected, finish.size_px or DEFAULT_SIZE_PX)
        if not results:
            raise FinishError(f"face is {face}, but the number of faces in the picture is {count}")
        if isinstance(results[0], RejectedError):
            raise results[0]
        return Response(encode_avatar(apply_finish(results[0], finish), "PNG"), media_type="image/png")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) < 8


async def _read_fields(form: FormData) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for name, value in form.multi_items():
        fields[name] = await value.read() if isinstance(value, UploadFile) else value
    await form.close()
    if wrong := [name for name, value in fields.items() if isinstance(value, bytes) and name not in FILE_FIELDS]:
        *others, last = (f"`{name}`" for name in FILE_FIELDS)
        raise HTTPException(
            400, f"the form field {wrong[0]!r} must not be a file; files are {', '.join(others)} and {last}"
        )
    if isinstance(fields.get("like"), str):
        raise HTTPException(400, "the form field `like` must be a file, such as -F like=@portrait.jpg for curl")
    if unknown := fields.keys() - {*FILE_FIELDS, *TEXT_FIELDS}:
        allowed = ", ".join(dict.fromkeys([*FILE_FIELDS, *TEXT_FIELDS]))
        raise HTTPException(400, f"unknown form field {min(unknown)!r}; allowed are {allowed}")
    return fields


def _face_json(avatar: Avatar) -> dict[str, str]:
    """Return a dictionary with the layers from which the page composes an avatar, as data URIs.

    The script `compose.js` uses the same names of layers.
    """
    layers = {
        "before": Image.fromarray(avatar.selfie),
        "transparent": apply_finish(avatar, Finish("transparent")),
        "keep": apply_finish(avatar, Finish("keep")),
        "backdrop": apply_finish(avatar, Finish("backdrop")),
    }
    return {name: data_uri(encode_webp(picture)) for name, picture in layers.items()}


async def _static_file(request: Request) -> Response:
    path = FILES.get(request.path_params.get("name") or "index.html")
    if path is None:
        raise HTTPException(404, "not found")
    return Response(path.read_bytes(), media_type=MEDIA_TYPES[path.suffix])


async def _error_response(request: Request, error: Exception) -> Response:
    """Return an error as a JSON response: one sentence without internal details, and the HTTP status."""
    status, headers = 500, None
    message = "internal error; the picture was not stored"
    if isinstance(error, HTTPException):
        status, message, headers = error.status_code, error.detail, error.headers
    elif isinstance(error, RejectedError):
        status, message = HTTP_STATUS.get(error.status, 422), str(error)
    elif isinstance(error, (FinishError, StyleError)):
        status, message = 400, str(error)
    elif isinstance(error, ModelError):
        message = "the server's model is damaged; the picture was not stored"
    elif isinstance(error, ClientDisconnect):
        status, message = 499, "the client closed the connection"
    if reason := _rejection_reason(error, status):
        setattr(request.state, REASON_KEY, reason)
    return JSONResponse({"error": message}, status, headers)


def _rejection_reason(error: Exception, status: int) -> str:
    if isinstance(error, RejectedError):
        return error.status.value
    return error.reason if isinstance(error, RefusedError) else REASONS.get(status, "")


class _SecurityHeaders:
    """ASGI middleware that adds the headers in `HEADERS` to every response."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                own = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *own]
            await send(message)

        await self.app(scope, receive, send_with_headers)


def plan_memory(limits: Limits, cores: int) -> MemoryPlan:
    """Divide the memory limit of one worker process among its decoders, painting threads and uploads.

    Memory that the process uses already, mostly for the model, is not available for painting and uploads.

    Raises:
        ValueError: `limits.memory_mb` is too small for one picture.
    """
    memory_mb = limits.memory_mb or default_memory_mb(cores)
    return MemoryPlan.divide(memory_mb, resident_mb(), _max_body_bytes(limits) / 1e6, cores)


def _max_body_bytes(limits: Limits) -> float:
    return len(FILE_FIELDS) * limits.megabytes * 1e6 + FORM_OVERHEAD_BYTES


def create_app(
    portraitist: Portraitist,
    cores: int,
    limits: Limits,
    hosts: list[str],
    admissions: Admissions | None = None,
    access_log: bool = False,
) -> RequestRecorder:
    """Create the ASGI application.

    Args:
        portraitist: the model.
        cores: maximum number of pictures that are painted at the same time; `limits.memory_mb` may allow fewer.
        limits: limits on uploads, memory, waiting requests and requests per minute.
        hosts: accepted values of the Host header; protects a local server against DNS rebinding. `*` accepts any.
        admissions: queue and rate limits that several worker processes share; by default, this process has its own.
        access_log: write each request as a line of JSON to stdout.

    Raises:
        ValueError: `limits.memory_mb` is too small for one picture.
    """
    if admissions is None:
        admissions = Admissions(limits.waiting, limits.per_minute)
    endpoints = _Endpoints(portraitist, cores, limits, admissions)
    logging.getLogger("python_multipart").setLevel(logging.CRITICAL)  # it logs a line for each malformed form

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        asyncio.get_running_loop().set_exception_handler(LoopErrorLog())
        for ended in admissions.register(os.getpid(), endpoints.memory.threads):
            forget_process(ended)
        sampling = asyncio.ensure_future(sample(lambda: (endpoints.queue.waiting, endpoints.queue.painting)))
        endpoints.decoders = Decoders(endpoints.memory.decoders, DECODER_MB)
        with endpoints.decoders, endpoints.shutdown.delay_signals(lambda: endpoints.admitted):
            yield
        sampling.cancel()
        endpoints.pool.shutdown(wait=False, cancel_futures=True)

    routes = [
        Route("/", _static_file),
        *health_routes(endpoints.not_ready),
        Route("/faces", endpoints.faces, methods=["POST"]),
        Route("/avatar", endpoints.avatar, methods=["POST"]),
        Route("/styles", endpoints.styles),
        Route("/preview/{style:path}", endpoints.preview),
        Route("/position/{ticket}", endpoints.position),
        Route("/{name}", _static_file),
    ]
    errors = (HTTPException, RejectedError, FinishError, StyleError, ModelError, ClientDisconnect, Exception)
    middleware = [Middleware(_SecurityHeaders), Middleware(TrustedHostMiddleware, allowed_hosts=hosts)]
    handlers = dict.fromkeys(errors, _error_response)
    app = Starlette(routes=routes, middleware=middleware, exception_handlers=handlers, lifespan=lifespan)
    names = {route.path.split("/")[1] for route in routes} - {"{name}"}
    return RequestRecorder(app, names, access_log)


def uvicorn_options(forwarded_allow_ips: str) -> dict[str, Any]:
    """Return arguments for `uvicorn.Config`.

    Args:
        forwarded_allow_ips: addresses of reverse proxies whose X-Forwarded-For header is trusted, comma-separated.
    """
    return {
        "ws": "none",
        "backlog": BACKLOG,
        "log_level": "critical",
        "access_log": False,
        "server_header": False,
        "proxy_headers": True,
        "forwarded_allow_ips": forwarded_allow_ips,
        "timeout_keep_alive": 5,
        "timeout_graceful_shutdown": CLOSE_S,
    }
