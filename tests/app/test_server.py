import base64
import http.client
import io
import json
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from PIL import Image
from typer.testing import CliRunner

from portraitist.app import server
from portraitist.app.avatar import MAX_MEGABYTES, Portraitist
from portraitist.app.compositing import Finish, apply_finish, encode_avatar
from portraitist.cli import app as cli

PHOTO = (120, 140, 130)


@contextmanager
def serving(portraitist, workers=1, **limits):
    """The server's port; it listens on loopback in a thread."""
    made = server.create_app(
        portraitist, workers, server.Limits(**({"per_minute": 10_000} | limits)), ["127.0.0.1", "[::1]"]
    )
    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(made, log_level="critical", access_log=False))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
        listening.close()


def form(**parts):
    """A multipart body and its type; bytes are files."""
    edge = "----edge"
    body = b""
    for name, value in parts.items():
        told = f'; filename="{name}.jpg"' if isinstance(value, bytes) else ""
        body += f'--{edge}\r\nContent-Disposition: form-data; name="{name}"{told}\r\n\r\n'.encode()
        body += (value if isinstance(value, bytes) else str(value).encode()) + b"\r\n"
    return body + f"--{edge}--\r\n".encode(), f"multipart/form-data; boundary={edge}"


def ask(port, method, path, body=None, kind=None, **headers):
    """Status, headers and body of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body, ({"Content-Type": kind} if kind else {}) | headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def post(port, path, **parts):
    return ask(port, "POST", path, *form(**parts))


def complaint(answer):
    """Status and sentence; one line, and no word of the code."""
    status, _, body = answer
    (sentence,) = json.loads(body).values()
    assert "\n" not in sentence
    assert "Traceback" not in sentence
    return status, sentence


@pytest.fixture(scope="module")
def portraitist(model):
    return Portraitist.open(model, threads=1)


@pytest.fixture(scope="module")
def port(portraitist):
    with serving(portraitist) as port:
        yield port


@pytest.fixture(scope="module")
def selfie(sample):
    return (sample / "selfies" / "0006.jpg").read_bytes()


def encoded_as(picture, form, **how):
    buffer = io.BytesIO()
    picture.save(buffer, form, **how)
    return buffer.getvalue()


def test_an_avatar_is_the_very_file_that_the_product_writes(port, portraitist, selfie):
    status, headers, body = post(port, "/avatar", selfie=selfie, background="#0aC81e", shape="circle", size=99)
    assert (status, headers["content-type"]) == (200, "image/png")
    assert body == encode_avatar(apply_finish(portraitist.paint(selfie), Finish((10, 200, 30), "circle", 99)), "PNG")
    assert post(port, "/avatar", selfie=selfie)[2] == encode_avatar(
        apply_finish(portraitist.paint(selfie), Finish()), "PNG"
    )


def test_a_picture_may_stand_behind(port, selfie):
    behind = encoded_as(Image.new("RGB", (90, 40), (1, 2, 250)), "PNG")
    status, _, body = post(port, "/avatar", selfie=selfie, background=behind)
    assert status == 200
    assert np.array(Image.open(io.BytesIO(body)))[0, 0].tolist() == [1, 2, 250]


def test_the_page_is_given_every_face_cut_painted_and_alone(port, portraitist, selfie):
    photo = Image.new("RGB", (512, 256), PHOTO)
    for place in range(2):
        photo.paste(Image.open(io.BytesIO(selfie)).resize((256 - 50 * place,) * 2), (256 * place, 0))
    data = encoded_as(photo, "PNG")
    status, _, body = post(port, "/faces", selfie=data)
    told = json.loads(body)
    assert (status, told["left_out"], len(told["faces"])) == (200, 0, 2)
    first = portraitist.paint(data)
    shown = {
        name: np.array(Image.open(io.BytesIO(base64.b64decode(text.removeprefix("data:image/png;base64,")))))
        for name, text in told["faces"][0].items()
    }
    assert np.array_equal(shown["before"], first.crop.square.picture)
    assert np.array_equal(shown["painted"], first.picture)
    assert np.array_equal(shown["person"], np.array(apply_finish(first, Finish())))
    second = post(port, "/avatar", selfie=data, face=2)[2]
    assert second == encode_avatar(apply_finish(portraitist.paint_all(data)[1], Finish()), "PNG")


def test_of_a_crowd_the_largest_are_painted_and_the_rest_counted(port, selfie):
    crowd = Image.new("RGB", (1440, 1440), PHOTO)
    one = Image.open(io.BytesIO(selfie)).resize((240, 240))
    for place in range(36):
        crowd.paste(one, (240 * (place % 6), 240 * (place // 6)))
    status, _, body = post(port, "/faces", selfie=encoded_as(crowd, "JPEG"))
    told = json.loads(body)
    assert status == 200
    assert len(told["faces"]) == server.MOST_FACES
    assert told["left_out"] >= 8


BOMB = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xff\xff\0\0\xff\xff\x08\2\0\0\0"


@pytest.mark.parametrize(
    ("data", "status", "told"),
    [
        (b"hello", 415, "not a picture that opens as one of JPEG"),
        (b"", 415, "not a picture"),
        (encoded_as(Image.new("RGB", (80, 64), PHOTO), "PNG"), 422, "no face found in the 80 x 64 picture"),
        (encoded_as(Image.new("RGB", (8, 8)), "PNG"), 422, "8 x 8 pixels; each side needs 16"),
        (BOMB, 41, ""),
        (encoded_as(Image.effect_noise((300, 300), 90), "JPEG")[:4000], 415, "the picture is broken"),
        (b"\xff" * 3_000_000, 413, "more than 2 megabytes"),
    ],
    ids=["text", "nothing", "no face", "tiny", "bomb", "truncated", "large"],
)
def test_bad_pictures_are_one_sentence_and_the_server_lives_on(portraitist, selfie, data, status, told):
    with serving(portraitist, megabytes=2.0) as port:
        for path in ("/avatar", "/faces"):
            found, sentence = complaint(post(port, path, selfie=data))
            assert found == status or found // 10 == status
            assert told in sentence
        assert post(port, "/avatar", selfie=selfie)[0] == 200


@pytest.mark.parametrize(
    ("parts", "status", "told"),
    [
        ({}, 400, "the file `selfie` is missing"),
        ({"selfie": "text"}, 400, "the file `selfie` is missing"),
        ({"background": "red"}, 400, "background is 'red'; allowed are transparent, keep, #rrggbb"),
        ({"background": "/etc/passwd"}, 400, "background is '/etc/passwd'"),
        ({"background": "#12345"}, 400, "background is '#12345'"),
        ({"background": b"no picture"}, 415, "not a picture"),
        ({"shape": "oval"}, 400, "shape is 'oval'; allowed are square and circle"),
        ({"shape": b"oval"}, 400, "only `selfie` and `background` may be files"),
        ({"size": b"64"}, 400, "only `selfie` and `background` may be files"),
        ({"note": b"any"}, 400, "only `selfie` and `background` may be files"),
        ({"size": "huge"}, 400, "size is 'huge'"),
        ({"size": "100000"}, 400, "size is 100000; allowed are 16 to 4096"),
        ({"face": "2"}, 400, "face is 2; the picture shows 1"),
        ({"face": "0"}, 400, "face is '0'; allowed are 1 to 12"),
        ({"note": "x" * 300}, 400, "not a form: Part exceeded maximum size"),
        ({"a": "1", "b": "2", "c": "3", "d": "4", "e": "5"}, 400, "not a form: Too many fields"),
    ],
)
def test_bad_words_are_one_sentence(port, selfie, parts, status, told):
    given = parts if "selfie" in parts or not parts else {"selfie": selfie} | parts
    found, sentence = complaint(post(port, "/avatar", **given))
    assert (found, told in sentence) == (status, True), sentence


def test_what_is_no_form_is_refused(port):
    assert complaint(ask(port, "POST", "/avatar", b"hello", "image/jpeg"))[0] == 415
    assert complaint(ask(port, "POST", "/avatar", b"hello", "multipart/form-data"))[0] == 400
    assert complaint(ask(port, "POST", "/avatar", b"hello", "multipart/form-data; boundary=x"))[0] == 400
    assert complaint(ask(port, "GET", "/avatar"))[0] == 404
    assert complaint(ask(port, "GET", "/web.py"))[0] == 404
    assert complaint(ask(port, "GET", "/..%2fweb.py"))[0] == 404


def test_the_page_may_ask_nobody_but_this_server(port):
    for path in ("/", "/page.js", "/backend.js", "/style.css"):
        status, headers, body = ask(port, "GET", path)
        assert status == 200
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "connect-src 'self'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert not re.search(rb"https?://", body)


def test_a_foreign_name_is_not_answered(port):
    assert ask(port, "GET", "/", Host="evil.example")[0] == 400
    assert ask(port, "GET", "/", Host="127.0.0.1:1")[0] == 200
    assert ask(port, "GET", "/", Host="[::1]:1")[0] == 200
    assert ask(port, "GET", "/", Host="[::2]:1")[0] == 400


def test_nothing_is_written_to_disk(port, selfie, monkeypatch):
    def rolled(self):
        raise AssertionError("a picture went to disk")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", rolled)
    noise = np.random.default_rng(1).integers(0, 256, (1200, 1200, 3), np.uint8)
    large = encoded_as(Image.fromarray(noise), "PNG")
    assert len(large) > 4e6
    assert post(port, "/avatar", selfie=selfie, background=large)[0] == 200


class Slow(Portraitist):
    """Paints when it may."""

    def __init__(self):
        self.go, self.begun = threading.Semaphore(0), threading.Semaphore(0)

    def crops(self, cleaned, faces="each"):
        self.begun.release()
        self.go.acquire()
        raise server.RejectedError(server.Verdict.NO_FACE, "nobody")


@pytest.fixture
def waiting(selfie):
    """A server that paints when it may, its model, and a function that has a ticket's picture painted."""
    slow = Slow()
    with serving(slow, waiting=20) as port, ThreadPoolExecutor(32) as pool:
        body, kind = form(selfie=selfie)

        def come(ticket):
            return pool.submit(ask, port, "POST", "/faces", body, kind, **{"X-Ticket": ticket})

        yield port, slow, come
        for _ in range(64):
            slow.go.release()


def place_of(port, ticket):
    return json.loads(ask(port, "GET", f"/place/{ticket}")[2])["place"]


def until(true, seconds=20):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_whoever_waits_is_told_the_place_and_one_too_many_where_it_would_have_stood(waiting):
    port, slow, come = waiting
    answers = [come("first")]
    slow.begun.acquire()
    for number in range(20):
        answers.append(come(f"t{number}"))
        until(lambda number=number: place_of(port, f"t{number}") == number + 1)
    status, headers, body = come("late").result()
    assert (status, headers["retry-after"]) == (503, "5")
    assert "20 pictures wait already, yours would be number 21 in line" in json.loads(body)["error"]
    slow.go.release()
    until(lambda: place_of(port, "t19") == 19)
    assert place_of(port, "nobody") is None
    for _ in range(20):
        slow.go.release()
    assert {answer.result()[0] for answer in answers} == {422}


def test_whoever_gives_up_leaves_the_line(waiting, selfie):
    port, slow, come = waiting
    first = come("first")
    slow.begun.acquire()
    body, kind = form(selfie=selfie)
    gone = http.client.HTTPConnection("127.0.0.1", port)
    gone.request("POST", "/faces", body, {"Content-Type": kind, "X-Ticket": "gone"})
    until(lambda: place_of(port, "gone") == 1)
    second = come("second")
    until(lambda: place_of(port, "second") == 2)
    gone.close()
    until(lambda: place_of(port, "second") == 1)
    slow.go.release(), slow.go.release()
    assert (first.result()[0], second.result()[0]) == (422, 422)


def test_too_many_a_minute_are_told_when_to_come_again(portraitist):
    with serving(portraitist, per_minute=2) as port:
        assert [post(port, "/faces", selfie=b"x")[0] for _ in range(2)] == [415, 415]
        status, headers, body = post(port, "/faces", selfie=b"x")
        assert (status, int(headers["retry-after"]) in range(25, 31)) == (429, True)
        assert "2 pictures a minute are painted; wait" in json.loads(body)["error"]


def test_an_upload_that_drips_keeps_nobody_waiting_and_is_ended(portraitist, selfie):
    with serving(portraitist, upload_s=3.0) as port, socket.create_connection(("127.0.0.1", port), 20) as line:
        kind = form(selfie=b"x")[1]
        line.sendall(f"POST /faces HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n".encode())
        line.sendall(b"Content-Length: 1000\r\n\r\n------edge\r\n")
        assert post(port, "/avatar", selfie=selfie)[0] == 200  # the only worker is free
        assert b" 408 " in line.recv(1000).splitlines()[0]


def test_uploads_of_one_address_that_send_nothing_keep_no_other_out(portraitist, selfie):
    body, kind = form(selfie=selfie)
    begun = f"POST /faces HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    with serving(portraitist, workers=1, waiting=3) as port, ExitStack() as lines:
        silent = [lines.enter_context(socket.create_connection(("127.0.0.1", port), 20)) for _ in range(4)]
        for line in silent:
            line.sendall(begun.encode())
        until(lambda: ask(port, "GET", "/place/nobody")[0] == 200)  # read after those
        answer = ask(port, "POST", "/faces", body, kind, **{"X-Forwarded-For": "192.0.2.7"})  # as a proxy here says
        assert answer[0] == 200
        for line in silent:  # all of them are served, one after the other
            line.sendall(body)
        assert [b" 200 " in line.recv(1000).splitlines()[0] for line in silent] == [True] * 4


def test_a_fault_of_our_own_is_told_as_one_and_the_next_is_served(selfie):
    class Broken(Portraitist):
        def __init__(self):
            pass

        def crops(self, cleaned, faces="each"):
            raise RuntimeError("secret detail")

    with serving(Broken()) as port:
        for _ in range(2):
            assert complaint(post(port, "/faces", selfie=selfie)) == (
                500,
                "something here broke; the picture was not kept",
            )


def test_the_address_that_is_told_opens_in_a_browser_where_it_is_of_version_six(model):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no address of version six")
    words = ["serve", "--model", str(model), "--port", "0", "--host", "::1"]
    code = "import sys; from portraitist.cli import main; sys.argv[1:] = " + repr(words) + "; main()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as server:
        told = re.match(r"(http://\[::1\]:\d+/) \(Ctrl-C ends\)", server.stdout.readline())
        try:
            with urllib.request.urlopen(told[1], timeout=20) as page:
                assert page.status == 200
        finally:
            server.send_signal(signal.SIGINT)


def test_as_many_megabytes_may_be_allowed_as_are_read_at_all():
    serve = lambda megabytes: CliRunner().invoke(cli, ["serve", "--megabytes", megabytes, "--model", "none.onnx"])
    assert "none.onnx: no such file" in serve(f"{MAX_MEGABYTES}").stderr
    assert "no such file" not in serve(f"{MAX_MEGABYTES + 1}").stderr


def resident_mb(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))[1]) / 1024


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_five_hundred_pictures_twenty_at_a_time_are_all_painted_in_flat_memory(model, selfie):
    words = ["serve", "--model", str(model), "--port", "0", "--per-minute", "100000"]
    code = "import sys; from portraitist.cli import main; sys.argv[1:] = " + repr(words) + "; main()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as server:
        port = int(re.search(r":(\d+)/", server.stdout.readline())[1])
        sizes = []

        def one(number):
            answer = post(port, "/avatar", selfie=selfie)
            if number % 50 == 49:
                sizes.append(resident_mb(server.pid))
            return answer[0], hash(answer[2])

        with ThreadPoolExecutor(20) as pool:
            found = set(pool.map(one, range(500)))
        server.send_signal(signal.SIGINT)
    assert len(found) == 1
    assert found.pop()[0] == 200
    assert sizes[-1] < sizes[1] + 20, sizes
    print(f"resident MB after each 50: {[round(size) for size in sizes]}")
