"""A fake web on 127.0.0.1, with any number of hosts over http and https. All requests are logged."""

import datetime
import socket
import ssl
import struct
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
class Reply:
    """An HTTP response. `length` is the value of Content-Length: -1 is the real length, None omits the header."""

    body: bytes | str = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = -1
    drip_s: float = 0.0  # seconds between two bytes
    repeat: int = 1  # how often the body is sent
    reset: bool = False  # reset the connection after half of the body


@dataclass(frozen=True)
class LoggedRequest:
    host: str
    path: str
    headers: dict[str, str]


class FakeWeb:
    """The fake web. `pages` maps "host/path?query", "host/path" or "host" to a response or a function of the path."""

    def __init__(self, folder: Path) -> None:
        self.pages: dict[str, Reply | Callable[[str], Reply]] = {}
        self.log: list[LoggedRequest] = []
        self.clients: list[HttpClient] = []
        self.http_server = _server(self)
        self.https_server = _server(self)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate(folder))
        self.https_server.socket = context.wrap_socket(
            self.https_server.socket, server_side=True, do_handshake_on_connect=False
        )
        for server in (self.http_server, self.https_server):
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close(self) -> None:
        for client in self.clients:
            client.close()
        for server in (self.http_server, self.https_server):
            server.shutdown()
            server.server_close()

    @property
    def allow(self) -> set[tuple[str, int]]:
        return {("127.0.0.1", self.http_server.server_port), ("127.0.0.1", self.https_server.server_port)}

    def resolve(self, host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        """Resolve every host name to this machine."""
        server = self.https_server if port == 443 else self.http_server
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.server_port))]

    def web(self, blocked: tuple[str, ...] = (), **overrides: Any) -> HttpClient:
        params = FetchParams(**(FETCH.model_dump() | overrides))
        self.clients.append(HttpClient(params, Blocklist.of(blocked), self.allow, self.resolve))
        return self.clients[-1]

    def requested_paths(self, host: str = "") -> list[str]:
        """Return the requested paths of a host (by default of all), except /robots.txt."""
        return [entry.path for entry in self.log if host in ("", entry.host) and entry.path != "/robots.txt"]

    def respond(self, host: str, path: str) -> Reply:
        for key in (f"{host}{path}", f"{host}{path.partition('?')[0]}", host):
            if key in self.pages and not (key == host and path == "/robots.txt"):
                page = self.pages[key]
                return page if isinstance(page, Reply) else page(path)
        return Reply("not found", 404)


def _server(web: FakeWeb) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            host = self.headers["Host"]
            web.log.append(LoggedRequest(host, self.path, dict(self.headers)))
            response = web.respond(host, self.path)
            body = response.body.encode() if isinstance(response.body, str) else response.body
            length = len(body) * response.repeat if response.length == -1 else response.length
            try:
                self.send_response(response.status)
                for name, value in response.headers.items():
                    self.send_header(name, value)
                if length is not None:
                    self.send_header("Content-Length", str(length))
                if length != len(body) * response.repeat:
                    self.send_header("Connection", "close")
                    self.close_connection = True
                self.end_headers()
                if response.reset:
                    self.wfile.write(body[: len(body) // 2])
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.detach()
                    self.close_connection = True
                    return
                for _ in range(response.repeat):
                    if response.drip_s:
                        for byte in body:
                            self.wfile.write(bytes([byte]))
                            time.sleep(response.drip_s)
                    else:
                        self.wfile.write(body)
            except OSError:
                self.close_connection = True  # the client has closed the connection

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: Any) -> None:
            pass  # print nothing if a client does not trust the certificate

    return Server(("127.0.0.1", 0), Handler)


def certificate(folder: Path) -> Path:
    """Write a self-signed certificate for tls.example, with its key, to one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tls.example")])
    now = datetime.datetime.now(datetime.timezone.utc)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("tls.example")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    path.write_bytes(
        signed.public_bytes(serialization.Encoding.PEM)
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
