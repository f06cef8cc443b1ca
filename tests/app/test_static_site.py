"""The page, in a real browser: with the server behind it, and alone on the device with the network cut off."""

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
from browser import tab
from PIL import Image
from test_avatar import parts_of, retold
from test_server import encoded_as, serving
from toys import ROOT
from typer.testing import CliRunner

from portraitist.app import site_builder
from portraitist.app.avatar import Portraitist
from portraitist.app.site_builder import RUNTIME, SITE, SiteBuildError, build_site
from portraitist.cli import app

pytestmark = pytest.mark.slow
PHONE = (360, 740)


def until(true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def said(page):
    return page.inner_text("#status"), page.inner_text("#fault")


def upload(page, path):
    """Give the page a file; what it then says."""
    page.set_input_files("#selfie", path)
    until(lambda: page.is_visible("#result") or page.inner_text("#fault"))
    return said(page)


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
    for place in range(2):
        with Image.open(sample / "selfies" / f"{6 * place:04d}.jpg") as opened:
            photo.paste(opened.resize((206 + 50 * place,) * 2), (256 * place, 0))
    path = tmp_path_factory.mktemp("pair") / "wir zwei, 我们.png"
    photo.save(path)
    return path


@pytest.fixture(scope="module")
def server(model):
    with serving(Portraitist.open(model, threads=1)) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture(scope="module")
def runtime():
    """onnxruntime-web, brought once by npm."""
    path = ROOT / ".venv" / f"{RUNTIME.replace('@', '-')}.tgz"
    if not path.exists():
        if shutil.which("npm") is None:
            pytest.skip(f"no npm on this machine to bring {RUNTIME}")
        command = ["npm", "pack", RUNTIME, "--silent", "--pack-destination", str(path.parent)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip(f"npm could not bring {RUNTIME}")
    return path


@pytest.fixture(scope="module")
def folder(model, runtime, tmp_path_factory):
    out = tmp_path_factory.mktemp("static") / "page"
    build_site(model, out, runtime)
    return out


@pytest.fixture(scope="module")
def static(folder):
    """The static page, handed out as any web server would."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    files = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder)))
    threading.Thread(target=files.serve_forever).start()
    yield f"http://127.0.0.1:{files.server_port}/"
    files.shutdown()
    files.server_close()


def opened(page, address):
    """The page's requests and faults, from now on."""
    seen, faults = [], []
    page.on("request", lambda request: seen.append(request.url))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.goto(address)
    until(lambda: page.inner_text("#status") == "" or page.inner_text("#fault"))
    return seen, faults


def test_opened_from_disk_the_page_says_that_it_must_be_served():
    with tab(1000, 700) as page:
        page.goto((SITE / "index.html").as_uri())
        assert "opened from disk" in page.inner_text("#where")
        tops = page.evaluate("[...document.querySelectorAll('#drop .button, #camera')].map(one => one.offsetTop)")
        assert len(tops) == 2
        assert abs(tops[0] - tops[1]) <= 1  # in one line


@pytest.mark.parametrize(
    ("clicks", "words"),
    [
        ((), ()),
        (("[value=keep]",), ("--background", "keep")),
        (("[value=colour]", "[value=circle]"), ("--background", "#f4efe6", "--shape", "circle")),
    ],
)
def test_what_the_page_downloads_is_the_command_lines_file_to_the_byte(server, model, selfie, tmp_path, clicks, words):
    with tab(*PHONE) as page:
        _, faults = opened(page, server)
        assert upload(page, selfie) == ("1 painted.", "")
        for click in clicks:
            page.check(click)
        page.select_option("#size", "256")
        found = downloaded(page)
        assert faults == []
    made = ["paint", selfie, "-o", tmp_path / "a.png", "--model", model, "--size", 256, *words]
    assert CliRunner().invoke(app, [str(word) for word in made]).exit_code == 0
    assert found == (tmp_path / "a.png").read_bytes()


@pytest.fixture(params=["server", "static"])
def address(request):
    return request.getfixturevalue(request.param)


def test_the_page_fits_a_phone_and_every_control_has_a_name(address, pair):
    with tab(320, 640) as page:
        opened(page, address)
        upload(page, pair)
        assert page.evaluate("document.documentElement.scrollWidth") <= 320
        assert "from disk" not in page.inner_text("#where")
        unnamed = page.evaluate(
            "[...document.querySelectorAll('input, select, button')].filter(one => one.type !== 'hidden' && "
            "!(one.labels?.length || one.ariaLabel || one.textContent.trim())).map(one => one.outerHTML)"
        )
        assert unnamed == []
        sizes = page.evaluate(
            "[...document.querySelectorAll('button, .button')].filter(one => one.offsetParent)"
            ".map(one => one.getBoundingClientRect().height)"
        )
        assert min(sizes) >= 44


def test_of_several_faces_each_can_be_chosen(address, pair):
    with tab(*PHONE) as page:
        opened(page, address)
        assert upload(page, pair)[0] == "2 painted."
        first = downloaded(page)
        page.get_by_label("face 2").check()
        second = downloaded(page)
        assert not np.array_equal(pixels(first), pixels(second))


def test_the_keyboard_alone_is_enough(address, selfie):
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


def test_a_picture_may_be_dropped_or_pasted_and_stand_behind(address, selfie, tmp_path):
    give = """([kind, bytes]) => {
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
            page.evaluate(give, [kind, list(selfie.read_bytes())])
            until(lambda: page.inner_text("#status") == "1 painted.")
        page.set_input_files("#behind", tmp_path / "sea.png")
        until(lambda: page.is_checked("[value=picture]"))
        assert pixels(downloaded(page))[0, 0, :3].tolist() == [1, 2, 250]


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("hello.jpg", b"hello", "not a picture"),
        ("nothing.jpg", b"", "not a picture"),
        (
            "grey.png",
            encoded_as(Image.new("RGB", (80, 64), (90, 90, 90)), "PNG"),
            "no face found in the 80 x 64 picture",
        ),
        ("tiny.png", encoded_as(Image.new("RGB", (9, 8)), "PNG"), "9 x 8 pixels; each side needs 16"),
    ],
)
def test_a_bad_file_is_one_sentence_and_the_next_one_is_painted(address, selfie, tmp_path, name, data, told):
    (tmp_path / name).write_bytes(data)
    with tab(*PHONE) as page:
        opened(page, address)
        status, fault = upload(page, tmp_path / name)
        assert (status, told in fault, "\n" in fault) == ("", True, False), fault
        page.set_input_files("#selfie", selfie)
        until(lambda: said(page) == ("1 painted.", ""))


def test_the_camera_gives_a_picture(server):
    with tab(*PHONE) as page:
        opened(page, server)
        page.evaluate(
            "navigator.mediaDevices.getUserMedia = async () => {"
            " const canvas = document.createElement('canvas'); canvas.width = 320; canvas.height = 240;"
            " canvas.getContext('2d').fillRect(0, 0, 320, 240); return canvas.captureStream(10); }"
        )
        page.click("#camera")
        until(lambda: page.evaluate("document.getElementById('video').videoWidth") == 320)
        page.click("#shoot")
        until(lambda: page.inner_text("#fault"))
        assert said(page)[1] == "no face found in the 320 x 240 picture"
        assert not page.is_visible("#viewfinder")


def test_on_the_device_it_paints_with_the_network_cut_off_and_as_the_product_does(static, model, sample):
    portraitist = Portraitist.open(model)
    with tab(*PHONE) as page:
        seen, faults = opened(page, static)
        page.context.set_offline(True)
        del seen[:]
        for number in (0, 6, 12, 18):
            path = sample / "selfies" / f"{number:04d}.jpg"
            page.evaluate("document.getElementById('result').hidden = true")
            assert upload(page, path) == ("1 painted.", "")
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
            assert np.abs(square - avatar.crop.square.picture).mean() < 1.5  # browsers decode JPEG a little otherwise
            assert np.abs(alone[..., 3] - avatar.mask).mean() < 4
            assert np.corrcoef(kept.ravel(), avatar.picture.ravel())[0, 1] > 0.97
            inner = avatar.mask == 255
            assert np.corrcoef(alone[inner][:, :3].ravel(), avatar.person[inner].ravel())[0, 1] > 0.95
        assert [url for url in seen if not url.startswith("blob:")] == []
        assert faults == []


def test_the_static_page_asks_nobody_but_its_own_folder(static, folder, selfie):
    with tab(*PHONE) as page:
        seen, _ = opened(page, static)
        upload(page, selfie)
        downloaded(page)
    assert {url for url in seen if not url.startswith((static, "blob:", "data:"))} == set()
    assert "connect-src 'self'" in (folder / "index.html").read_text(encoding="utf-8")


def test_its_models_are_small_and_hold_no_more_than_painting_needs(folder):
    sizes = {path.name: path.stat().st_size for path in (folder / "models").iterdir()}
    assert sum(sizes.values()) < 10e6
    assert set(sizes) == {f"{name}.onnx" for name in json.loads((folder / "model.json").read_text())["nets"]}


def test_what_is_too_large_or_another_is_refused_and_nothing_is_left(model, runtime, tmp_path, monkeypatch):
    (tmp_path / "x.tgz").write_bytes(b"other")
    with pytest.raises(SiteBuildError, match=r"x\.tgz: sha512 .* expected, found "):
        build_site(model, tmp_path / "page", tmp_path / "x.tgz")
    with pytest.raises(SiteBuildError, match=r"none\.onnx: not a model that stage export left"):
        build_site(tmp_path / "none.onnx", tmp_path / "page", runtime)
    for told, why in (
        ({"crop": "{"}, "something of its metadata is missing or broken"),
        ({"parts": "{}"}, "broken: 'face_"),
    ):
        with pytest.raises(SiteBuildError, match=why):
            build_site(retold(model, tmp_path / "x.onnx", **told), tmp_path / "page", runtime)
    broken = json.dumps(dict.fromkeys(parts_of(model), "AAAA"))
    with pytest.raises(SiteBuildError, match=r"x\.onnx: its detector or its segmenter is broken"):
        build_site(retold(model, tmp_path / "x.onnx", parts=broken), tmp_path / "page", runtime)
    monkeypatch.setattr(site_builder, "MOST_MB", 1.0)
    with pytest.raises(
        SiteBuildError, match=r"MB of models, 1 are allowed; an \.int8\.onnx or a generator of less width"
    ):
        build_site(model, tmp_path / "page", runtime)
    assert not (tmp_path / "page").exists()


def test_the_command_writes_the_page_once(model, runtime, tmp_path):
    words = ["export", "-o", tmp_path / "page", "--model", model, "--runtime", runtime]
    run = lambda *more: CliRunner().invoke(app, [str(word) for word in [*words, *more]])
    first = run()
    assert first.exit_code == 0, first.stderr
    assert (tmp_path / "page" / "index.html").exists()
    assert run().stderr == f"portraitist: {tmp_path / 'page'} exists; --force writes over it\n"
    assert run("--force").exit_code == 0
