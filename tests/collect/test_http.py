"""The HTTP client, with servers on this machine: downloads, refused addresses, and polite requests."""

import hashlib
import itertools
import re
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn import encoded, smooth
from fakeweb import FETCH, FakeWeb, Reply, fake_web

from portraitist.collect import ssrf
from portraitist.collect.http import MAX_IDLE_CONNECTIONS, HttpClient, decode_text, sniff_format
from portraitist.collect.ssrf import FetchError, MissingContactError, is_public
from portraitist.core.outcome import Status

JPEG = encoded(smooth(1, 90, 120), "JPEG")
FORMATS = {"jpeg": "JPEG", "png": "PNG", "gif": "GIF", "webp": "WEBP", "bmp": "BMP", "tiff": "TIFF"}


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeWeb]:
    with fake_web(tmp_path) as web:
        yield web


def refused(web: HttpClient, url: str, dest: Path) -> FetchError:
    with pytest.raises(FetchError) as error:
        web.download(url, dest)
    assert list(dest.parent.glob("picture*")) == list(dest.parent.glob(".partial*")) == []
    return error.value


@pytest.mark.parametrize("form", FORMATS)
def test_picture_is_saved_unchanged(fake: FakeWeb, tmp_path: Path, form: str):
    data = encoded(smooth(2), FORMATS[form])
    fake.pages["a.example/x.jpg"] = Reply(data)
    saved = fake.web().download("http://a.example/x.jpg#top", tmp_path / "picture")
    assert (tmp_path / "picture").read_bytes() == data
    assert (saved.sha256, saved.bytes) == (hashlib.sha256(data).hexdigest(), len(data))
    assert (saved.format, saved.final_url) == (form, "http://a.example/x.jpg#top")


def test_request_has_only_the_four_documented_headers(fake: FakeWeb, tmp_path: Path):
    fake.pages["a.example/x.jpg"] = Reply(JPEG, headers={"Set-Cookie": "who=me"})
    web = fake.web()
    for number in range(2):
        web.download("http://a.example/x.jpg", tmp_path / f"{number}")
    assert fake.log[-1].headers == {
        "Host": "a.example",
        "Accept-Encoding": "identity",
        "Accept": "image/*",
        "User-Agent": "portraitist/1 (+me@example.org)",
    }


def test_nothing_is_requested_without_a_contact(fake: FakeWeb, tmp_path: Path):
    with pytest.raises(MissingContactError, match=r"fetch\.contact"):
        fake.web(contact="").download("http://a.example/x.jpg", tmp_path / "picture")
    assert fake.log == []


@pytest.mark.parametrize(
    ("response", "status", "message"),
    [
        (Reply(JPEG, 403), "http_error", "status 403"),
        (Reply(b"", 404), "http_error", "status 404"),
        (Reply("<html>a page</html>"), "not_a_picture", "begins with b'<html>"),
        (Reply('<svg xmlns="http://www.w3.org/2000/svg"/>'), "not_a_picture", "<svg"),
        (Reply(b""), "not_a_picture", "b''"),
        (Reply(b"\xff\xd8"), "not_a_picture", "xff"),
        (Reply(JPEG[: len(JPEG) // 2]), "cut_off", "jpeg file without an end marker"),
        (Reply(encoded(smooth(1), "PNG")[:-20]), "cut_off", "png file without an end marker"),
        (Reply(encoded(smooth(1), "GIF")[:-20]), "cut_off", "gif file without an end marker"),
        (Reply(encoded(smooth(1), "WEBP")[:-20]), "cut_off", "webp file without an end marker"),
        (Reply(encoded(smooth(1), "BMP")[:-20]), "cut_off", "bmp file without an end marker"),
        (Reply(JPEG, length=len(JPEG) + 9), "cut_off", f"received {len(JPEG)} of {len(JPEG) + 9} bytes"),
        (Reply(JPEG, length=3_000_000), "too_large", "3000000 bytes; fetch.max_mb allows 1000000"),
        (Reply(JPEG * 2000, length=None), "too_large", "more than the 1000000 bytes that fetch.max_mb allows"),
        (Reply(zlib.compress(JPEG), headers={"Content-Encoding": "gzip"}), "encoded", "'gzip'"),
        (Reply(JPEG, headers={"X-Robots-Tag": "noindex, NoAI"}), "opted_out", "noai"),
        (Reply(JPEG, headers={"X-Robots-Tag": "portraitist: noimageai"}), "opted_out", "noimageai"),
        (Reply(JPEG[:200], drip_s=0.05), "too_slow", "fetch.deadline_s"),
        (Reply(b"", 302, {"Location": "http://a.example/x.jpg"}), "too_many_redirects", "more than 4"),
        (Reply(b"", 503), "throttled", "status 503"),
        (Reply(b"", 429, {"Retry-After": "3600"}), "throttled", "Retry-After 3600 s"),
    ],
)
def test_failed_download_has_a_status_and_leaves_no_file(
    fake: FakeWeb, tmp_path: Path, response: Reply, status: str, message: str
):
    fake.pages["a.example/x.jpg"] = response
    error = refused(fake.web(), "http://a.example/x.jpg", tmp_path / "picture")
    assert error.status is Status(status)
    assert message in str(error)


def test_request_to_silent_server_ends_at_the_deadline(fake: FakeWeb, tmp_path: Path):
    fake.pages["a.example/x.jpg"] = lambda _: time.sleep(3) or Reply(JPEG)
    began = time.monotonic()
    error = refused(fake.web(deadline_s=0.5), "http://a.example/x.jpg", tmp_path / "picture")
    assert error.status is Status.TOO_SLOW
    assert time.monotonic() - began < 2.5


def test_connecting_counts_towards_the_deadline(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, but never answers the TLS handshake
        where = silent.getsockname()
        params = FETCH.model_copy(update={"deadline_s": 0.5})
        addresses = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", where)]
        web = HttpClient(params, allow={where}, resolve=lambda *_, **__: addresses)
        began = time.monotonic()
        error = refused(web, "https://a.example/x.jpg", tmp_path / "picture")
    assert error.status is Status.TOO_SLOW
    assert "fetch.deadline_s" in str(error)
    assert time.monotonic() - began < 2.5


def test_full_disk_is_an_error_that_names_the_file(fake: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fake.pages["a.example/x.jpg"] = Reply(JPEG * 2)
    path_open = Path.open

    def open_full(path: Path, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        return path_open(Path("/dev/full") if "w" in mode else path, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", open_full)
    with pytest.raises(OSError, match="No space left") as error:
        fake.web().download("http://a.example/x.jpg", tmp_path / "picture")
    assert error.value.filename == str(tmp_path / "picture")
    assert list(tmp_path.glob("*picture*")) == list(tmp_path.glob(".partial*")) == []


def test_opt_out_for_another_agent_is_ignored(fake: FakeWeb, tmp_path: Path):
    fake.pages["a.example/x.jpg"] = Reply(JPEG, headers={"X-Robots-Tag": "otherbot: noai"})
    assert fake.web().download("http://a.example/x.jpg", tmp_path / "picture").bytes == len(JPEG)


def test_refused_connection_is_a_network_error(fake: FakeWeb, tmp_path: Path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    closed_port = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
    web = HttpClient(FETCH, allow={("127.0.0.1", port)}, resolve=lambda *_, **__: closed_port)
    assert refused(web, "http://a.example/x.jpg", tmp_path / "picture").status is Status.NETWORK_ERROR


def test_unknown_host_name_is_a_network_error(tmp_path: Path):
    def resolve(*_: object, **__: object) -> list:
        raise socket.gaierror("Name or service not known")

    error = refused(HttpClient(FETCH, resolve=resolve), "http://nobody.example/x.jpg", tmp_path / "picture")
    assert error.status is Status.NETWORK_ERROR
    assert "Name or service not known" in str(error)


def test_busy_host_is_retried_after_retry_after(fake: FakeWeb, tmp_path: Path):
    answers = [Reply(b"", 429, {"Retry-After": "1"}), Reply(JPEG)]
    fake.pages["a.example/x.jpg"] = lambda _: answers.pop(0)
    web = fake.web(respect_robots=False)
    began = time.monotonic()
    assert web.download("http://a.example/x.jpg", tmp_path / "picture").bytes == len(JPEG)
    assert time.monotonic() - began >= 1
    assert len(fake.log) == 2


def test_waiting_requests_also_obey_retry_after(fake: FakeWeb, tmp_path: Path):
    times: list[float] = []

    def respond(_: str) -> Reply:
        times.append(time.monotonic())
        return Reply(b"", 429, {"Retry-After": "1"}) if len(times) == 1 else Reply(JPEG)

    fake.pages["a.example"] = respond
    web = fake.web(respect_robots=False, seconds_per_host=0.4)
    with ThreadPoolExecutor(3) as pool:
        for number in range(3):
            pool.submit(web.download, "http://a.example/x.jpg", tmp_path / f"{number}")
    assert len(times) == 4
    assert times[1] - times[0] >= 1
    assert (
        min(after - before for before, after in itertools.pairwise(times)) >= 0.2
    )  # half the interval: the machine may be busy


HUGE = "9" * 20
MALFORMED_RETRY_AFTER = [
    "²", "-1", "soon", "9" * 400, f"Mon, {HUGE} Jan 2020 00:00:00 GMT", f"Mon, 01 Jan {HUGE} 00:00:00 GMT",
    f"Mon, 01 Jan 2020 {HUGE}:00:00 GMT", f"Mon, 01 Jan 2020 00:00:00 +{HUGE}", "Mon, 01 Jan 0001 00:00:00 +1400",
]  # fmt: skip


@pytest.mark.parametrize("value", MALFORMED_RETRY_AFTER)
@pytest.mark.parametrize("path", ["x.jpg", "robots.txt"])
def test_malformed_retry_after_is_ignored(fake: FakeWeb, tmp_path: Path, value: str, path: str):
    fake.pages["a.example/x.jpg"] = Reply(JPEG)
    fake.pages[f"a.example/{path}"] = Reply(b"", 503, {"Retry-After": value})
    error = refused(fake.web(), "http://a.example/x.jpg", tmp_path / "picture")
    assert error.status is (Status.THROTTLED if path == "x.jpg" else Status.ROBOTS_DENIED)
    assert not error.retry_after_s  # a date in the past means 0


def test_redirects_are_followed_and_counted(fake: FakeWeb, tmp_path: Path):
    fake.pages["a.example/1"] = Reply("moved", 301, {"Location": "/2"})
    fake.pages["a.example/2"] = Reply("moved", 302, {"Location": "//b.example/x%20y.jpg"})
    fake.pages["b.example/x%20y.jpg"] = Reply(JPEG)
    saved = fake.web().download("http://a.example/1", tmp_path / "picture")
    assert (len(fake.requested_paths()), saved.final_url) == (3, "http://b.example/x%20y.jpg")


def test_redirect_may_contain_unescaped_utf8(fake: FakeWeb, tmp_path: Path):
    fake.pages["a.example/1"] = Reply("moved", 301, {"Location": "/ü.jpg".encode().decode("latin-1")})
    fake.pages["a.example/%C3%BC.jpg"] = Reply(JPEG)
    assert fake.web().download("http://a.example/1", tmp_path / "picture").bytes == len(JPEG)


MALFORMED_URLS = [
    "http://[", "http://[::1", "http://a.example:99999/", "http://a b.example/", "http://\x00.example/", "http://xn--.example/",
    "http://" + "a" * 300 + ".example/", "http://..example/", "http://a.example\\@127.0.0.1/", "http://%31%32%37.0.0.1/",
    "http://①②⑦.0.0.1/", "http://127。0。0。1/", "http:a", "http://", "javascript:1", "HTTP://[::ffff:127.0.0.1%25lo]/",
    "http://a.example/\udcff", "", " ", "http://\u202e.example/", "http://user@127.0.0.1/", "https://:443/",
]  # fmt: skip


@pytest.mark.parametrize("url", MALFORMED_URLS)
def test_malformed_url_is_a_fetch_error(fake: FakeWeb, tmp_path: Path, url: str):
    def resolve(name: str, port: int, **how: object) -> list:
        assert name.encode("idna")  # as the system resolver does
        return socket.getaddrinfo(name, port, **how) if "127" in name or "①" in name else []

    with HttpClient(FETCH, resolve=resolve) as web:
        refused(web, url, tmp_path / "picture")
        assert "\udcff" not in url or refused(web, url, tmp_path / "picture").status is Status.REFUSED_ADDRESS
    fake.pages["a.example/1"] = Reply("moved", 302, {"Location": ascii(url)[1:-1]})
    with HttpClient(FETCH, allow=fake.allow, resolve=fake.resolve) as web:
        refused(web, "http://a.example/1", tmp_path / "picture")


def test_url_is_percent_encoded_once(fake: FakeWeb, tmp_path: Path):
    fake.pages["a.example/%E7%94%BB%20%C3%A9.jpg?q=%E7%94%BB"] = Reply(JPEG)
    fake.web().download("http://a.example/画 %C3%A9.jpg?q=画", tmp_path / "picture")


# --- only public addresses


@pytest.fixture
def private_server() -> Iterator[tuple[int, list[int]]]:
    """Start a server that must not be reached; yield its port and a list that grows with each connection."""
    connections: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        stopped = threading.Event()

        def count() -> None:
            while not stopped.is_set():
                try:
                    server.accept()[0].close()
                    connections.append(1)
                except TimeoutError:
                    continue

        thread = threading.Thread(target=count)
        thread.start()
        yield server.getsockname()[1], connections
        stopped.set()
        thread.join()


LOCAL_HOSTS = [
    "127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "0.0.0.0", "[::1]",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[::]", "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]", "169.254.169.254", "10.0.0.1", "192.168.0.1", "100.64.0.1", "[fe80::1]", "[fd00::1]",
]  # fmt: skip


@pytest.mark.parametrize("host", LOCAL_HOSTS)
@pytest.mark.parametrize("route", ["direct", "redirect"])
def test_no_form_of_a_private_address_is_reached(
    fake: FakeWeb, tmp_path: Path, private_server: tuple[int, list[int]], host: str, route: str
):
    port, connections = private_server
    fake.pages["a.example/x.jpg"] = Reply("moved", 302, {"Location": f"http://{host}:{port}/x.jpg"})

    def resolve(name: str, port_: int, **how: object) -> list:
        return fake.resolve(name, port_) if name == "a.example" else socket.getaddrinfo(name, port_, **how)

    url = f"http://{host}:{port}/x.jpg" if route == "direct" else "http://a.example/x.jpg"
    # the port is allowed, so that the address is the reason for the refusal
    with HttpClient(FETCH, allow={*fake.allow, ("192.0.2.1", port)}, resolve=resolve) as web:
        error = refused(web, url, tmp_path / "picture")
    assert error.status is Status.REFUSED_ADDRESS
    assert "not a public address" in str(error)
    time.sleep(0.06)
    assert connections == []


def test_host_name_is_resolved_once(tmp_path: Path, private_server: tuple[int, list[int]]):
    """DNS rebinding: first a public address, then a loopback address."""
    port, connections = private_server
    resolved = []

    def resolve(name: str, port_: int, **_: object) -> list:
        resolved.append(name)
        address = "203.0.113.9" if len(resolved) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    attempts = []

    def connect(self: socket.socket, address: tuple[str, int]) -> None:
        attempts.append(address)
        raise OSError("unreachable")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect)
        patch.setattr(ssrf, "is_public", lambda address: address == "203.0.113.9")
        refused(
            HttpClient(FETCH.model_copy(update={"respect_robots": False}), resolve=resolve),
            "http://re.example/x",
            tmp_path / "picture",
        )
    assert resolved == ["re.example"]
    assert attempts == [("203.0.113.9", port)]
    assert connections == []


def test_host_with_one_private_address_is_refused(tmp_path: Path):
    both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 80)) for address in ("93.184.215.14", "10.0.0.1")]
    error = refused(HttpClient(FETCH, resolve=lambda *_, **__: both), "http://both.example/x", tmp_path / "picture")
    assert (error.status, str(error)) == (
        Status.REFUSED_ADDRESS,
        "both.example resolves to 10.0.0.1, which is not a public address",
    )


@pytest.mark.parametrize(
    "url", ["file:///etc/hostname", "ftp://a.example/x", "data:image/png;base64,AAAA", "//a.example/x", "x.jpg"]
)
def test_other_schemes_are_refused_also_in_a_redirect(fake: FakeWeb, tmp_path: Path, url: str):
    assert refused(fake.web(), url, tmp_path / "picture").status is Status.REFUSED_SCHEME
    fake.pages["a.example/1"] = Reply("moved", 302, {"Location": url})
    if url.startswith(("file", "ftp", "data")):
        assert refused(fake.web(), "http://a.example/1", tmp_path / "picture").status is Status.REFUSED_SCHEME


@pytest.mark.parametrize(
    "url",
    [
        "http://a.example:22/x",
        "https://a.example:80/x",
        "http://me:pw@a.example/x",
        "http:///x",
        "http://[::1/x",
        "http://a.example:x/",
    ],
)
def test_other_ports_and_passwords_are_refused(fake: FakeWeb, tmp_path: Path, url: str):
    assert refused(fake.web(), url, tmp_path / "picture").status is Status.REFUSED_ADDRESS
    assert fake.log == []


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True), ("2606:4700:4700::1111", True), ("::ffff:8.8.8.8", True),
        ("224.0.0.1", False), ("255.255.255.255", False), ("198.18.0.1", False), ("240.0.0.1", False),
        ("ff02::1", False), ("fe80::1%eth0", False), ("2001::1", False), ("2002:808:808::", False),
    ],
)  # fmt: skip
def test_is_public_rejects_special_networks(address: str, public: bool):
    assert is_public(address) is public


def test_environment_proxies_are_not_used(fake: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    fake.pages["a.example/x.jpg"] = Reply(JPEG)
    assert fake.web().download("http://a.example/x.jpg", tmp_path / "picture").format == "jpeg"


def test_certificate_is_checked_against_the_host_name(fake: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    fake.pages["tls.example/x.jpg"] = fake.pages["other.example/x.jpg"] = Reply(JPEG)
    trusted = ssl.create_default_context(cafile=str(tmp_path / "certificate.pem"))
    monkeypatch.setattr(ssrf, "context", lambda: trusted)
    assert fake.web().download("https://tls.example/x.jpg", tmp_path / "picture").bytes == len(JPEG)
    (tmp_path / "picture").unlink()
    error = refused(fake.web(), "https://other.example/x.jpg", tmp_path / "picture")
    assert error.status is Status.NETWORK_ERROR
    assert "CERTIFICATE_VERIFY_FAILED" in str(error)


def test_untrusted_certificate_is_refused(fake: FakeWeb, tmp_path: Path):
    error = refused(fake.web(), "https://tls.example/x.jpg", tmp_path / "picture")
    assert "CERTIFICATE_VERIFY_FAILED" in str(error)


# --- politeness


def test_robots_txt_is_requested_once_and_obeyed(fake: FakeWeb, tmp_path: Path):
    fake.pages["a.example/robots.txt"] = Reply("User-agent: *\nDisallow: /private/\n")
    fake.pages["a.example"] = Reply(JPEG)
    web = fake.web()
    for number in range(3):
        web.download(f"http://a.example/{number}.jpg", tmp_path / f"{number}")
    error = refused(web, "http://a.example/private/x.jpg", tmp_path / "picture")
    assert error.status is Status.ROBOTS_DENIED
    assert [entry.path for entry in fake.log].count("/robots.txt") == 1
    assert fake.requested_paths() == ["/0.jpg", "/1.jpg", "/2.jpg"]


def test_robots_txt_is_obeyed_after_a_redirect(fake: FakeWeb, tmp_path: Path):
    fake.pages["b.example/robots.txt"] = Reply("User-agent: portraitist\nDisallow: /\n")
    fake.pages["a.example/1"] = Reply("moved", 302, {"Location": "http://b.example/x.jpg"})
    fake.pages["b.example/x.jpg"] = Reply(JPEG)
    assert refused(fake.web(), "http://a.example/1", tmp_path / "picture").status is Status.ROBOTS_DENIED
    assert fake.requested_paths("b.example") == []


@pytest.mark.parametrize(("status", "allowed"), [(404, True), (403, True), (500, False), (503, False), (429, False)])
def test_missing_robots_txt_allows_and_unreachable_disallows(fake: FakeWeb, tmp_path: Path, status: int, allowed: bool):
    fake.pages["a.example/robots.txt"] = Reply("no", status)
    fake.pages["a.example/x.jpg"] = Reply(JPEG)
    if allowed:
        fake.web().download("http://a.example/x.jpg", tmp_path / "picture")
    else:
        assert refused(fake.web(), "http://a.example/x.jpg", tmp_path / "picture").status is Status.ROBOTS_DENIED


def test_robots_txt_with_byte_order_mark_is_obeyed(fake: FakeWeb, tmp_path: Path):
    fake.pages["a.example/robots.txt"] = Reply("\ufeffUser-agent: *\nDisallow: /")
    fake.pages["a.example/x.jpg"] = Reply(JPEG)
    assert refused(fake.web(), "http://a.example/x.jpg", tmp_path / "picture").status is Status.ROBOTS_DENIED


def test_respect_robots_false_ignores_all_opt_outs(fake: FakeWeb, tmp_path: Path):
    fake.pages["a.example/robots.txt"] = Reply("User-agent: *\nDisallow: /\n")
    fake.pages["a.example/x.jpg"] = Reply(JPEG, headers={"X-Robots-Tag": "noai"})
    fake.web(respect_robots=False).download("http://a.example/x.jpg", tmp_path / "picture")
    assert [entry.path for entry in fake.log] == ["/x.jpg"]


def test_rate_limit_is_per_host(fake: FakeWeb, tmp_path: Path):
    fake.pages["a.example"] = fake.pages["b.example"] = Reply(JPEG)
    web = fake.web(seconds_per_host=0.2, respect_robots=False)
    began = time.monotonic()
    for number in range(3):
        web.download("http://a.example/x.jpg", tmp_path / f"{number}")
    assert time.monotonic() - began >= 0.4
    web = fake.web(seconds_per_host=10, respect_robots=False)
    web.download("http://a.example/x.jpg", tmp_path / "first")
    began = time.monotonic()
    web.download("http://b.example/x.jpg", tmp_path / "other")
    assert time.monotonic() - began < 9


@pytest.mark.parametrize("set_by", ["source", "robots.txt"])
def test_longer_interval_of_source_or_robots_txt_applies(fake: FakeWeb, tmp_path: Path, set_by: str):
    fake.pages["a.example"] = Reply(JPEG)
    fake.pages["a.example/robots.txt"] = Reply(f"User-agent: *\nCrawl-delay: {0.3 if set_by == 'robots.txt' else 0}\n")
    web = fake.web()
    if set_by == "source":
        web.limit_rate("a.example", 0.3)
    began = time.monotonic()
    for number in range(3):
        web.download("http://a.example/x.jpg", tmp_path / f"{number}")
    assert time.monotonic() - began >= 0.6


@pytest.mark.parametrize("fault", ["broken connection", "busy"])
def test_repeated_requests_obey_the_rate_limit(fake: FakeWeb, tmp_path: Path, fault: str):
    times: list[float] = []

    def respond(_: str) -> Reply:
        times.append(time.monotonic())
        if len(times) == 3:
            return Reply(JPEG)
        if fault == "busy":
            return Reply(b"", 429, {"Retry-After": "0"})
        raise OSError  # the server closes the connection without a response

    fake.pages["a.example/x.jpg"] = respond
    fake.pages["a.example/robots.txt"] = Reply("User-agent: *\nCrawl-delay: 0.4\n")
    fake.web().download("http://a.example/x.jpg", tmp_path / "picture")
    assert len(times) == 3
    assert min(after - before for before, after in itertools.pairwise(times)) >= 0.2  # the machine may be busy


@pytest.mark.parametrize("delay", ["86400", "9" * 400])
def test_very_long_crawl_delay_is_robots_denied(fake: FakeWeb, tmp_path: Path, delay: str):
    fake.pages["a.example"] = Reply(JPEG)
    fake.pages["a.example/robots.txt"] = Reply(f"User-agent: *\nCrawl-delay: {delay}\n")
    error = refused(fake.web(), "http://a.example/x.jpg", tmp_path / "picture")
    assert error.status is Status.ROBOTS_DENIED
    assert re.search(r"a\.example.*Crawl-delay of (86400|1e\+10) s.*60 s", str(error))


def test_blocked_url_is_not_requested_after_a_redirect(fake: FakeWeb, tmp_path: Path):
    fake.pages["a.example/1"] = Reply("moved", 302, {"Location": "http://img.b.example/x.jpg"})
    error = refused(fake.web(blocked=("host:b.example",)), "http://a.example/1", tmp_path / "picture")
    assert (error.status, str(error)) == (Status.BLOCKLISTED, "host:b.example")
    assert fake.requested_paths("img.b.example") == []


def test_connections_are_reused_and_replaced_when_closed(
    fake: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    resolved = []
    resolve = fake.resolve
    fake.resolve = lambda *args, **kwargs: resolved.append(args) or resolve(*args, **kwargs)
    fake.pages["a.example"] = Reply(JPEG)
    web = fake.web(respect_robots=False)
    for number in range(3):
        web.download("http://a.example/x.jpg", tmp_path / f"{number}")
    assert len(resolved) == 1
    for connections in web.idle.values():
        connections[0].sock.sock.shutdown(socket.SHUT_RDWR)
    waits, wait = [], web._wait
    monkeypatch.setattr(web, "_wait", lambda *args: waits.append(args) or wait(*args))
    web.download("http://a.example/x.jpg", tmp_path / "again")
    assert (len(resolved), len(waits)) == (2, 1)  # without a request over the closed connection


def test_number_of_idle_connections_is_bounded(fake: FakeWeb, tmp_path: Path):
    web = fake.web(respect_robots=False)
    for number in range(MAX_IDLE_CONNECTIONS + 9):
        fake.pages[f"h{number}.example"] = Reply(JPEG)
        web.download(f"http://h{number}.example/x.jpg", tmp_path / "picture")
    assert sum(map(len, web.idle.values())) == MAX_IDLE_CONNECTIONS
    assert ("http", "h8.example", None) not in web.idle
    assert ("http", "h9.example", None) in web.idle


# --- pages


def test_get_text_returns_any_status_with_retry_after(fake: FakeWeb):
    fake.pages["a.example/p"] = Reply("go away", 403, {"Retry-After": "7"})
    answer = fake.web().get_text("http://a.example/p", crawled=True)
    assert (answer.status, answer.text, answer.retry_after_s) == (403, "go away", 7.0)


def test_page_over_the_size_limit_is_refused(fake: FakeWeb):
    fake.pages["a.example/p"] = Reply(b"x" * 1024, repeat=6000)
    with pytest.raises(FetchError, match="the text has more than"):
        fake.web().get_text("http://a.example/p", crawled=False)


def test_secret_goes_to_the_first_host_and_nowhere_else(fake: FakeWeb):
    fake.pages["a.example/api?q=1&key=s3cret%2F"] = Reply(
        "moved", 302, {"Location": "http://b.example/p?key=s3cret%2F"}
    )
    with pytest.raises(FetchError) as error:
        fake.web(blocked=("url:http://b.example/p?key=s3cret%2F",)).get_text(
            "http://a.example/api?q=1", crawled=False, secret={"key": "s3cret/"}
        )
    assert "s3cret" not in str(error.value)
    fake.pages["a.example/api?q=1&key=s3cret%2F"] = Reply("moved", 302, {"Location": "http://b.example/p"})
    fake.pages["b.example/p"] = Reply("ok")
    answer = fake.web().get_text("http://a.example/api?q=1", crawled=False, secret={"key": "s3cret/"})
    assert answer.text == "ok"
    assert "s3cret" not in repr(answer)
    assert fake.requested_paths("b.example") == ["/p"]


def test_token_is_not_sent_after_a_redirect(fake: FakeWeb):
    fake.pages["a.example/api"] = Reply("moved", 302, {"Location": "http://b.example/p"})
    fake.pages["b.example/p"] = Reply("ok")
    headers = {"Authorization": "Bearer s3cret"}
    assert fake.web().get_text("http://a.example/api", crawled=False, headers=headers).text == "ok"
    assert [(entry.host, entry.headers.get("Authorization")) for entry in fake.log] == [
        ("a.example", "Bearer s3cret"), ("b.example", None)
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["肖像", "é"])
def test_text_is_decoded_in_its_charset(text: str):
    assert decode_text(text.encode("gb18030")) == text
    assert decode_text(text.encode()) == text
    assert decode_text("é".encode("latin-1"), "latin-1") == "é"
    assert decode_text(b"x", "no such thing") == "x"


@pytest.mark.parametrize(
    "charset",
    ["undefined", "idna", "punycode", "unicode_escape", "raw_unicode_escape", "hex", "zlib", "rot13", "aliases", "-"],
)
def test_charset_that_is_no_text_encoding_is_ignored(fake: FakeWeb, charset: str):
    text = f"肖像 \\u0041 {'a' * 70}.."
    fake.pages["a.example/p"] = Reply(text, headers={"Content-Type": f"text/html; charset={charset}"})
    assert fake.web().get_text("http://a.example/p", crawled=False).text == text


SECRET = "s3/c+r&t"
ESCAPED_SECRETS = [
    "s3/c+r&t",
    "s3%2Fc%2Br%26t",
    "s3%2fc+r%26t",
    r"s3\/c+r\u0026t",
    "s3/c&#43;r&amp;t",
    "s3&#x2F;c+r&#38;t",
]


@pytest.mark.parametrize("echo", ESCAPED_SECRETS)
def test_secret_in_the_response_is_redacted(fake: FakeWeb, echo: str):
    fake.pages["a.example/api"] = Reply(f'{{"key": "{echo}", "results": []}}')
    sent: list[dict[str, Any]] = [
        {"secret": {"key": SECRET, "unset": ""}},
        {"headers": {"Authorization": f"Bearer {SECRET}"}},
    ]
    for request in sent:
        response = fake.web().get_text("http://a.example/api", crawled=False, **request)
        assert response.text == '{"key": "…", "results": []}'


def test_files_that_are_no_pictures_have_no_format():
    noise = np.random.default_rng(0).integers(0, 256, 64, dtype=np.uint8).tobytes()
    assert [sniff_format(data) for data in (b"", b"GIF", b"BM not a bitmap", b"RIFF0000WAVE", b"\x89PNG\n", noise)] == [
        ""
    ] * 6
