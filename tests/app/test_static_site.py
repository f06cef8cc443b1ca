"""The web page in a real browser: with the server, and as a static site on the device, offline."""

import functools
import http.server
import io
import json
import shutil
import subprocess
import threading
import time

import numpy as np
import pytest
from app_helpers import encode, parts_of, serving, with_metadata
from browser import tab
from PIL import Image
from toys import ROOT
from typer.testing import CliRunner

from portraitist.app import site_builder
from portraitist.app.avatar import Portraitist
from portraitist.app.site_builder import RUNTIME, SITE, SiteBuildError, build_site
from portraitist.cli import app

pytestmark = pytest.mark.slow
PHONE = (360, 740)
MEDIA_TYPES = {
    ".html": "text/html",
    ".js": "application/javascript",
    ".css": "text/css",
    "": "application/octet-stream",
}


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "timeout"
        time.sleep(0.05)


def messages(page):
    return page.inner_text("#status"), page.inner_text("#error")


def upload(page, path):
    """Choose a file on the page and return its status and error messages."""
    page.set_input_files("#selfie", path)
    wait_until(lambda: page.is_visible("#result") or page.inner_text("#error"))
    return messages(page)


def downloaded(page):
    with page.expect_download() as waiting:
        page.click("#download")
    return waiting.value.path().read_bytes()


def pixels(data):
    return np.array(Image.open(io.BytesIO(data)))


@pytest.fixture(scope="module")
def selfie(sample):
    return sample / "selfies" / "0006.jpg"


@pytest.fixture(scope="module")
def pair(sample, tmp_path_factory):
    """A photo of two persons."""
    photo = Image.new("RGB", (512, 256), (120, 140, 130))
    for column in range(2):
        with Image.open(sample / "selfies" / f"{6 * column:04d}.jpg") as opened:
            photo.paste(opened.resize((206 + 50 * column,) * 2), (256 * column, 0))
    path = tmp_path_factory.mktemp("pair") / "wir zwei, 我们.png"
    photo.save(path)
    return path


@pytest.fixture(scope="module")
def server(model):
    with serving(Portraitist.open(model, threads=1)) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture(scope="module")
def runtime():
    """onnxruntime-web, downloaded once with npm."""
    path = ROOT / ".venv" / f"{RUNTIME.replace('@', '-')}.tgz"
    if not path.exists():
        if shutil.which("npm") is None:
            pytest.skip(f"no npm on this machine to download {RUNTIME}")
        command = ["npm", "pack", RUNTIME, "--silent", "--pack-destination", str(path.parent)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip(f"npm could not download {RUNTIME}")
    return path


@pytest.fixture(scope="module")
def folder(model, runtime, tmp_path_factory):
    out = tmp_path_factory.mktemp("static") / "page"
    build_site(model, out, runtime)
    return out


@pytest.fixture(scope="module")
def static(folder):
    """The static site on a web server that knows the media types of a stock nginx: none for .mjs."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        extensions_map = MEDIA_TYPES

        def log_message(self, *_):
            pass

    files = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder.parent)))
    threading.Thread(target=files.serve_forever).start()
    yield f"http://127.0.0.1:{files.server_port}/page/"
    files.shutdown()
    files.server_close()


def opened(page, address):
    """Open an address and return the lists to which its requests and errors are added."""
    requests, errors = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
    page.goto(address)
    wait_until(lambda: page.inner_text("#status") == "" or page.inner_text("#error"))
    return requests, errors


def test_page_opened_from_disk_explains_the_web_server():
    with tab(1000, 700) as page:
        page.goto((SITE / "index.html").as_uri())
        assert "opened from disk" in page.inner_text("#note")
        tops = page.evaluate("[...document.querySelectorAll('#drop .button, #camera')].map(button => button.offsetTop)")
        assert len(tops) == 2
        assert abs(tops[0] - tops[1]) <= 1  # in one row


@pytest.mark.parametrize(
    ("clicks", "options"),
    [
        ((), ()),
        (("[value=keep]",), ("--background", "keep")),
        (("[value=colour]", "[value=circle]"), ("--background", "#f4efe6", "--shape", "circle")),
    ],
)
def test_download_is_byte_equal_to_the_command_lines_file(server, model, selfie, tmp_path, clicks, options):
    with tab(*PHONE) as page:
        _, errors = opened(page, server)
        assert upload(page, selfie) == ("1 avatar.", "")
        for click in clicks:
            page.check(click)
        page.select_option("#size", "256")
        data = downloaded(page)
        assert errors == []
    command = ["paint", selfie, "-o", tmp_path / "a.png", "--model", model, "--size", 256, *options]
    assert CliRunner().invoke(app, [str(argument) for argument in command]).exit_code == 0
    assert data == (tmp_path / "a.png").read_bytes()


@pytest.fixture(params=["server", "static"])
def address(request):
    return request.getfixturevalue(request.param)


def test_page_fits_a_phone_and_names_every_control(address, pair):
    with tab(320, 640) as page:
        opened(page, address)
        upload(page, pair)
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        assert "from disk" not in page.inner_text("#note")
        unnamed = page.evaluate(
            "[...document.querySelectorAll('input, select, button')].filter(control => control.type !== 'hidden' && "
            "!(control.labels?.length || control.ariaLabel || control.textContent.trim())).map(one => one.outerHTML)"
        )
        assert unnamed == []
        sizes = page.evaluate(
            "[...document.querySelectorAll('button, .button')].filter(button => button.offsetParent)"
            ".map(button => button.getBoundingClientRect().height)"
        )
        assert min(sizes) >= 44


def test_each_of_several_faces_can_be_chosen(address, pair):
    with tab(*PHONE) as page:
        opened(page, address)
        assert upload(page, pair)[0] == "2 avatars."
        first = downloaded(page)
        page.get_by_label("face 2").check()
        second = downloaded(page)
        assert not np.array_equal(pixels(first), pixels(second))


def test_page_works_with_the_keyboard_alone(address, selfie):
    with tab(*PHONE) as page:
        opened(page, address)
        upload(page, selfie)
        page.focus("[name=background]")
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        assert page.is_checked("[value=colour]")
        page.focus("#slider")
        page.keyboard.press("End")
        assert page.evaluate("getComputedStyle(document.getElementById('before')).clipPath") == "inset(0px 0% 0px 0px)"
        page.focus("#download")
        with page.expect_download() as waiting:
            page.keyboard.press("Enter")
        assert pixels(waiting.value.path().read_bytes())[0, 0, :3].tolist() == [0xF4, 0xEF, 0xE6]


def test_drop_paste_and_background_picture(address, selfie, tmp_path):
    dispatch = """([kind, bytes]) => {
        const files = new DataTransfer();
        files.items.add(new File([new Uint8Array(bytes)], "me.jpg", { type: "image/jpeg" }));
        const event = kind === "drop" ? new DragEvent("drop", { dataTransfer: files, cancelable: true })
            : new ClipboardEvent("paste", { clipboardData: files });
        document.dispatchEvent(event);
    }"""
    Image.new("RGB", (80, 60), (1, 2, 250)).save(tmp_path / "sea.png")
    with tab(*PHONE) as page:
        opened(page, address)
        for kind in ("drop", "paste"):
            page.evaluate(dispatch, [kind, list(selfie.read_bytes())])
            wait_until(lambda: page.inner_text("#status") == "1 avatar.")
        page.set_input_files("#background-file", tmp_path / "sea.png")
        wait_until(lambda: page.is_checked("[value=picture]"))
        assert pixels(downloaded(page))[0, 0, :3].tolist() == [1, 2, 250]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("hello.jpg", b"hello", "not a picture"),
        ("empty.jpg", b"", "not a picture"),
        (
            "grey.png",
            encode(Image.new("RGB", (80, 64), (90, 90, 90)), "PNG"),
            "no face found in the 80 x 64 picture",
        ),
        ("tiny.png", encode(Image.new("RGB", (9, 8)), "PNG"), "9 x 8 pixels; each side needs 16"),
    ],
)
def test_bad_file_shows_an_error_and_the_next_is_painted(address, selfie, tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with tab(*PHONE) as page:
        opened(page, address)
        status, error = upload(page, tmp_path / name)
        assert (status, message in error, "\n" in error) == ("", True, False), error
        page.set_input_files("#selfie", selfie)
        wait_until(lambda: messages(page) == ("1 avatar.", ""))


def test_camera_takes_a_picture(server):
    with tab(*PHONE) as page:
        opened(page, server)
        page.evaluate(
            "navigator.mediaDevices.getUserMedia = async () => {"
            " const canvas = document.createElement('canvas'); canvas.width = 320; canvas.height = 240;"
            " canvas.getContext('2d').fillRect(0, 0, 320, 240); return canvas.captureStream(10); }"
        )
        page.click("#camera")
        wait_until(lambda: page.evaluate("document.getElementById('video').videoWidth") == 320)
        page.click("#shutter")
        wait_until(lambda: page.inner_text("#error"))
        assert messages(page)[1] == "no face found in the 320 x 240 picture"
        assert not page.is_visible("#viewfinder")


def test_static_site_paints_offline_like_the_product(static, model, sample):
    portraitist = Portraitist.open(model)
    with tab(*PHONE) as page:
        requests, errors = opened(page, static)
        page.context.set_offline(True)
        del requests[:]
        for number in (0, 6, 12, 18):
            path = sample / "selfies" / f"{number:04d}.jpg"
            page.evaluate("document.getElementById('result').hidden = true")
            assert upload(page, path) == ("1 avatar.", "")
            page.check("[value=keep]")
            kept = pixels(downloaded(page))[..., :3].astype(int)
            page.check("[value=transparent]")
            alone = pixels(downloaded(page)).astype(int)
            avatar = portraitist.paint(path)
            square = page.evaluate(
                "(() => { const { width, height } = document.getElementById('before'); return [...document"
                ".getElementById('before').getContext('2d').getImageData(0, 0, width, height).data]; })()"
            )
            square = np.array(square).reshape(*kept.shape[:2], 4)[..., :3]
            assert np.abs(square - avatar.crop.square.picture).mean() < 1.5  # browsers decode JPEG slightly differently
            assert np.abs(alone[..., 3] - avatar.mask).mean() < 4
            assert np.corrcoef(kept.ravel(), avatar.picture.ravel())[0, 1] > 0.97
            inner = avatar.mask == 255
            assert np.corrcoef(alone[inner][:, :3].ravel(), avatar.person[inner].ravel())[0, 1] > 0.95
        assert [url for url in requests if not url.startswith("blob:")] == []
        assert errors == []


def test_static_site_loads_only_from_its_folder(static, folder, selfie):
    with tab(*PHONE) as page:
        requests, _ = opened(page, static)
        upload(page, selfie)
        downloaded(page)
    assert {url for url in requests if not url.startswith((static, "blob:", "data:"))} == set()
    assert "connect-src 'self'" in (folder / "index.html").read_text(encoding="utf-8")


def test_static_site_has_only_the_needed_models(folder):
    sizes = {path.name: path.stat().st_size for path in (folder / "models").iterdir()}
    assert sum(sizes.values()) < 10e6
    assert set(sizes) == {f"{name}.onnx" for name in json.loads((folder / "model.json").read_text())["networks"]}


def test_failed_build_writes_nothing(model, runtime, tmp_path, monkeypatch):
    (tmp_path / "x.tgz").write_bytes(b"other")
    with pytest.raises(SiteBuildError, match=r"x\.tgz: SHA-512"):
        build_site(model, tmp_path / "page", tmp_path / "x.tgz")
    with pytest.raises(SiteBuildError, match=r"none\.onnx: No such file"):
        build_site(tmp_path / "none.onnx", tmp_path / "page", runtime)
    damaged = json.dumps(dict.fromkeys(parts_of(model), "AAAA"))
    for changes, reason in (({"crop": "{"}, "metadata"), ({"parts": "{}"}, "'face_"), ({"parts": damaged}, "detector")):
        with pytest.raises(SiteBuildError, match=rf"x\.onnx.*{reason}"):
            build_site(with_metadata(model, tmp_path / "x.onnx", **changes), tmp_path / "page", runtime)
    monkeypatch.setattr(site_builder, "MAX_MODELS_MB", 1.0)
    with pytest.raises(SiteBuildError, match=r"MB of models; at most 1 .*int8"):
        build_site(model, tmp_path / "page", runtime)
    assert not (tmp_path / "page").exists()


def test_every_file_has_a_type_that_nginx_knows(folder):
    known = {".html", ".css", ".js", ".json", ".wasm", ".onnx", ""}  # the last two: fetched as bytes, and NOTICE
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} <= known


def test_site_command_overwrites_only_with_force(model, runtime, tmp_path):
    arguments = ["site", "-o", tmp_path / "page", "--model", model, "--runtime", runtime]

    def run(*more):
        return CliRunner().invoke(app, [str(argument) for argument in [*arguments, *more]])

    first = run()
    assert first.exit_code == 0, first.stderr
    assert (tmp_path / "page" / "index.html").exists()
    assert run().stderr == f"portraitist: {tmp_path / 'page'} exists; --force overwrites it\n"
    assert run("--force").exit_code == 0
