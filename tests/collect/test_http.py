"""The guarded download against a web on loopback: what is saved, what is refused, what is asked."""

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

import numpy as np
import pytest
from drawn import encoded, smooth
from fakeweb import FETCH, FakeWeb, Says, fake_web

from portraitist.collect import ssrf
from portraitist.collect.http import IDLE, HttpClient, decode_text, sniff_format
from portraitist.collect.ssrf import FetchError, MissingContactError, is_public
from portraitist.core.outcome import Status

JPEG = encoded(smooth(1, 90, 120), "JPEG")
FORMS = {"jpeg": "JPEG", "png": "PNG", "gif": "GIF", "webp": "WEBP", "bmp": "BMP", "tiff": "TIFF"}


@pytest.fixture
def there(tmp_path: Path) -> Iterator[FakeWeb]:
    with fake_web(tmp_path) as web:
        yield web


def refused(web: HttpClient, url: str, dest: Path) -> FetchError:
    with pytest.raises(FetchError) as error:
        web.picture(url, dest)
    assert list(dest.parent.glob("picture*")) == []
    return error.value


@pytest.mark.parametrize("form", FORMS)
def test_a_picture_is_saved_as_it_is(there: FakeWeb, tmp_path: Path, form: str):
    data = encoded(smooth(2), FORMS[form])
    there.pages["a.example/x.jpg"] = Says(data)
    saved = there.web().picture("http://a.example/x.jpg#top", tmp_path / "picture")
    assert (tmp_path / "picture").read_bytes() == data
    assert (saved.sha256, saved.bytes) == (hashlib.sha256(data).hexdigest(), len(data))
    assert (saved.format, saved.hops, saved.final_url) == (form, 0, "http://a.example/x.jpg#top")


def test_a_site_is_told_who_asks_and_what_for_and_nothing_else(there: FakeWeb, tmp_path: Path):
    there.pages["a.example/x.jpg"] = Says(JPEG, headers={"Set-Cookie": "who=me"})
    web = there.web()
    for number in range(2):
        web.picture("http://a.example/x.jpg", tmp_path / f"{number}")
    assert there.log[-1].headers == {
        "Host": "a.example",
        "Accept-Encoding": "identity",
        "Accept": "image/*",
        "User-Agent": "portraitist/1 (+me@example.org)",
    }


def test_without_a_contact_no_site_is_asked(there: FakeWeb, tmp_path: Path):
    with pytest.raises(MissingContactError, match=r"fetch\.contact is empty"):
        there.web(contact="").picture("http://a.example/x.jpg", tmp_path / "picture")
    assert there.log == []


@pytest.mark.parametrize(
    ("says", "status", "told"),
    [
        (Says(JPEG, 403), "http_error", "status 403"),
        (Says(b"", 404), "http_error", "status 404"),
        (Says("<html>a page</html>"), "not_a_picture", "begins with b'<html>"),
        (Says('<svg xmlns="http://www.w3.org/2000/svg"/>'), "not_a_picture", "<svg"),
        (Says(b""), "not_a_picture", "b''"),
        (Says(b"\xff\xd8"), "not_a_picture", "xff"),
        (Says(JPEG[: len(JPEG) // 2]), "cut_off", "jpeg without its end"),
        (Says(encoded(smooth(1), "PNG")[:-20]), "cut_off", "png without its end"),
        (Says(encoded(smooth(1), "GIF")[:-20]), "cut_off", "gif without its end"),
        (Says(encoded(smooth(1), "WEBP")[:-20]), "cut_off", "webp without its end"),
        (Says(encoded(smooth(1), "BMP")[:-20]), "cut_off", "bmp without its end"),
        (Says(JPEG, length=len(JPEG) + 9), "cut_off", f"{len(JPEG)} bytes of {len(JPEG) + 9}"),
        (Says(JPEG, length=3_000_000), "too_large", "3000000 bytes; at most 1000000"),
        (Says(JPEG * 2000, length=None), "too_large", "more than 1000000 bytes"),
        (Says(zlib.compress(JPEG), headers={"Content-Encoding": "gzip"}), "encoded", "'gzip'"),
        (Says(JPEG, headers={"X-Robots-Tag": "noindex, NoAI"}), "opted_out", "noai"),
        (Says(JPEG, headers={"X-Robots-Tag": "portraitist: noimageai"}), "opted_out", "noimageai"),
        (Says(JPEG[:200], drip_s=0.05), "too_slow", "the whole took too long"),
        (Says(b"", 302, {"Location": "http://a.example/x.jpg"}), "too_many_redirects", "more than 4"),
        (Says(b"", 503), "throttled", "status 503"),
        (Says(b"", 429, {"Retry-After": "3600"}), "throttled", "left alone for 3600 s"),
    ],
)
def test_what_is_no_whole_picture_is_not_saved(there: FakeWeb, tmp_path: Path, says: Says, status: str, told: str):
    there.pages["a.example/x.jpg"] = says
    error = refused(there.web(), "http://a.example/x.jpg", tmp_path / "picture")
    assert error.status is Status(status)
    assert told in str(error)


def test_a_site_that_says_nothing_is_not_waited_for_longer_than_the_whole_may_take(there: FakeWeb, tmp_path: Path):
    there.pages["a.example/x.jpg"] = lambda _: time.sleep(3) or Says(JPEG)
    began = time.monotonic()
    error = refused(there.web(deadline_s=0.5), "http://a.example/x.jpg", tmp_path / "picture")
    assert error.status is Status.TOO_SLOW
    assert time.monotonic() - began < 2.5


def test_another_programs_opt_out_is_not_ours(there: FakeWeb, tmp_path: Path):
    there.pages["a.example/x.jpg"] = Says(JPEG, headers={"X-Robots-Tag": "otherbot: noai"})
    assert there.web().picture("http://a.example/x.jpg", tmp_path / "picture").bytes == len(JPEG)


def test_a_host_that_is_away_is_a_network_error(there: FakeWeb, tmp_path: Path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    away = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]
    web = HttpClient(FETCH, allow={("127.0.0.1", port)}, resolve=lambda *_, **__: away)
    assert refused(web, "http://a.example/x.jpg", tmp_path / "picture").status is Status.NETWORK_ERROR


def test_a_name_that_nobody_knows_is_a_network_error(tmp_path: Path):
    def resolve(*_: object, **__: object) -> list:
        raise socket.gaierror("Name or service not known")

    error = refused(HttpClient(FETCH, resolve=resolve), "http://nobody.example/x.jpg", tmp_path / "picture")
    assert error.status is Status.NETWORK_ERROR
    assert "Name or service not known" in str(error)


def test_a_site_that_is_busy_is_asked_again_when_it_said(there: FakeWeb, tmp_path: Path):
    answers = [Says(b"", 429, {"Retry-After": "1"}), Says(JPEG)]
    there.pages["a.example/x.jpg"] = lambda _: answers.pop(0)
    web = there.web(respect_robots=False)
    began = time.monotonic()
    assert web.picture("http://a.example/x.jpg", tmp_path / "picture").bytes == len(JPEG)
    assert time.monotonic() - began >= 1
    assert len(there.log) == 2


def test_who_waits_for_a_turn_waits_out_a_retry_after_too(there: FakeWeb, tmp_path: Path):
    times: list[float] = []

    def says(_: str) -> Says:
        times.append(time.monotonic())
        return Says(b"", 429, {"Retry-After": "1"}) if len(times) == 1 else Says(JPEG)

    there.pages["a.example"] = says
    web = there.web(respect_robots=False, seconds_per_host=0.4)
    with ThreadPoolExecutor(3) as pool:
        for number in range(3):
            pool.submit(web.picture, "http://a.example/x.jpg", tmp_path / f"{number}")
    assert len(times) == 4
    assert times[1] - times[0] >= 1
    assert (
        min(after - before for before, after in itertools.pairwise(times)) >= 0.2
    )  # half the pace: the machine may be busy


def test_a_redirect_is_followed_and_counted(there: FakeWeb, tmp_path: Path):
    there.pages["a.example/1"] = Says("moved", 301, {"Location": "/2"})
    there.pages["a.example/2"] = Says("moved", 302, {"Location": "//b.example/x%20y.jpg"})
    there.pages["b.example/x%20y.jpg"] = Says(JPEG)
    saved = there.web().picture("http://a.example/1", tmp_path / "picture")
    assert (saved.hops, saved.final_url) == (2, "http://b.example/x%20y.jpg")


NASTY = [
    "http://[", "http://[::1", "http://a.example:99999/", "http://a b.example/", "http://\x00.example/", "http://xn--.example/",
    "http://" + "a" * 300 + ".example/", "http://..example/", "http://a.example\\@127.0.0.1/", "http://%31%32%37.0.0.1/",
    "http://①②⑦.0.0.1/", "http://127。0。0。1/", "http:a", "http://", "javascript:1", "HTTP://[::ffff:127.0.0.1%25lo]/",
    "http://a.example/\udcff", "", " ", "http://\u202e.example/", "http://user@127.0.0.1/", "https://:443/",
]  # fmt: skip


@pytest.mark.parametrize("url", NASTY)
def test_an_address_of_any_shape_is_a_picture_or_a_verdict(there: FakeWeb, tmp_path: Path, url: str):
    def resolve(name: str, port: int, **how: object) -> list:
        assert name.encode("idna")  # as the system's look-up does
        return socket.getaddrinfo(name, port, **how) if "127" in name or "①" in name else []

    with HttpClient(FETCH, resolve=resolve) as web:
        refused(web, url, tmp_path / "picture")
        assert "\udcff" not in url or refused(web, url, tmp_path / "picture").status is Status.REFUSED_ADDRESS
    there.pages["a.example/1"] = Says("moved", 302, {"Location": ascii(url)[1:-1]})
    with HttpClient(FETCH, allow=there.allow, resolve=there.resolve) as web:
        refused(web, "http://a.example/1", tmp_path / "picture")


def test_signs_that_an_address_may_not_hold_are_quoted_once(there: FakeWeb, tmp_path: Path):
    there.pages["a.example/%E7%94%BB%20%C3%A9.jpg?q=%E7%94%BB"] = Says(JPEG)
    there.web().picture("http://a.example/画 %C3%A9.jpg?q=画", tmp_path / "picture")


# --- the guard


@pytest.fixture
def inside() -> Iterator[tuple[int, list[int]]]:
    """A server of this machine that nobody may reach: its port, and a list that grows with each connection."""
    seen: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)
        ended = threading.Event()

        def count() -> None:
            while not ended.is_set():
                try:
                    server.accept()[0].close()
                    seen.append(1)
                except TimeoutError:
                    continue

        thread = threading.Thread(target=count)
        thread.start()
        yield server.getsockname()[1], seen
        ended.set()
        thread.join()


HERE = [
    "127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "0.0.0.0", "[::1]",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[::]", "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]", "169.254.169.254", "10.0.0.1", "192.168.0.1", "100.64.0.1", "[fe80::1]", "[fd00::1]",
]  # fmt: skip


@pytest.mark.parametrize("host", HERE)
@pytest.mark.parametrize("way", ["at once", "by a redirect"])
def test_no_form_of_an_inner_address_is_reached(
    there: FakeWeb, tmp_path: Path, inside: tuple[int, list[int]], host: str, way: str
):
    port, seen = inside
    there.pages["a.example/x.jpg"] = Says("moved", 302, {"Location": f"http://{host}:{port}/x.jpg"})

    def resolve(name: str, port_: int, **how: object) -> list:
        return there.resolve(name, port_) if name == "a.example" else socket.getaddrinfo(name, port_, **how)

    url = f"http://{host}:{port}/x.jpg" if way == "at once" else "http://a.example/x.jpg"
    # the port is let through, so that what refuses is the address
    with HttpClient(FETCH, allow={*there.allow, ("192.0.2.1", port)}, resolve=resolve) as web:
        error = refused(web, url, tmp_path / "picture")
    assert error.status is Status.REFUSED_ADDRESS
    assert "is not a public address" in str(error)
    time.sleep(0.06)
    assert seen == []


def test_a_name_that_changes_its_address_is_asked_once(tmp_path: Path, inside: tuple[int, list[int]]):
    """DNS rebinding: first a public address, then one of this machine."""
    port, seen = inside
    asked = []

    def resolve(name: str, port_: int, **_: object) -> list:
        asked.append(name)
        where = "203.0.113.9" if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (where, port))]

    reached = []

    def connect(self: socket.socket, where: tuple[str, int]) -> None:
        reached.append(where)
        raise OSError("no way there from a test")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", connect)
        patch.setattr(ssrf, "is_public", lambda address: address == "203.0.113.9")
        refused(
            HttpClient(FETCH.model_copy(update={"respect_robots": False}), resolve=resolve),
            "http://re.example/x",
            tmp_path / "picture",
        )
    assert asked == ["re.example"]
    assert reached == [("203.0.113.9", port)]
    assert seen == []


def test_a_name_with_one_inner_address_among_others_is_refused(tmp_path: Path):
    both = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (where, 80)) for where in ("93.184.215.14", "10.0.0.1")]
    error = refused(HttpClient(FETCH, resolve=lambda *_, **__: both), "http://both.example/x", tmp_path / "picture")
    assert (error.status, str(error)) == (
        Status.REFUSED_ADDRESS,
        "both.example is at 10.0.0.1, which is not a public address",
    )


@pytest.mark.parametrize(
    "url", ["file:///etc/hostname", "ftp://a.example/x", "data:image/png;base64,AAAA", "//a.example/x", "x.jpg"]
)
def test_other_schemes_are_refused_at_once_and_behind_a_redirect(there: FakeWeb, tmp_path: Path, url: str):
    assert refused(there.web(), url, tmp_path / "picture").status is Status.REFUSED_SCHEME
    there.pages["a.example/1"] = Says("moved", 302, {"Location": url})
    if url.startswith(("file", "ftp", "data")):
        assert refused(there.web(), "http://a.example/1", tmp_path / "picture").status is Status.REFUSED_SCHEME


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
def test_other_ports_names_and_malformed_addresses_are_refused(there: FakeWeb, tmp_path: Path, url: str):
    assert refused(there.web(), url, tmp_path / "picture").status is Status.REFUSED_ADDRESS
    assert there.log == []


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True), ("2606:4700:4700::1111", True), ("::ffff:8.8.8.8", True),
        ("224.0.0.1", False), ("255.255.255.255", False), ("198.18.0.1", False), ("240.0.0.1", False),
        ("ff02::1", False), ("fe80::1%eth0", False), ("2001::1", False), ("2002:808:808::", False),
    ],
)  # fmt: skip
def test_which_addresses_are_public(address: str, public: bool):
    assert is_public(address) is public


def test_proxies_of_the_environment_are_not_used(there: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    there.pages["a.example/x.jpg"] = Says(JPEG)
    assert there.web().picture("http://a.example/x.jpg", tmp_path / "picture").hops == 0


def test_https_is_asked_by_name_and_its_certificate_checked(
    there: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    there.pages["secret.example/x.jpg"] = there.pages["other.example/x.jpg"] = Says(JPEG)
    trusting = ssl.create_default_context(cafile=str(tmp_path / "certificate.pem"))
    monkeypatch.setattr(ssrf, "context", lambda: trusting)
    assert there.web().picture("https://secret.example/x.jpg", tmp_path / "picture").bytes == len(JPEG)
    (tmp_path / "picture").unlink()
    error = refused(there.web(), "https://other.example/x.jpg", tmp_path / "picture")
    assert error.status is Status.NETWORK_ERROR
    assert "CERTIFICATE_VERIFY_FAILED" in str(error)


def test_a_certificate_that_nobody_vouches_for_is_refused(there: FakeWeb, tmp_path: Path):
    error = refused(there.web(), "https://secret.example/x.jpg", tmp_path / "picture")
    assert "CERTIFICATE_VERIFY_FAILED" in str(error)


# --- manners


def test_robots_txt_is_asked_once_and_kept_to(there: FakeWeb, tmp_path: Path):
    there.pages["a.example/robots.txt"] = Says("User-agent: *\nDisallow: /private/\n")
    there.pages["a.example"] = Says(JPEG)
    web = there.web()
    for number in range(3):
        web.picture(f"http://a.example/{number}.jpg", tmp_path / f"{number}")
    error = refused(web, "http://a.example/private/x.jpg", tmp_path / "picture")
    assert error.status is Status.ROBOTS_DENIED
    assert [one.path for one in there.log].count("/robots.txt") == 1
    assert there.asked() == ["/0.jpg", "/1.jpg", "/2.jpg"]


def test_robots_txt_holds_behind_a_redirect(there: FakeWeb, tmp_path: Path):
    there.pages["b.example/robots.txt"] = Says("User-agent: portraitist\nDisallow: /\n")
    there.pages["a.example/1"] = Says("moved", 302, {"Location": "http://b.example/x.jpg"})
    there.pages["b.example/x.jpg"] = Says(JPEG)
    assert refused(there.web(), "http://a.example/1", tmp_path / "picture").status is Status.ROBOTS_DENIED
    assert there.asked("b.example") == []


@pytest.mark.parametrize(("status", "may"), [(404, True), (403, True), (500, False), (503, False), (429, False)])
def test_a_robots_txt_that_is_missing_allows_and_one_that_cannot_be_had_forbids(
    there: FakeWeb, tmp_path: Path, status: int, may: bool
):
    there.pages["a.example/robots.txt"] = Says("no", status)
    there.pages["a.example/x.jpg"] = Says(JPEG)
    if may:
        there.web().picture("http://a.example/x.jpg", tmp_path / "picture")
    else:
        assert refused(there.web(), "http://a.example/x.jpg", tmp_path / "picture").status is Status.ROBOTS_DENIED


def test_who_has_leave_may_say_so(there: FakeWeb, tmp_path: Path):
    there.pages["a.example/robots.txt"] = Says("User-agent: *\nDisallow: /\n")
    there.pages["a.example/x.jpg"] = Says(JPEG, headers={"X-Robots-Tag": "noai"})
    there.web(respect_robots=False).picture("http://a.example/x.jpg", tmp_path / "picture")
    assert [one.path for one in there.log] == ["/x.jpg"]


def test_a_host_is_asked_once_in_so_many_seconds_and_another_meanwhile(there: FakeWeb, tmp_path: Path):
    there.pages["a.example"] = there.pages["b.example"] = Says(JPEG)
    web = there.web(seconds_per_host=0.2, respect_robots=False)
    began = time.monotonic()
    for number in range(3):
        web.picture("http://a.example/x.jpg", tmp_path / f"{number}")
    assert time.monotonic() - began >= 0.4
    began = time.monotonic()
    web.picture("http://b.example/x.jpg", tmp_path / "other")
    assert time.monotonic() - began < 0.2


@pytest.mark.parametrize("how", ["by the source", "by robots.txt"])
def test_a_host_that_wants_to_be_asked_less_often_is(there: FakeWeb, tmp_path: Path, how: str):
    there.pages["a.example"] = Says(JPEG)
    there.pages["a.example/robots.txt"] = Says(f"User-agent: *\nCrawl-delay: {0.3 if how != 'by the source' else 0}\n")
    web = there.web()
    if how == "by the source":
        web.pace("a.example", 0.3)
    began = time.monotonic()
    for number in range(3):
        web.picture("http://a.example/x.jpg", tmp_path / f"{number}")
    assert time.monotonic() - began >= 0.6


@pytest.mark.parametrize("delay", ["86400", "9" * 400])
def test_a_host_that_wants_to_be_asked_once_a_day_is_not_asked(there: FakeWeb, tmp_path: Path, delay: str):
    there.pages["a.example"] = Says(JPEG)
    there.pages["a.example/robots.txt"] = Says(f"User-agent: *\nCrawl-delay: {delay}\n")
    error = refused(there.web(), "http://a.example/x.jpg", tmp_path / "picture")
    assert error.status == Status.ROBOTS_DENIED
    assert re.search(r"robots\.txt of a\.example asks for (86400|inf) s between two requests, more than 60", str(error))


def test_a_blocked_address_is_not_asked_even_behind_a_redirect(there: FakeWeb, tmp_path: Path):
    there.pages["a.example/1"] = Says("moved", 302, {"Location": "http://img.b.example/x.jpg"})
    error = refused(there.web(blocked=("host:b.example",)), "http://a.example/1", tmp_path / "picture")
    assert (error.status, str(error)) == (Status.BLOCKLISTED, "host:b.example")
    assert there.asked("img.b.example") == []


def test_connections_are_used_again_and_one_that_was_closed_is_made_anew(there: FakeWeb, tmp_path: Path):
    made = []
    resolve = there.resolve
    there.resolve = lambda *where, **how: made.append(where) or resolve(*where, **how)
    there.pages["a.example"] = Says(JPEG)
    web = there.web(respect_robots=False)
    for number in range(3):
        web.picture("http://a.example/x.jpg", tmp_path / f"{number}")
    assert len(made) == 1
    for idle in web.idle.values():
        idle[0].sock.sock.shutdown(socket.SHUT_RDWR)
    web.picture("http://a.example/x.jpg", tmp_path / "again")
    assert len(made) == 2


def test_no_more_connections_are_kept_than_a_process_may_have_open(there: FakeWeb, tmp_path: Path):
    web = there.web(respect_robots=False)
    for number in range(IDLE + 9):
        there.pages[f"h{number}.example"] = Says(JPEG)
        web.picture(f"http://h{number}.example/x.jpg", tmp_path / "picture")
    assert sum(map(len, web.idle.values())) == IDLE
    assert ("http", "h8.example", None) not in web.idle
    assert ("http", "h9.example", None) in web.idle


# --- pages


def test_a_page_of_any_status_is_given_with_what_it_says(there: FakeWeb):
    there.pages["a.example/p"] = Says("go away", 403, {"Retry-After": "7"})
    answer = there.web().text("http://a.example/p", crawled=True)
    assert (answer.status, answer.text, answer.retry_after_s) == (403, "go away", 7.0)


def test_a_page_too_large_is_refused(there: FakeWeb):
    there.pages["a.example/p"] = Says(b"x" * 1024, repeat=6000)
    with pytest.raises(FetchError, match="bytes of text"):
        there.web().text("http://a.example/p", crawled=False)


def test_a_key_is_sent_and_shown_nowhere(there: FakeWeb):
    there.pages["a.example/api?q=1&key=s3cret%2F"] = Says(
        "moved", 302, {"Location": "http://b.example/p?key=s3cret%2F"}
    )
    with pytest.raises(FetchError) as error:
        there.web(blocked=("url:http://b.example/p?key=s3cret%2F",)).text(
            "http://a.example/api?q=1", crawled=False, secret={"key": "s3cret/"}
        )
    assert "s3cret" not in str(error.value)
    there.pages["a.example/api?q=1&key=s3cret%2F"] = Says("moved", 302, {"Location": "http://b.example/p"})
    there.pages["b.example/p"] = Says("ok")
    answer = there.web().text("http://a.example/api?q=1", crawled=False, secret={"key": "s3cret/"})
    assert answer.text == "ok"
    assert "s3cret" not in repr(answer)
    assert there.asked("b.example") == ["/p"]  # another host is not told it


@pytest.mark.parametrize("text", ["肖像", "é"])
def test_old_pages_are_read_in_their_charset(text: str):
    assert decode_text(text.encode("gb18030")) == text
    assert decode_text(text.encode()) == text
    assert decode_text("é".encode("latin-1"), "latin-1") == "é"
    assert decode_text(b"x", "no such thing") == "x"


def test_the_first_bytes_tell_the_format_and_other_files_have_none():
    noise = np.random.default_rng(0).integers(0, 256, 64, dtype=np.uint8).tobytes()
    assert [sniff_format(data) for data in (b"", b"GIF", b"BM not a bitmap", b"RIFF0000WAVE", b"\x89PNG\n", noise)] == [
        ""
    ] * 6
