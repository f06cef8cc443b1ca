"""HTTP to avatar.py and back: one page, and two addresses that take a picture. Nothing of a picture is kept anywhere.

A picture is in memory from its first byte to the answer's last, and no longer; no file is written, no line logged, and
the page asks no other machine for anything.
"""

import asyncio
import base64
import io
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
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

from portraitist.app.avatar import Avatar, Portraitist, RejectedError, read_selfie
from portraitist.app.compositing import Finish, FinishError, apply_finish, encode_avatar, load_background
from portraitist.app.request_queue import QueueFullError, RateLimiter, RequestQueue
from portraitist.core.outcome import Status

SITE = Path(__file__).with_name("static_site")
KINDS = {".html": "text/html; charset=utf-8", ".css": "text/css", ".js": "text/javascript"}
BACKEND = {"backend.js": "by_server.js"}  # the page's other one is on_device.js
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
STATUS = {Status.NOT_A_PICTURE: 415, Status.UNREADABLE: 415, Status.ANIMATED: 415, Status.TOO_LARGE: 413}
MOST_FACES = 12  # of one picture
FIELD = 200  # characters of a word in a form
FORM = 2000  # bytes of a form beside its pictures
FILES = ("selfie", "background")  # which parts of a form may be files
LOOK_S = 1.0  # how often it is seen whether whoever waits is still there
Work = Callable[[dict[str, Any]], Response]


@dataclass(frozen=True)
class Limits:
    """What the server takes."""

    megabytes: float = 20.0
    waiting: int = 20
    per_minute: int = 30
    upload_s: float = 60.0


class _Desk:
    """The routes' shared state: the model, the line, the clock."""

    def __init__(self, portraitist: Portraitist, workers: int, limits: Limits) -> None:
        self.portraitist, self.limits = portraitist, limits
        self.line, self.rate = RequestQueue(workers, limits.waiting), RateLimiter(limits.per_minute)
        self.pool = ThreadPoolExecutor(workers)
        self.uploads: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()  # open ones, by address

    async def faces(self, request: Request) -> Response:
        """Every face of `selfie`: as cut, as painted, and the painted person alone."""
        return await self._served(request, self._faces)

    async def avatar(self, request: Request) -> Response:
        """One finished avatar, as the command line writes it; `background`, `shape`, `size` and `face` may be said."""
        return await self._served(request, self._avatar)

    async def place(self, request: Request) -> Response:
        """Where in the line a ticket stands."""
        return JSONResponse({"place": self.line.place(request.path_params["ticket"])})

    async def _served(self, request: Request, work: Work) -> Response:
        address = request.client.host if request.client else ""
        wait_s = self.rate.wait_s(address)
        if wait_s:
            raise _busy(429, f"{self.limits.per_minute} pictures a minute are painted; wait {wait_s} s", wait_s)
        if float(request.headers.get("content-length") or 0) > self._most_bytes():
            raise HTTPException(413, f"more than {self.limits.megabytes:g} megabytes")
        ticket = request.headers.get("x-ticket", "")[:64] or secrets.token_urlsafe(12)
        try:
            with ExitStack() as inside:
                async with self._upload(address):
                    inside.enter_context(self.line.entered())
                    said = await self._form(request)
                return await self._in_turn(request, ticket, said, work)
        except QueueFullError as error:
            raise _busy(503, f"{error}: try again in a few seconds", 5) from error

    def _upload(self, address: str) -> asyncio.Semaphore:
        """Uploads of one address take half of the places at most, so that it cannot keep others out by sending nothing.

        Its next ones wait; none of their bytes is read meanwhile.
        """
        half = max(1, (self.line.served + self.line.waiting) // 2)
        return self.uploads.setdefault(address, asyncio.Semaphore(half))

    async def _in_turn(self, request: Request, ticket: str, said: dict[str, Any], work: Work) -> Response:
        try:
            turn = self.line.join(ticket)
        except ValueError as error:
            raise HTTPException(400, str(error)) from error
        try:
            while not (await asyncio.wait([turn], timeout=LOOK_S))[0]:
                if await request.is_disconnected():
                    raise ClientDisconnect
            return await asyncio.get_running_loop().run_in_executor(self.pool, work, said)
        finally:
            self.line.leave(ticket)

    def _most_bytes(self) -> float:
        return 2 * self.limits.megabytes * 1e6 + FORM  # a selfie, and a picture to set behind

    async def _form(self, request: Request) -> dict[str, Any]:
        """The form's words and its pictures' bytes."""
        if not request.headers.get("content-type", "").startswith("multipart/form-data"):
            raise HTTPException(415, "a form is expected: multipart/form-data with the file `selfie`")
        parser = MultiPartParser(
            request.headers, self._counted(request), max_files=2, max_fields=4, max_part_size=FIELD
        )
        parser.spool_max_size = int(self._most_bytes()) + 1  # never to disk
        try:
            form = await asyncio.wait_for(parser.parse(), self.limits.upload_s)
        except TimeoutError as error:
            raise HTTPException(408, f"the upload took more than {self.limits.upload_s:g} s") from error
        except MultiPartException as error:
            raise HTTPException(400, f"not a form: {error.message}") from error
        return await _plain(form)

    async def _counted(self, request: Request) -> AsyncGenerator[bytes, None]:
        seen = 0
        async for chunk in request.stream():
            seen += len(chunk)
            if seen > self._most_bytes():
                raise HTTPException(413, f"more than {self.limits.megabytes:g} megabytes")
            yield chunk

    def _painted(self, said: dict[str, Any], wanted: slice) -> tuple[list[Avatar | RejectedError], int]:
        if not isinstance(said.get("selfie"), bytes):
            raise HTTPException(400, "the file `selfie` is missing")
        if len(said["selfie"]) > self.limits.megabytes * 1e6:
            raise HTTPException(413, f"more than {self.limits.megabytes:g} megabytes")
        crops = self.portraitist.crops(read_selfie(said["selfie"]))
        return self.portraitist.paint_crops(crops[wanted]), len(crops)

    def _faces(self, said: dict[str, Any]) -> Response:
        made, count = self._painted(said, slice(MOST_FACES))
        if not any(isinstance(one, Avatar) for one in made):
            raise next(one for one in made if isinstance(one, RejectedError))
        faces = [_shown(one) if isinstance(one, Avatar) else {"fault": str(one)} for one in made]
        return JSONResponse({"faces": faces, "left_out": count - len(made)})

    def _avatar(self, said: dict[str, Any]) -> Response:
        face, behind = said.get("face", "1"), said.get("background", "transparent")
        if not (face.isdecimal() and 1 <= int(face) <= MOST_FACES):
            raise FinishError(f"face is {face!r}; allowed are 1 to {MOST_FACES}")
        size = said.get("size") or None
        if size is not None and not size.isdecimal():
            raise FinishError(f"size is {size!r}; a number of pixels is expected")
        background = load_background(read_selfie(behind)) if isinstance(behind, bytes) else _word(behind)
        look = Finish.of(background, said.get("shape", "square"), int(size) if size else None)
        made, count = self._painted(said, slice(int(face) - 1, int(face)))
        if not made:
            raise FinishError(f"face is {face}; the picture shows {count}")
        if isinstance(made[0], RejectedError):
            raise made[0]
        return Response(encode_avatar(apply_finish(made[0], look), "PNG"), media_type="image/png")


def _word(background: str) -> str:
    if background not in ("transparent", "keep") and not background.startswith("#"):  # no path of this machine
        raise FinishError(f"background is {background!r}; allowed are transparent, keep, #rrggbb, and a picture")
    return background


def _busy(status: int, message: str, wait_s: int) -> HTTPException:
    return HTTPException(status, message, headers={"Retry-After": str(wait_s)})


async def _plain(form: FormData) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for name, value in form.multi_items():
        said[name] = await value.read() if isinstance(value, UploadFile) else value
    await form.close()
    if any(isinstance(value, bytes) and name not in FILES for name, value in said.items()):
        raise HTTPException(400, f"only {' and '.join(f'`{name}`' for name in FILES)} may be files")
    return said


def _shown(avatar: Avatar) -> dict[str, str]:
    pictures = {
        "before": Image.fromarray(avatar.crop.square.picture),
        "painted": Image.fromarray(avatar.picture),
        "person": apply_finish(avatar, Finish()),
    }
    return {name: "data:image/png;base64," + _text(picture) for name, picture in pictures.items()}


def _text(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", compress_level=1)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


async def _file(request: Request) -> Response:
    name = request.path_params.get("name") or "index.html"
    path = SITE / BACKEND.get(name, name)
    if path.suffix not in KINDS or path.parent != SITE or not path.is_file():
        raise HTTPException(404, "not here")
    return Response(path.read_bytes(), media_type=KINDS[path.suffix])


async def _told(_: Request, error: Exception) -> Response:
    """One sentence and the status that it deserves; whatever it was, the server lives on."""
    status, headers = 500, None
    message = "something here broke; the picture was not kept"
    if isinstance(error, HTTPException):
        status, message, headers = error.status_code, error.detail, error.headers
    elif isinstance(error, RejectedError):
        status, message = STATUS.get(error.status, 422), str(error)
    elif isinstance(error, FinishError):
        status, message = 400, str(error)
    elif isinstance(error, ClientDisconnect):
        status, message = 499, "gone"
    return JSONResponse({"error": message}, status, headers)


class _Headers:
    """Adds what every answer says to the browser."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Callable[[Any], Awaitable[None]]) -> None:
        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                own = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *own]
            await send(message)

        await self.app(scope, receive, sending)


def create_app(portraitist: Portraitist, workers: int, limits: Limits, names: list[str]) -> Starlette:
    """The server; names are the hosts it answers to, so that no foreign site can point its name here."""
    desk = _Desk(portraitist, workers, limits)
    routes = [
        Route("/", _file),
        Route("/faces", desk.faces, methods=["POST"]),
        Route("/avatar", desk.avatar, methods=["POST"]),
        Route("/place/{ticket}", desk.place),
        Route("/{name}", _file),
    ]
    kinds = (HTTPException, RejectedError, FinishError, ClientDisconnect, Exception)
    middleware = [Middleware(_Headers), Middleware(TrustedHostMiddleware, allowed_hosts=names)]
    return Starlette(routes=routes, middleware=middleware, exception_handlers=dict.fromkeys(kinds, _told))
