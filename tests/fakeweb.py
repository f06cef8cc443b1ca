"""A web of one's own on 127.0.0.1: any number of hosts, over http and https, each request written down."""

import datetime
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from portraitist.collect.blocklist import Blocklist
from portraitist.collect.http import HttpClient
from portraitist.collect.params import FetchParams

FETCH = FetchParams(
    contact="me@example.org", seconds_per_host=0, respect_robots=True, max_mb=1, deadline_s=2, connections=4
)


@dataclass(frozen=True)
class Says:
    """An answer. `length` is what Content-Length says, if that is not so; None leaves it out."""

    body: bytes | str = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = -1
    drip_s: float = 0.0  # a byte each so often
    repeat: int = 1


@dataclass(frozen=True)
class Asked:
    host: str
    path: str
    headers: dict[str, str]


class FakeWeb:
    """`pages` maps "host/path?query", or "host/path", or "host", to an answer or to what makes one of a path."""

    def __init__(self, folder: Path) -> None:
        self.pages: dict[str, Says | Callable[[str], Says]] = {}
        self.log: list[Asked] = []
        self.webs: list[HttpClient] = []
        self.plain = _server(self)
        self.secret = _server(self)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate(folder))
        self.secret.socket = context.wrap_socket(self.secret.socket, server_side=True, do_handshake_on_connect=False)
        for server in (self.plain, self.secret):
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        for web in self.webs:
            web.close()
        for server in (self.plain, self.secret):
            server.shutdown()
            server.server_close()

    @property
    def allow(self) -> set[tuple[str, int]]:
        return {("127.0.0.1", self.plain.server_port), ("127.0.0.1", self.secret.server_port)}

    def resolve(self, host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        """Every host's name is at this machine."""
        there = self.secret if port == 443 else self.plain
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", there.server_port))]

    def web(self, blocked: tuple[str, ...] = (), **changed: Any) -> HttpClient:
        params = FetchParams(**(FETCH.model_dump() | changed))
        self.webs.append(HttpClient(params, Blocklist.of(blocked), self.allow, self.resolve))
        return self.webs[-1]

    def asked(self, host: str = "") -> list[str]:
        """The paths that were asked for, robots.txt apart."""
        return [one.path for one in self.log if host in ("", one.host) and one.path != "/robots.txt"]

    def answer(self, host: str, path: str) -> Says:
        for key in (f"{host}{path}", f"{host}{path.partition('?')[0]}", host):
            if key in self.pages and not (key == host and path == "/robots.txt"):
                found = self.pages[key]
                return found if isinstance(found, Says) else found(path)
        return Says("nothing here", 404)


def _server(web: FakeWeb) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            host = self.headers["Host"]
            web.log.append(Asked(host, self.path, dict(self.headers)))
            said = web.answer(host, self.path)
            body = said.body.encode() if isinstance(said.body, str) else said.body
            length = len(body) * said.repeat if said.length == -1 else said.length
            try:
                self.send_response(said.status)
                for name, value in said.headers.items():
                    self.send_header(name, value)
                if length is not None:
                    self.send_header("Content-Length", str(length))
                if length != len(body) * said.repeat:
                    self.send_header("Connection", "close")
                    self.close_connection = True
                self.end_headers()
                for _ in range(said.repeat):
                    if said.drip_s:
                        for byte in body:
                            self.wfile.write(bytes([byte]))
                            time.sleep(said.drip_s)
                    else:
                        self.wfile.write(body)
            except OSError:
                self.close_connection = True  # who asked has gone

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: Any) -> None:
            pass  # a client that does not trust the certificate

    return Server(("127.0.0.1", 0), Handler)


def certificate(folder: Path) -> Path:
    """A certificate for secret.example, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "secret.example")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("secret.example")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


@contextmanager
def fake_web(folder: Path) -> Iterator[FakeWeb]:
    web = FakeWeb(folder)
    try:
        yield web
    finally:
        web.close()
