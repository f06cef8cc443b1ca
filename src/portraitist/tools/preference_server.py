"""Serve a local web page for blind comparisons of methods.

The page shows two methods' avatars of one face, and a person chooses the better one. Neither the page nor its URLs
contain the names of the methods. The server listens on 127.0.0.1 only. It rejects requests whose host name is not
local, as protection against DNS rebinding. It rejects answers without the random token of the question, as protection
against requests from other web sites.
"""

import random
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import combinations
from pathlib import Path
from string import Template
from threading import Lock
from typing import Any
from urllib.parse import parse_qs

from portraitist.compare.preferences import append_answer, ensure_file, read_answers
from portraitist.core.shards import Shards

PAGE = Path(__file__).with_name("preference_page")
STATIC_FILES = {  # path on the server: file and type
    "/base.css": (PAGE.parents[1] / "base.css", "text/css; charset=utf-8"),
    "/style.css": (PAGE / "style.css", "text/css; charset=utf-8"),
    "/icon.svg": (PAGE.parents[1] / "app" / "static_site" / "icon.svg", "image/svg+xml"),
    "/page.js": (PAGE / "page.js", "text/javascript; charset=utf-8"),
}
MAX_FORM_BYTES = 1000
SIDES = ("left", "right")
CONTENT_SECURITY_POLICY = "default-src 'none'; img-src 'self'; script-src 'self'; style-src 'self'; form-action 'self'"


@dataclass(frozen=True)
class Question:
    """A face, and the two methods whose avatars of it are compared."""

    face: str  # id of the selfie
    left: str  # method whose avatar is on the left
    right: str  # method whose avatar is on the right
    token: str  # random text that identifies the question on the page


def create_questions(
    methods: Mapping[str, Iterable[str]], answered: set[tuple[str, frozenset[str]]], rng: random.Random
) -> list[Question]:
    """Return a question for each face and pair of methods, in random order and with random sides.

    Args:
        methods: a dictionary from the name of each method to the ids of the faces that it has stylized.
        answered: faces and pairs of methods to leave out.
        rng: random generator for order and sides.

    Raises:
        ValueError: there are fewer than two methods, or no face that all of them have stylized.
    """
    faces = sorted(set.intersection(*(set(ids) for ids in methods.values()))) if methods else []
    if len(methods) < 2 or not faces:
        raise ValueError(
            f"found {len(methods)} {'method' if len(methods) == 1 else 'methods'} with {len(faces)} faces in common; "
            "give at least 2 methods that have stylized the same faces (`dvc repro compare` trains all methods)"
        )
    questions = []
    for face in faces:
        for pair in combinations(sorted(methods), 2):
            if (face, frozenset(pair)) not in answered:
                left, right = rng.sample(pair, 2)
                questions.append(Question(face, left, right, secrets.token_urlsafe(12)))
    rng.shuffle(questions)
    return questions


class PreferenceServer(ThreadingHTTPServer):
    """A web server that shows one question at a time and appends each answer to a CSV.

    Args:
        stylized: a dictionary from the name of each method to the method's output of stage `paint`.
        selfies: output of stage `crop`.
        answers: path of the CSV. Questions whose answers are already in this file are left out.
        count: largest number of questions.
        rng: random generator for order and sides.
        port: port to listen on; 0 for any free port.
    """

    daemon_threads = True

    def __init__(
        self, stylized: Mapping[str, Shards], selfies: Shards, answers: Path, count: int, rng: random.Random, port: int
    ) -> None:
        rows = read_answers(answers).itertuples(index=False) if answers.exists() else []
        answered = {(str(row.id), frozenset((str(row.left), str(row.right)))) for row in rows}
        self.questions = create_questions(stylized, answered, rng)[:count]
        ensure_file(answers)  # fail now, not at the first answer
        self.stylized, self.selfies, self.answers, self.answered, self.lock = stylized, selfies, answers, 0, Lock()
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def address(self) -> str:
        """The URL of the page."""
        return f"http://127.0.0.1:{self.server_port}/"

    @property
    def question(self) -> Question | None:
        """The current question; None if all are answered."""
        return self.questions[self.answered] if self.answered < len(self.questions) else None

    def page(self) -> str:
        """Return the HTML of the current question, or of the final page if all questions are answered."""
        values = {"count": str(len(self.questions))}
        name = "finished.html"
        if question := self.question:
            name, values = "page.html", values | {"number": str(self.answered + 1), "token": question.token}
        return Template((PAGE / name).read_text(encoding="utf-8")).substitute(values)

    def picture(self, token: str, name: str) -> bytes | None:
        """Return a picture of the current question as PNG; None if the token is not that of the question.

        Args:
            token: token of the question.
            name: "selfie", "left" or "right"; for any other name, None is returned.
        """
        question = self.question
        if question is None or not secrets.compare_digest(token.encode(), question.token.encode()):
            return None
        if name == "selfie":
            return self.selfies.read(question.face, "png")
        return self.stylized[getattr(question, name)].read(question.face, "png") if name in SIDES else None

    def answer(self, token: str, choice: str) -> bool:
        """Record an answer to the current question, and go on to the next one; return False if the answer is rejected.

        Args:
            token: token of the question; the token of another question is rejected.
            choice: "left", "right" or "neither"; anything else is rejected.

        Raises:
            OSError: the answer could not be written; the current question stays the same.
        """
        with self.lock:
            question = self.question
            if question is None or token != question.token or choice not in (*SIDES, "neither"):
                return False
            if choice != "neither":
                append_answer(self.answers, question.face, question.left, question.right, getattr(question, choice))
            self.answered += 1
            return True


class _Handler(BaseHTTPRequestHandler):
    server: PreferenceServer

    def do_GET(self) -> None:
        """Send the page, a static file, or a picture of the current question."""
        if not self._is_local_host():
            return
        parts = self.path.strip("/").removesuffix(".png").split("/")
        if self.path == "/":
            self._send(200, "text/html; charset=utf-8", self.server.page().encode())
        elif self.path in STATIC_FILES:
            file, content_type = STATIC_FILES[self.path]
            self._send(200, content_type, file.read_bytes())
        elif len(parts) == 2 and (data := self.server.picture(*parts)):
            self._send(200, "image/png", data)
        else:
            self._send(404, "text/plain", b"not found")

    def do_POST(self) -> None:
        """Record an answer, and redirect the browser to the next question."""
        if not self._is_local_host():
            return
        length = self.headers.get("Content-Length", "")
        is_number = length.isascii() and length.isdigit() and len(length) < 8  # "²" is a digit, but no number to int()
        if self.path != "/answer" or not is_number or int(length) > MAX_FORM_BYTES:
            self._send(400, "text/plain", b"This is not an answer of the comparison page.")
            return
        form = parse_qs(self.rfile.read(int(length)).decode("ascii", "replace"))
        token, choice = (form.get(name, [""])[0] for name in ("token", "choice"))
        try:
            self.server.answer(token, choice)  # ignores outdated pages
        except OSError as error:
            message = f"The answer could not be saved: {error.strerror}. Go back and answer again."
            self._send(500, "text/plain", message.encode())
            return
        self.send_response(303)
        self.send_header("Location", "/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _is_local_host(self) -> bool:
        """Return whether the request's host name is local; otherwise send status 403, against DNS rebinding."""
        hosts = {f"{name}:{self.server.server_port}" for name in ("127.0.0.1", "localhost")}
        if self.headers.get("Host") in hosts:
            return True
        self._send(403, "text/plain", b"Unknown host name. Open the address that the command printed.")
        return False

    def _send(self, status: int, content_type: str, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Log no requests, because their URLs contain tokens."""
