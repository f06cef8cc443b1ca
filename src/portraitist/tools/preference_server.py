"""A page on this machine that shows two methods' avatars of one face, blind, in random order: which is better?

Nothing on the page or in its addresses says which method painted what. The server listens on 127.0.0.1 only, and
answers no page of another site: it asks for its own name, and for the question's secret.
"""

import random
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import combinations
from pathlib import Path
from threading import Lock
from typing import Any
from urllib.parse import parse_qs

from portraitist.compare.preferences import append_answer, ensure_file, read_answers
from portraitist.core.shards import Shards

MAX_FORM = 1000  # bytes

PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Which avatar?</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root {{ color-scheme: light dark }} body {{ font: 18px/1.5 system-ui, sans-serif; text-align: center;
  margin: 1rem auto; max-width: 60rem; padding: 0 1rem }}
h1 {{ font-size: 1.3rem; margin: 0 }} p {{ margin: .3rem }}
img {{ width: 100%; border-radius: 8px }} .selfie {{ max-width: 10rem }}
form {{ display: grid; grid-template-columns: 1fr 1fr; gap: 1rem; max-width: 40rem; margin: .6rem auto }}
button {{ font: inherit; padding: .6rem; border-radius: 8px; cursor: pointer }}
button:focus-visible {{ outline: 3px solid #2a7de1 }} .skip {{ grid-column: 1 / 3; justify-self: center }}
</style><script src="/keys.js" defer></script></head>
<body>{body}</body></html>
"""
QUESTION = """<h1>Which is the better hand-painted avatar of this face?</h1>
<p>Question {number} of {count}. Keys: left arrow, right arrow, space for neither.</p>
<img class="selfie" alt="The selfie" src="/{secret}/selfie.png">
<form method="post" action="/answer"><input type="hidden" name="secret" value="{secret}">
<button name="choice" value="left" id="left"><img alt="The left avatar" src="/{secret}/left.png">Left</button>
<button name="choice" value="right" id="right"><img alt="The right avatar" src="/{secret}/right.png">Right</button>
<button name="choice" value="neither" id="neither" class="skip">I cannot tell</button></form>
"""
END = "<h1>Thank you.</h1><p>All {count} questions are answered. You may close this page; Ctrl-C ends the server.</p>"
KEYS = """document.addEventListener("keydown", event => {
  const button = {ArrowLeft: "left", ArrowRight: "right", " ": "neither"}[event.key];
  if (!button || event.repeat) return;
  event.preventDefault();
  document.getElementById(button)?.click();
});
"""


@dataclass(frozen=True)
class Question:
    """Whose face, and which method stands on which side. `secret` is all that the page knows of it."""

    face: str
    left: str
    right: str
    secret: str


def questions(
    methods: Mapping[str, Iterable[str]], done: set[tuple[str, frozenset[str]]], rng: random.Random
) -> list[Question]:
    """Every face and every two methods that have not been judged yet, in random order, sides too.

    Raises:
        ValueError: There are fewer than two methods, or no face that all of them painted.
    """
    faces = sorted(set.intersection(*(set(shards) for shards in methods.values()))) if methods else []
    if len(methods) < 2 or not faces:
        raise ValueError(
            f"{len(methods)} methods with {len(faces)} faces in common; two methods are needed, and a face"
        )
    asked = []
    for face in faces:
        for pair in combinations(sorted(methods), 2):
            if (face, frozenset(pair)) not in done:
                left, right = rng.sample(pair, 2)
                asked.append(Question(face, left, right, secrets.token_urlsafe(12)))
    rng.shuffle(asked)
    return asked


class PreferenceServer(ThreadingHTTPServer):
    """The server: asks one question after the other, and appends each answer to a CSV. `port` 0 is any that is free."""

    daemon_threads = True

    def __init__(
        self, painted: Mapping[str, Shards], selfies: Shards, csv: Path, count: int, rng: random.Random, port: int
    ) -> None:
        given = read_answers(csv) if csv.exists() else None
        rows = [] if given is None else given.itertuples(index=False)
        done = {(str(row.id), frozenset((str(row.left), str(row.right)))) for row in rows}
        self.open = questions(painted, done, rng)[:count]
        ensure_file(csv)  # or the first answer would be the first to learn that none can be kept
        self.painted, self.selfies, self.csv, self.at, self.lock = painted, selfies, csv, 0, Lock()
        super().__init__(("127.0.0.1", port), _Asked)

    @property
    def address(self) -> str:
        """Where a browser finds it."""
        return f"http://127.0.0.1:{self.server_port}/"

    def page(self) -> str:
        """The question that is next, or thanks."""
        if self.at >= len(self.open):
            return PAGE.format(body=END.format(count=len(self.open)))
        secret = self.open[self.at].secret
        return PAGE.format(body=QUESTION.format(number=self.at + 1, count=len(self.open), secret=secret))

    def picture(self, secret: str, which: str) -> bytes | None:
        """A picture of the question that is next; of no other."""
        question = self.open[self.at] if self.at < len(self.open) else None
        if question is None or not secrets.compare_digest(secret.encode(), question.secret.encode()):
            return None
        if which == "selfie":
            return self.selfies.read(question.face, "png")
        return self.painted[getattr(question, which)].read(question.face, "png") if which in ("left", "right") else None

    def answer(self, secret: str, choice: str) -> bool:
        """Take an answer to the question that is next; a second one, or one of another page, is none.

        Raises:
            OSError: It could not be kept; the question stays open.
        """
        with self.lock:
            question = self.open[self.at] if self.at < len(self.open) else None
            if question is None or secret != question.secret or choice not in ("left", "right", "neither"):
                return False
            if choice != "neither":
                append_answer(self.csv, question.face, question.left, question.right, getattr(question, choice))
            self.at += 1
            return True


class _Asked(BaseHTTPRequestHandler):
    server: PreferenceServer

    def do_GET(self) -> None:
        """The page, its script, or a picture."""
        if not self._for_us():
            return
        parts = self.path.strip("/").removesuffix(".png").split("/")
        if self.path == "/":
            self._say(200, "text/html; charset=utf-8", self.server.page().encode())
        elif self.path == "/keys.js":
            self._say(200, "text/javascript; charset=utf-8", KEYS.encode())
        elif len(parts) == 2 and (data := self.server.picture(*parts)):
            self._say(200, "image/png", data)
        else:
            self._say(404, "text/plain", b"not here")

    def do_POST(self) -> None:
        """An answer; then back to the page."""
        if not self._for_us():
            return
        length = self.headers.get("Content-Length", "")
        if self.path != "/answer" or not length.isdigit() or int(length) > MAX_FORM:
            self._say(400, "text/plain", b"not an answer")
            return
        form = parse_qs(self.rfile.read(int(length)).decode("ascii", "replace"))
        secret, choice = (form.get(name, [""])[0] for name in ("secret", "choice"))
        try:
            self.server.answer(secret, choice)  # an old page's answer changes nothing, and sees the next question
        except OSError as error:
            self._say(500, "text/plain", f"Not kept: {error.strerror}. Go back and answer again.".encode())
            return
        self.send_response(303)
        self.send_header("Location", "/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _for_us(self) -> bool:
        """Whether the browser asked for this machine by name: a foreign site that points its name here is refused."""
        own = {f"{name}:{self.server.server_port}" for name in ("127.0.0.1", "localhost")}
        if self.headers.get("Host") in own:
            return True
        self._say(403, "text/plain", b"not for this name")
        return False

    def _say(self, status: int, kind: str, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        policy = "default-src 'none'; img-src 'self'; script-src 'self'; style-src 'unsafe-inline'; form-action 'self'"
        self.send_header("Content-Security-Policy", policy)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Says nothing: an address holds a secret."""
