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
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from app_helpers import encode, error_of, form, post, request, serve_process, serving, wait_until
from PIL import Image
from prometheus_client import REGISTRY
from typer.testing import CliRunner

from portraitist.app import server as app_server
from portraitist.app.avatar import ModelError, Portraitist, RejectedError
from portraitist.app.compositing import Finish, apply_finish, encode_avatar
from portraitist.app.page_files import PREVIEW_PX
from portraitist.app.selfie import MAX_MEGABYTES
from portraitist.app.styles import Style
from portraitist.cli import app as cli
from portraitist.core.outcome import Status

PHOTO_COLOUR = (120, 140, 130)


@pytest.fixture(scope="module")
def port(portraitist):
    with serving(portraitist) as port:
        yield port


def test_avatar_is_byte_equal_to_the_python_api(port, portraitist, selfie):
    status, headers, body = post(port, "/avatar", selfie=selfie, background="#0aC81e", shape="circle", size=99)
    assert (status, headers["content-type"]) == (200, "image/png")
    avatar = portraitist.paint(selfie, size_px=99)
    assert body == encode_avatar(apply_finish(avatar, Finish((10, 200, 30), "circle", 99)), "PNG")
    avatar = portraitist.paint(selfie)
    assert post(port, "/avatar", selfie=selfie)[2] == encode_avatar(apply_finish(avatar, Finish()), "PNG")


def test_background_can_be_an_uploaded_picture(port, selfie):
    background = encode(Image.new("RGB", (90, 40), (1, 2, 250)), "PNG")
    status, _, body = post(port, "/avatar", selfie=selfie, background=background)
    assert status == 200
    assert np.array(Image.open(io.BytesIO(body)))[0, 0].tolist() == [1, 2, 250]


def test_faces_returns_the_layers_of_each(port, portraitist, selfie):
    photo = Image.new("RGB", (512, 256), PHOTO_COLOUR)
    for column in range(2):
        face = Image.open(io.BytesIO(selfie)).resize((256 - 50 * column,) * 2)
        photo.paste(face, (256 * column, 0))
    data = encode(photo, "PNG")
    status, _, body = post(port, "/faces", selfie=data)
    result = json.loads(body)
    assert (status, result["left_out"], len(result["faces"])) == (200, 0, 2)
    first = portraitist.paint(data)
    layers = {
        name: np.array(Image.open(io.BytesIO(base64.b64decode(text.removeprefix("data:image/webp;base64,")))))
        for name, text in result["faces"][0].items()
    }
    assert set(layers) == {"before", "keep", "transparent", "backdrop"}
    assert np.abs(layers["before"].astype(int) - first.selfie).mean() < 4  # the layers are compressed with loss
    assert np.abs(layers["keep"].astype(int) - first.picture).mean() < 4
    assert np.array_equal(layers["transparent"][..., 3], first.mask)
    second = post(port, "/avatar", selfie=data, face=2)[2]
    assert second == encode_avatar(apply_finish(portraitist.paint_all(data)[1], Finish()), "PNG")


def test_styles_have_names_and_previews(port, portraitist):
    status, _, body = request(port, "GET", "/styles")
    cards = json.loads(body)
    assert status == 200
    assert [card["name"] for card in cards] == [*portraitist.style_names]
    for card in cards:
        status, headers, preview = request(port, "GET", "/" + card["preview"])
        assert (status, headers["content-type"]) == (200, "image/webp")
        assert Image.open(io.BytesIO(preview)).size == (PREVIEW_PX, PREVIEW_PX)
    assert request(port, "GET", "/preview/none")[0] == 404


def test_name_of_a_style_may_contain_a_slash(portraitist, monkeypatch):
    monkeypatch.setattr(Portraitist, "style_names", ("house", "a/b"))
    with serving(portraitist) as port:
        _, card = json.loads(request(port, "GET", "/styles")[2])
        assert request(port, "GET", "/" + card["preview"])[0] == 200


def test_strength_blends_with_the_selfie(port, portraitist, selfie):
    avatar = portraitist.paint(selfie, strength=0.25, keep_colours=True)
    parts = {"selfie": selfie, "strength": 0.25, "keep_colours": "true", "background": "keep"}
    assert post(port, "/avatar", **parts)[2] == encode_avatar(apply_finish(avatar, Finish("keep")), "PNG")


def test_faces_beyond_the_limit_are_counted(port, selfie):
    crowd = Image.new("RGB", (1440, 1440), PHOTO_COLOUR)
    face = Image.open(io.BytesIO(selfie)).resize((240, 240))
    for cell in range(36):
        crowd.paste(face, (240 * (cell % 6), 240 * (cell // 6)))
    status, _, body = post(port, "/faces", selfie=encode(crowd, "JPEG"))
    result = json.loads(body)
    assert (status, len(result["faces"])) == (200, app_server.MAX_FACES)
    assert result["left_out"] >= 8


BOMB = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\xff\xff\0\0\xff\xff\x08\2\0\0\0"


@pytest.mark.parametrize(
    ("data", "status", "message"),
    [
        (b"hello", 415, "not a picture"),
        (b"", 415, "not a picture"),
        (encode(Image.new("RGB", (80, 64), PHOTO_COLOUR), "PNG"), 422, "80 x 64"),
        (encode(Image.new("RGB", (8, 8)), "PNG"), 422, "8 x 8"),
        (BOMB, 41, ""),
        (encode(Image.effect_noise((300, 300), 90), "JPEG")[:4000], 415, "picture"),
        (b"\xff" * 3_000_000, 413, "2 megabytes"),
    ],
    ids=["text", "empty", "no face", "tiny", "bomb", "truncated", "large"],
)
def test_server_survives_bad_pictures(portraitist, selfie, data, status, message):
    with serving(portraitist, megabytes=2.0) as port:
        for path in ("/avatar", "/faces"):
            found, text = error_of(post(port, path, selfie=data))
            assert found == status or found // 10 == status
            assert message in text
        assert post(port, "/avatar", selfie=selfie)[0] == 200


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "`selfie` is missing"),
        ({"selfie": "text"}, "`selfie` is missing"),
        ({"background": "reddish"}, "background is 'reddish'; allowed are backdrop, transparent, keep"),
        ({"background": "/etc/passwd"}, "background is '/etc/passwd'"),
        ({"background": "#12345"}, "background is '#12345'"),
        ({"shape": "oval"}, "shape is 'oval'; allowed are square and circle"),
        ({"shape": b"oval"}, "the form field 'shape' must not be a file; files are `selfie`, `background` and `like`"),
        ({"size": b"64"}, "the form field 'size' must not be a file; files are `selfie`, `background` and `like`"),
        ({"note": b"any"}, "the form field 'note' must not be a file; files are `selfie`, `background` and `like`"),
        ({"like": "portrait.jpg"}, "the form field `like` must be a file"),
        ({"size": "huge"}, "size is 'huge'"),
        ({"size": "²"}, "size is '²'"),
        ({"size": "100000"}, "size is 100000; allowed are 16 to 4096"),
        ({"strength": "1.5"}, "strength is 1.5"),
        ({"strength": "x"}, "strength is 'x'; it must be a number"),
        ({"keep_colours": "maybe"}, "keep_colours is 'maybe'; allowed are true and false"),
        ({"style": "none"}, "no style 'none'; this model's styles are house"),
        ({"face": "2"}, "face is 2, but the number of faces in the picture is 1"),
        ({"face": "0"}, "face is '0'; allowed are 1 to 12"),
        (
            {"keep_colors": "true"},
            "unknown form field 'keep_colors'; allowed are selfie, background, like, face, style",
        ),
        ({"note": "x" * 300}, "malformed form: Part exceeded maximum size"),
        (dict.fromkeys("abcdefghi", "1"), "malformed form: Too many fields"),
    ],
)
def test_invalid_fields_are_rejected(port, selfie, fields, message):
    fields = fields if "selfie" in fields or not fields else {"selfie": selfie} | fields
    status, text = error_of(post(port, "/avatar", **fields))
    assert (status, message in text) == (400, True), text


@pytest.mark.parametrize(("field", "name"), [("background", "background picture"), ("like", "portrait to paint like")])
def test_error_names_the_picture_that_cannot_be_read(port, selfie, field, name):
    status, text = error_of(post(port, "/avatar", selfie=selfie, **{field: b"no picture"}))
    assert status == 415
    assert text.startswith(f"the {name}: not a picture")


@pytest.mark.parametrize("field", ["selfie", "background", "like"])
def test_every_picture_is_limited_in_size(portraitist, selfie, field):
    with serving(portraitist, megabytes=1.0) as port:
        parts = {"selfie": selfie} | {field: b"x" * 1_100_000}
        assert error_of(post(port, "/avatar", **parts)) == (413, "a picture may have at most 1 megabytes")


def test_path_without_a_slash_is_not_found_and_counted(port):
    labels = {"endpoint": "other", "status": "404"}
    before = REGISTRY.get_sample_value("portraitist_requests_total", labels) or 0
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        connection.sendall(b"OPTIONS * HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        assert b" 404 " in connection.recv(1000).splitlines()[0]
    wait_until(lambda: REGISTRY.get_sample_value("portraitist_requests_total", labels) == before + 1)


def test_malformed_requests_are_rejected(port):
    assert error_of(request(port, "POST", "/avatar", b"hello", "image/jpeg"))[0] == 415
    assert error_of(request(port, "POST", "/avatar", b"hello", "multipart/form-data"))[0] == 400
    assert error_of(request(port, "POST", "/avatar", b"hello", "multipart/form-data; boundary=x"))[0] == 400


def test_malformed_forms_write_no_log(port, caplog):
    request(port, "POST", "/avatar", b"hello", "multipart/form-data; boundary=x")
    assert caplog.records == []


@pytest.mark.parametrize("charset", ["undefined", "nonsense", "base64", "idna", "utf-16"])
def test_bad_charset_is_a_client_error(port, selfie, charset):
    body, content_type = form(selfie=selfie, shape="square")
    status, _, _ = request(port, "POST", "/avatar", body, f"{content_type}; charset={charset}")
    assert status in ((400,) if charset == "undefined" else (200, 400))


def test_unknown_files_are_not_found(port):
    for name in ("avatar", "server.py", "..%2fserver.py", "a" * 300 + ".js", "%00.js", "server_backend.py"):
        assert error_of(request(port, "GET", f"/{name}"))[0] == 404


def test_background_field_never_reads_a_file(port, selfie, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("#x.jpg", "x.jpg"):
        Image.new("RGB", (64, 64)).save(tmp_path / name)
        status, message = error_of(post(port, "/avatar", selfie=selfie, background=name))
        assert (status, repr(name) in message) == (400, True)


def test_page_loads_only_from_its_own_server(port):
    for path in ("/", "/page.js", "/backend.js", "/base.css", "/style.css"):
        status, headers, body = request(port, "GET", path)
        assert status == 200
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "connect-src 'self'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert not re.search(rb"https?://", body)


def test_page_works_under_a_subpath():
    for path in app_server.FILES.values():
        if path.suffix == ".webp":
            continue
        absolute = r"""(?:fetch|post|url|URL|from|import)\s*\(?["'`]/|(?:src|href)="/"""
        assert not re.search(absolute, path.read_text(encoding="utf-8")), path.name


def test_foreign_host_headers_are_rejected(port):
    assert request(port, "GET", "/", Host="evil.example")[0] == 400
    assert request(port, "GET", "/", Host="127.0.0.1:1")[0] == 200
    assert request(port, "GET", "/", Host="[::1]:1")[0] == 200
    assert request(port, "GET", "/", Host="[::2]:1")[0] == 400


def test_uploads_are_never_written_to_disk(port, selfie, monkeypatch):
    def rollover(self):
        raise AssertionError("a picture was written to disk")

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "rollover", rollover)
    noise = np.random.default_rng(1).integers(0, 256, (1200, 1200, 3), np.uint8)
    large = encode(Image.fromarray(noise), "PNG")
    assert len(large) > 4e6
    assert post(port, "/avatar", selfie=selfie, background=large)[0] == 200


class BlockingModel(Portraitist):
    """A model that waits until it is released, and then finds no face."""

    def __init__(self):
        self.released, self.started = threading.Semaphore(0), threading.Semaphore(0)

    def read_style(self, options):
        return Style(None)

    def crops(self, cleaned, faces="each"):
        self.started.release()
        self.released.acquire()
        raise RejectedError(Status.NO_FACE, "no face")


@pytest.fixture
def blocked(selfie):
    """The port of a server with a blocking model, the model, and a function that submits a picture with a ticket."""
    model = BlockingModel()
    with serving(model, waiting=20) as port, ThreadPoolExecutor(32) as pool:
        body, content_type = form(selfie=selfie)

        def submit(ticket):
            return pool.submit(request, port, "POST", "/faces", body, content_type, **{"X-Ticket": ticket})

        yield port, model, submit
        for _ in range(64):
            model.released.release()


def position_of(port, ticket):
    return json.loads(request(port, "GET", f"/position/{ticket}")[2])["position"]


def test_waiting_clients_see_their_position(blocked):
    port, model, submit = blocked
    answers = [submit("first")]
    model.started.acquire()
    for number in range(20):
        answers.append(submit(f"t{number}"))
        wait_until(lambda number=number: position_of(port, f"t{number}") == number + 1)
    status, headers, body = submit("late").result()
    assert (status, headers["retry-after"]) == (503, "5")
    assert "number 21" in json.loads(body)["error"]
    model.released.release()
    wait_until(lambda: position_of(port, "t19") == 19)
    assert position_of(port, "unknown") is None
    for _ in range(20):
        model.released.release()
    assert {answer.result()[0] for answer in answers} == {422}


def test_disconnected_clients_leave_the_queue(blocked, selfie):
    port, model, submit = blocked
    first = submit("first")
    model.started.acquire()
    body, content_type = form(selfie=selfie)
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("POST", "/faces", body, {"Content-Type": content_type, "X-Ticket": "gone"})
    wait_until(lambda: position_of(port, "gone") == 1)
    second = submit("second")
    wait_until(lambda: position_of(port, "second") == 2)
    connection.close()
    wait_until(lambda: position_of(port, "second") == 1)
    for _ in range(2):
        model.released.release()
    assert (first.result()[0], second.result()[0]) == (422, 422)


def test_rate_limit_answers_429_with_retry_after(portraitist):
    with serving(portraitist, per_minute=2) as port:
        assert [post(port, "/faces", selfie=b"x")[0] for _ in range(2)] == [415, 415]
        status, headers, body = post(port, "/faces", selfie=b"x")
        assert (status, int(headers["retry-after"]) in range(50, 61)) == (429, True)
        assert "2 pictures per minute" in json.loads(body)["error"]


@pytest.mark.parametrize("proxies", ["127.0.0.1", "192.0.2.0/24"])
def test_forwarded_addresses_of_proxies_only_are_used(portraitist, proxies):
    body, content_type = form(selfie=b"x")
    with serving(portraitist, per_minute=1, proxies=proxies) as port:
        clients = [{"X-Forwarded-For": f"198.51.100.{number}"} for number in range(3)]
        answers = [request(port, "POST", "/faces", body, content_type, **client)[0] for client in clients]
    assert answers == ([415] * 3 if proxies == "127.0.0.1" else [415, 429, 429])


def test_slow_upload_is_ended_and_occupies_no_worker(portraitist, selfie):
    content_type = form(selfie=b"x")[1]
    with (
        serving(portraitist, upload_s=2.0) as port,
        socket.create_connection(("127.0.0.1", port), 20) as connection,
    ):
        connection.sendall(f"POST /faces HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\n".encode())
        connection.sendall(b"Content-Length: 1000\r\n\r\n------edge\r\n")
        assert post(port, "/avatar", selfie=selfie)[0] == 200
        assert b" 408 " in connection.recv(1000).splitlines()[0]


def test_uploads_of_one_address_do_not_block_others(portraitist, selfie):
    body, content_type = form(selfie=selfie)
    head = (
        f"POST /faces HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    with serving(portraitist, workers=1, waiting=3) as port, ExitStack() as stack:
        silent = [stack.enter_context(socket.create_connection(("127.0.0.1", port), 20)) for _ in range(4)]
        for connection in silent:
            connection.sendall(head.encode())
        # the server has read the requests above when it answers this one
        wait_until(lambda: request(port, "GET", "/position/unknown")[0] == 200)
        answer = request(port, "POST", "/faces", body, content_type, **{"X-Forwarded-For": "192.0.2.7"})
        assert answer[0] == 200
        for connection in silent:  # all uploads are answered, one after another
            connection.sendall(body)
        assert [b" 200 " in connection.recv(1000).splitlines()[0] for connection in silent] == [True] * 4


@pytest.mark.parametrize("error", [RuntimeError("secret detail"), ModelError("secret detail")], ids=["bug", "model"])
def test_internal_errors_hide_details(selfie, error):
    class Failing(Portraitist):
        def __init__(self):
            pass

        def crops(self, cleaned, faces="each"):
            raise error

    with serving(Failing()) as port:
        for _ in range(2):
            status, message = error_of(post(port, "/faces", selfie=selfie))
            assert (status, "not stored" in message, "secret" in message) == (500, True, False)


def test_printed_ipv6_address_opens(model):
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 on this machine")
    arguments = ["serve", "--model", str(model), "--port", "0", "--host", "::1"]
    code = "import sys; from portraitist.cli import main; sys.argv[1:] = " + repr(arguments) + "; main()"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
        address = re.match(r"(http://\[::1\]:\d+/) ", process.stdout.readline())
        try:
            with urllib.request.urlopen(address[1], timeout=20) as page:
                assert page.status == 200
        finally:
            process.send_signal(signal.SIGINT)


def test_megabytes_option_is_bounded():
    def serve(megabytes):
        return CliRunner().invoke(cli, ["serve", "--megabytes", f"{megabytes}", "--model", "none.onnx"])

    assert "none.onnx: no such file" in serve(MAX_MEGABYTES).stderr
    assert "no such file" not in serve(MAX_MEGABYTES + 1).stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGKILL])
def test_server_leaves_no_temporary_files(model, selfie, tmp_path, monkeypatch, kind):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with serve_process(model) as (process, port):
        assert post(port, "/avatar", selfie=selfie)[0] == 200
        process.send_signal(kind)
        process.wait(20)
    assert list(tmp_path.iterdir()) == []


def resident_mb(pid):
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(encoding="ascii"))[1]) / 1024


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_five_hundred_pictures_in_constant_memory(model, selfie):
    sizes = []
    with serve_process(model, "--per-minute", "100000") as (process, port):

        def paint(number):
            answer = post(port, "/avatar", selfie=selfie)
            if number % 50 == 49:
                sizes.append(resident_mb(process.pid))
            return answer[0], hash(answer[2])

        with ThreadPoolExecutor(20) as pool:
            answers = set(pool.map(paint, range(500)))
    assert len(answers) == 1
    assert answers.pop()[0] == 200
    assert sizes[-1] < sizes[1] + 20, sizes
    print(f"resident MB after each 50: {[round(size) for size in sizes]}")
