"""The web page in a real browser: with the server, and as a static site on the device, offline."""

import grp
import json
import os
import pwd
import shutil
import socket
import subprocess
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pytest
from accessibility import small_controls, violations
from app_helpers import (
    MEDIA_TYPES,
    encode,
    parts_of,
    touching_people,
    web_server,
    with_example_generator,
    with_metadata,
)
from browser import tab
from fake_camera import arguments, write_video
from page_driver import PHONE, READY, choose, downloaded, go_offline, messages, opened, pixels, upload, wait_until
from PIL import Image, ImageDraw
from typer.testing import CliRunner

from portraitist.app import site_builder
from portraitist.app.avatar import Portraitist
from portraitist.app.features import with_features
from portraitist.app.page_files import SITE
from portraitist.app.site_builder import SiteBuildError, build_site
from portraitist.cli import app
from portraitist.crop.align import Crop, CropImage
from portraitist.crop.geometry import Face

pytestmark = pytest.mark.slow
MIME_TYPES = ("/etc/nginx/mime.types", "/usr/local/etc/nginx/mime.types", "/opt/homebrew/etc/nginx/mime.types")
GPU_ARGUMENTS = ("--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader")
PAINT_SQUARE = """async (useGpu) => {
    const networks = await import(`./networks.js?${useGpu}`);
    await networks.open(useGpu);
    const side = networks.config.crop.size_px;
    const data = Uint8ClampedArray.from({ length: side * side * 3 }, (_, i) => 128 + 90 * Math.sin(i / 50));
    const mask = new Uint8ClampedArray(side * side).fill(255);
    const painted = await networks.generate({ width: side, height: side, channels: 3, data },
        { width: side, height: side, channels: 1, data: mask }, networks.config.styles[0]);
    return [...painted.data];
}"""


@pytest.fixture(scope="module")
def selfie(sample):
    return sample / "selfies" / "0006.jpg"


NGINX = """
daemon off; error_log stderr; pid {root}/pid; user {user};
events {{}}
http {{
    include {types}; default_type application/octet-stream; access_log off; client_max_body_size 50m;
    client_body_temp_path {root}/body; proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location /some/where/ {{ alias {folder}/; }}
        location /avatars/ {{ proxy_pass {server}; }}
        location / {{ root {folder}; }}
    }}
}}
"""


@pytest.fixture(scope="module")
def nginx(folder, server, tmp_path_factory):
    """nginx with default media types: the static site at / and /some/where/, the proxied server at /avatars/."""
    types = next((path for path in map(Path, MIME_TYPES) if path.exists()), None)
    if shutil.which("nginx") is None or types is None:
        pytest.skip("no nginx on this machine")
    root = tmp_path_factory.mktemp("nginx")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    user = f"{pwd.getpwuid(os.getuid()).pw_name} {grp.getgrgid(os.getgid()).gr_name}"
    values = {"root": root, "user": user, "types": types, "port": port, "folder": folder, "server": server}
    (root / "nginx.conf").write_text(NGINX.format(**values))
    with subprocess.Popen(["nginx", "-p", str(root), "-c", "nginx.conf", "-e", "stderr"]) as process:
        wait_until(lambda: is_listening(port))
        yield f"http://127.0.0.1:{port}/"
        process.terminate()


def is_listening(port):
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


def test_page_opened_from_disk_explains_the_web_server():
    with tab(1000, 700) as page:
        page.goto((SITE / "index.html").as_uri())
        assert "opened from disk" in page.inner_text("#note")
        tops = page.evaluate(
            "[...document.querySelectorAll('#drop .button, #drop .camera')].map(button => button.offsetTop)"
        )
        assert len(tops) == 2
        assert abs(tops[0] - tops[1]) <= 1  # in one row


@pytest.mark.parametrize(
    ("clicks", "options"),
    [
        (("[value=transparent]",), ("--background", "transparent")),
        (("[value=keep]",), ("--background", "keep")),
        (("[value=colour]", "[value=circle]"), ("--background", "#f4efe6", "--shape", "circle")),
    ],
)
def test_download_is_byte_equal_to_the_command_lines_file(server, model, selfie, tmp_path, clicks, options):
    with tab(*PHONE) as page:
        _, errors = opened(page, server)
        assert upload(page, selfie) == (READY, "")
        for click in ("[name=size][value='256']", *clicks):
            choose(page, click)
        data = downloaded(page)
        assert errors == []
    command = ["paint", selfie, "-o", tmp_path / "a.png", "--model", model, "--size", 256, *options]
    assert CliRunner().invoke(app, [str(argument) for argument in command]).exit_code == 0
    assert data == (tmp_path / "a.png").read_bytes()


@pytest.fixture(params=["server", "static"])
def address(request):
    return request.getfixturevalue(request.param)


def test_transparent_pixels_are_white(address, selfie, tmp_path):
    with Image.open(selfie) as opened_picture:
        photo = np.array(opened_picture.convert("RGB"))
    alpha = np.full(photo.shape[:2], 255, np.uint8)
    alpha[:, : photo.shape[1] // 5] = 0
    visible = np.where(alpha[..., None] > 0, photo, np.array([0, 90, 0], np.uint8))
    Image.fromarray(np.dstack([visible, alpha])).save(tmp_path / "erased.png")
    with tab(*PHONE) as page:
        opened(page, address)
        assert upload(page, tmp_path / "erased.png") == (READY, "")
        choose(page, "[value=keep]")
        choose(page, "#align")  # shows the whole crop
        wait_until(lambda: messages(page) == (READY, ""))
        left = pixels(downloaded(page))[:, :4, :3]
    assert (left >= 250).all()


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


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 800), (390, 844)])
def test_page_is_accessible_and_needs_no_scrolling(address, selfie, size, scheme):
    with tab(*size, color_scheme=scheme) as page:
        opened(page, address)
        assert violations(page) + small_controls(page) == []
        upload(page, selfie)
        for panel in ("Style", "Background", "Size"):
            if size[0] < 400:
                page.get_by_role("button", name=panel, exact=True).click()
            assert violations(page) + small_controls(page) == []
            assert page.evaluate("document.getElementById('options').getBoundingClientRect().bottom <= innerHeight")


def test_person_makes_an_avatar(address, sample):
    """All steps on a phone: choose two photos, compare, change style options and background, save both avatars."""
    with tab(390, 844) as page:
        _, errors = opened(page, address)
        if "device" in page.inner_text("#note"):
            go_offline(page)
        with page.expect_file_chooser() as chooser:
            page.get_by_text("Choose photos").click()
        chooser.value.set_files([sample / "selfies" / "0006.jpg", sample / "selfies" / "0014.jpg"])
        wait_until(lambda: page.inner_text("#status") == "2 avatars are ready.")
        box = page.locator("#preview").bounding_box()
        page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        page.mouse.down()
        page.mouse.move(box["x"] + 40, box["y"] + box["height"] / 2, steps=4)
        page.mouse.up()
        assert int(page.input_value("#slider")) < 25
        painted = downloaded(page)
        page.locator("#strength").fill("0")
        page.locator("#strength").dispatch_event("change")
        wait_until(lambda: page.inner_text("#status") == "2 avatars are ready.")
        page.get_by_role("button", name="Background", exact=True).click()
        page.get_by_text("Photo", exact=True).last.click()
        original = downloaded(page)
        page.get_by_role("button", name="Size", exact=True).click()
        page.get_by_text("1024").click()
        page.get_by_text("Circle").click()
        large = pixels(downloaded(page))
        assert pixels(painted).shape[0] == pixels(original).shape[0] == 512
        assert large.shape == (1024, 1024, 4)
        assert large[0, 0, 3] == 0
        assert np.abs(pixels(original)[..., :3].astype(int) - pixels(painted)[..., :3]).mean() > 2
        page.get_by_role("button", name="Avatar 2").click()
        downloaded(page)
        assert errors == []


def test_each_of_several_faces_has_its_own_download(address, pair):
    with tab(*PHONE) as page:
        opened(page, address)
        assert upload(page, pair)[0] == "2 avatars are ready."
        first = downloaded(page)
        page.get_by_role("button", name="Avatar 2").click()
        second = downloaded(page)
        assert not np.array_equal(pixels(first), pixels(second))


def test_failed_file_of_a_batch_does_not_stop_the_others(address, sample, tmp_path):
    (tmp_path / "note.jpg").write_bytes(b"hello")
    with tab(*PHONE) as page:
        opened(page, address)
        paths = [sample / "selfies" / "0006.jpg", tmp_path / "note.jpg", sample / "selfies" / "0014.jpg"]
        page.set_input_files("#selfie", paths)
        wait_until(lambda: page.inner_text("#status") == "2 avatars are ready.")
        page.get_by_role("button", name="Avatar 2: note.jpg, not painted").click()
        assert "note.jpg: not a picture" in page.inner_text("#error")
        assert page.is_disabled("#download")
        assert page.is_hidden("#after")  # no other person's avatar
        names = []
        page.on("download", lambda download: names.append(download.suggested_filename))
        page.click("#download-all")
        wait_until(lambda: page.wait_for_timeout(50) or len(names) == 2)  # Playwright calls handlers while it waits
        assert sorted(names) == ["0006-avatar.png", "0014-avatar.png"]
        choose(page, "#align")  # the photos that are not selected are only painted again when they are saved
        page.click("#download-all")
        wait_until(lambda: page.wait_for_timeout(50) or len(names) == 4)
        assert page.inner_text("#status") == "2 avatars are ready."
        assert page.is_hidden("#progress")


def test_page_works_with_the_keyboard_alone(address, selfie):
    with tab(*PHONE) as page:
        opened(page, address)
        upload(page, selfie)
        page.get_by_role("button", name="Background").focus()
        page.keyboard.press("Enter")
        page.focus("[value='#efe4d0']")
        page.keyboard.press("ArrowRight")
        assert page.is_checked("[value='#8fa58a']")
        page.focus("#slider")
        page.keyboard.press("End")
        assert page.evaluate("handle.offsetLeft + 1.5 - handle.parentElement.clientWidth") == pytest.approx(0, abs=1)
        page.focus("#download")
        with page.expect_download() as waiting:
            page.keyboard.press("Enter")
        assert pixels(waiting.value.path().read_bytes())[0, 0, :3].tolist() == [0x8F, 0xA5, 0x8A]


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
        for kind, message in (("drop", READY), ("paste", "2 avatars are ready.")):
            page.evaluate(dispatch, [kind, list(selfie.read_bytes())])
            wait_until(lambda message=message: page.inner_text("#status") == message)
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
        ("tiny.png", encode(Image.new("RGB", (9, 8)), "PNG"), "9 x 8 pixels; each side must have at least 16"),
    ],
)
def test_bad_file_shows_an_error_and_the_next_is_painted(address, selfie, tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with tab(*PHONE) as page:
        opened(page, address)
        status, error = upload(page, tmp_path / name)
        assert (status, message in error, "\n" in error) == ("", True, False), error
        page.set_input_files("#selfie", selfie)
        wait_until(lambda: messages(page) == (READY, ""))


def test_camera_takes_a_picture(server):
    with tab(*PHONE) as page:
        opened(page, server)
        page.evaluate(
            "navigator.mediaDevices.getUserMedia = async () => {"
            " const canvas = document.createElement('canvas'); canvas.width = 320; canvas.height = 240;"
            " canvas.getContext('2d').fillRect(0, 0, 320, 240); return canvas.captureStream(10); }"
        )
        page.click(".camera")
        wait_until(lambda: page.evaluate("document.getElementById('video').videoWidth") == 320)
        page.click("#shutter")
        wait_until(lambda: page.inner_text("#error"))
        assert messages(page)[1] == "no face found in the 320 x 240 picture"
        assert not page.is_visible("#viewfinder")


def test_service_worker_allows_threads_on_a_plain_host(static, selfie):
    with tab(*PHONE, service_workers="allow") as page:
        loads = []
        page.on("load", lambda _: loads.append(page.url))
        page.goto(static)
        for _ in range(100):  # evaluating something would look like a visitor's action, which prevents the reload
            page.wait_for_timeout(100)
            if len(loads) == 2:
                break
        wait_until(lambda: page.inner_text("#status") == "")
        assert page.evaluate("self.crossOriginIsolated")
        go_offline(page)
        assert upload(page, selfie) == (READY, "")
        page.context.set_offline(False)
        page.goto(static)
        page.wait_for_timeout(1000)
        assert len(loads) == 3


# Installs service workers after a delay.
SLOW_REGISTER = """
    const { register } = ServiceWorkerContainer.prototype;
    ServiceWorkerContainer.prototype.register = async function (...values) {
        await new Promise((resolve) => { setTimeout(resolve, %d); });
        window.registered = true;
        return register.apply(this, values);
    };
"""


def test_page_in_use_is_not_reloaded(static, selfie):
    with tab(*PHONE, service_workers="allow") as page:
        loads = []
        page.on("load", lambda _: loads.append(page.url))
        page.add_init_script(SLOW_REGISTER % 1000)
        page.goto(static)
        page.evaluate("0")  # the browser takes this for an action of the visitor
        assert upload(page, selfie) == (READY, "")
        assert page.evaluate("window.registered")
        assert len(loads) == 1


def test_page_does_not_wait_for_a_service_worker_that_does_not_start(static, selfie):
    with tab(*PHONE, service_workers="allow") as page:
        page.add_init_script(SLOW_REGISTER % 600_000)
        page.goto(static)
        assert upload(page, selfie) == (READY, "")


def test_service_worker_leaves_other_pages_alone(folder, tmp_path):
    site = tmp_path / "site"
    shutil.copytree(folder, site)
    (site / "other.html").write_text("<!DOCTYPE html><title>other</title>")
    with web_server(site) as address, tab(*PHONE, service_workers="allow") as page:
        page.goto(address)
        page.wait_for_timeout(4000)
        assert page.evaluate("self.crossOriginIsolated")
        page.goto(f"{address}other.html")
        assert not page.evaluate("self.crossOriginIsolated")
        shutil.copy(site / "other.html", site / "index.html")  # another page at the same address
        page.goto(f"{address}?again")  # not from the browser's cache
        page.wait_for_timeout(500)
        assert not page.evaluate("self.crossOriginIsolated")
        assert page.evaluate("navigator.serviceWorker.getRegistrations().then((found) => found.length)") == 0


def test_live_camera_paints_the_face_and_keeps_a_picture(static, selfie, tmp_path):
    with Image.open(selfie) as opened_selfie:
        write_video(np.array(opened_selfie.convert("RGB")), tmp_path / "face.y4m")
    with tab(*PHONE, arguments(tmp_path / "face.y4m")) as page:
        opened(page, static)
        go_offline(page)
        page.click("#live")
        count = "Number(document.getElementById('painted-video').dataset.frames ?? 0)"
        wait_until(lambda: page.evaluate(count) >= 3, seconds=120)
        shown = page.evaluate(
            "(() => { const canvas = document.getElementById('painted-video'); return [...canvas.getContext('2d')"
            ".getImageData(0, 0, canvas.width, canvas.height).data]; })()"
        )
        assert np.std(shown) > 20
        page.click("#shutter")
        wait_until(lambda: page.inner_text("#status") == READY)
        assert not page.is_visible("#viewfinder")
        assert pixels(downloaded(page)).shape[:2] == (512, 512)


def test_live_camera_waits_for_the_model(static, selfie, tmp_path):
    with Image.open(selfie) as opened_selfie:
        write_video(np.array(opened_selfie.convert("RGB")), tmp_path / "face.y4m")
    with tab(*PHONE, arguments(tmp_path / "face.y4m")) as page:
        page.route("**/model.json", lambda route: page.wait_for_timeout(1500) or route.continue_())
        page.goto(static)
        page.click("#live")
        wait_until(lambda: "pictures per second" in page.inner_text("#frame-rate"), seconds=120)
        assert page.inner_text("#error") == ""


def test_live_camera_without_working_webgpu_uses_webassembly(static, selfie, tmp_path):
    with Image.open(selfie) as opened_selfie:
        write_video(np.array(opened_selfie.convert("RGB")), tmp_path / "face.y4m")
    with tab(*PHONE, arguments(tmp_path / "face.y4m")) as page:
        opened(page, static)
        adapter = "{ value: { requestAdapter: async () => ({ requestDevice: async () => { throw new Error(); } }) } }"
        page.evaluate(f"Object.defineProperty(navigator, 'gpu', {adapter})")
        page.click("#live")
        wait_until(lambda: "pictures per second" in page.inner_text("#frame-rate"), seconds=120)
        assert page.inner_text("#frame-rate").endswith("on the processor")


def test_side_of_the_live_picture_follows_the_time_of_frames(static):
    with tab(*PHONE) as page:
        opened(page, static)
        sides = page.evaluate("""async () => {
            const { SideChooser } = await import("./live_painter.js");
            const chooser = new SideChooser([256, 192, 128]);
            const after = (times) => { for (const time of times) chooser.add(time); return chooser.side; };
            const slow = Array(8).fill(200);
            const [first, medium, quick] = [[3000, ...Array(7).fill(100)], Array(8).fill(80), Array(8).fill(20)];
            return [first, slow, slow, slow, medium, quick].map(after);
        }""")
    assert sides == [256, 192, 128, 128, 128, 192]


def test_webgpu_paints_the_same_picture(static, selfie):
    with tab(*PHONE, GPU_ARGUMENTS, ["--disable-gpu"]) as page:
        opened(page, static)
        if not page.evaluate("(async () => Boolean(await navigator.gpu?.requestAdapter()))()"):
            pytest.skip("this Chromium has no WebGPU")
        painted = [page.evaluate(PAINT_SQUARE, useGpu) for useGpu in (False, True)]
    assert np.std(painted[0]) > 10
    assert np.abs(np.subtract(*painted)).max() <= 2


def page_result(page, path):
    """Return photo, painting and RGBA avatar of a picture with one face, in the avatar's frame."""
    page.evaluate("document.getElementById('status').textContent = ''")
    assert "ready" in upload(page, path)[0]
    choose(page, "[value=keep]")
    kept = pixels(downloaded(page))[..., :3]
    choose(page, "[value=transparent]")
    alone = pixels(downloaded(page))
    photo = page.evaluate(
        "(() => { const { width, height } = document.getElementById('before'); return [...document"
        ".getElementById('before').getContext('2d').getImageData(0, 0, width, height).data]; })()"
    )
    return np.array(photo).reshape(*kept.shape[:2], 4)[..., :3], kept.astype(int), alone.astype(int)


def assert_same_person(alone, avatar):
    """Compare the page's avatar on a transparent background (RGBA) with an `Avatar`."""
    assert np.abs(alone[..., 3] - avatar.mask).mean() < 1
    inner = avatar.mask == 255
    assert np.abs(alone[inner][:, :3] - avatar.person[inner]).mean() < 2


def test_static_site_paints_offline_like_the_product(static, model, sample):
    portraitist = Portraitist(model)
    with tab(*PHONE) as page:
        requests, errors = opened(page, static)
        go_offline(page)
        del requests[:]
        for number in (0, 6, 12, 18):
            path = sample / "selfies" / f"{number:04d}.jpg"
            photo, kept, alone = page_result(page, path)
            avatar = portraitist.paint(path)
            assert np.abs(photo - avatar.selfie).mean() < 1  # browsers decode JPEG slightly differently
            assert np.abs(kept - avatar.picture).mean() < 2
            assert_same_person(alone, avatar)
        assert [url for url in requests if not url.startswith("blob:")] == []
        assert errors == []


def test_static_site_continues_a_person_beyond_the_photo_like_the_product(static, model, sample):
    path = sample / "selfies" / "0018.jpg"  # with level eyes, the photo ends inside the frame
    avatar = Portraitist(model).paint(path, align=True)
    assert avatar.crop.square.inside.min() == 0
    with tab(*PHONE) as page:
        opened(page, static)
        page.evaluate("document.getElementById('align').checked = true")
        _, _, alone = page_result(page, path)
    assert_same_person(alone, avatar)  # the mask's mean difference is 11 without `repeatBorder`


def test_static_site_shows_one_of_two_people_like_the_product(static, model, sample, tmp_path):
    path = tmp_path / "two.png"
    touching_people(sample).save(path)
    avatar = Portraitist(model).paint(path)
    with tab(*PHONE) as page:
        opened(page, static)
        assert "2 avatars are ready" in upload(page, path)[0]
        choose(page, "[value=transparent]")
        alone = pixels(downloaded(page)).astype(int)
    assert_same_person(alone, avatar)


def test_static_site_paints_in_the_style_of_an_example_like_the_product(shipped, runtime, sample, tmp_path):
    path, portrait = sample / "selfies" / "0006.jpg", sample / "portraits" / "0001.jpg"
    portraitist = Portraitist(shipped, threads=1)
    build_site(shipped, tmp_path / "page", runtime)
    assert (tmp_path / "page" / "models" / "example_generator.onnx").stat().st_size < 0.3e6
    with web_server(tmp_path / "page") as address, tab(*PHONE) as page:
        _, errors = opened(page, address)
        go_offline(page)
        for like in (None, portrait):
            if like:
                page.set_input_files("#like", like)
            _, kept, _ = page_result(page, path)
            difference = kept - portraitist.paint(path, like=like).picture
            assert np.abs(difference).mean() < 2
        main_only = Portraitist(with_example_generator(shipped.parent, tmp_path / "main.onnx", None), threads=1)
        assert np.abs(kept - main_only.paint(path, like=portrait).picture).mean() > 4
        assert errors == []


def test_static_site_paints_a_small_grey_photo_like_the_product(shipped, runtime, sample, tmp_path):
    portraitist = Portraitist(shipped, threads=1)
    build_site(shipped, tmp_path / "page", runtime)
    with Image.open(sample / "selfies" / "0006.jpg") as opened_picture:
        grey = opened_picture.convert("L").resize((180, 180), Image.Resampling.LANCZOS)
    grey.save(tmp_path / "grey.png")
    with web_server(tmp_path / "page") as address, tab(*PHONE) as page:
        opened(page, address)
        _, kept, _ = page_result(page, tmp_path / "grey.png")
    avatar = portraitist.paint(tmp_path / "grey.png")
    difference = np.abs(kept - avatar.picture.astype(int))
    assert difference.mean() < 0.9  # without the blur 2.3, without one tint 1.2
    assert np.quantile(difference, 0.99) <= 6


def test_static_site_keeps_eyes_and_mouth_like_the_product(shipped, runtime, tmp_path):
    grain = cv2.GaussianBlur(np.random.default_rng(4).normal(0, 1, (192, 96, 3)), (0, 0), 2)
    painting, selfie = (np.rint(120 + 150 * each).clip(0, 255).astype(np.uint8) for each in (grain[:96], grain[96:]))
    mask = np.tile(np.linspace(0, 255, 96).astype(np.uint8), (96, 1))
    points = np.array([[20, 22], [38, 22], [29, 33], [29, 42], [10, 25], [48, 30]], np.float32)
    cases = [  # selfie, and transform of the crop: as contrasty as the painting; much weaker; cut off by the border
        (selfie, [[1.5, 0, 3], [0, 1.5, 9]]),
        ((selfie // 6 + 100).astype(np.uint8), [[1.5, 0, 3], [0, 1.5, 9]]),
        (selfie, [[2.5, 0, 6], [0, 2.5, 20]]),
    ]
    build_site(shipped, tmp_path / "page", runtime)
    script = """async ([painting, selfie, mask, points, transform]) => {
        const { withFeatures } = await import("./features.js");
        const plane = (data, channels) => ({ width: 96, height: 96, channels, data: Uint8ClampedArray.from(data) });
        const crop = { picture: plane(selfie, 3), face: { points }, transform };
        return Array.from(withFeatures(plane(painting, 3), plane(mask, 1), crop).data);
    }"""
    with web_server(tmp_path / "page") as address, tab(*PHONE) as page:
        opened(page, address)
        for original, transform in cases:
            square = CropImage(original, None, np.full((96, 96), 255, np.uint8))
            crop = Crop(square, Face(1.0, (0.0, 0.0, 1.0, 1.0), points), np.array(transform, np.float32))
            expected = with_features(painting, original, mask, crop)
            planes = [each.ravel().tolist() for each in (painting, original, mask)]
            found = page.evaluate(script, [*planes, points.tolist(), transform])
            assert np.abs(painting.astype(int) - expected).max() > 15
            difference = np.abs(np.reshape(found, expected.shape) - expected)
            assert difference.max() <= 1


@pytest.fixture(scope="module")
def unusual(model, selfie, tmp_path_factory):
    """Rotated pictures, a large one, and pictures with alpha channels that are or are not person masks."""
    with Image.open(selfie) as opened:
        picture = opened.convert("RGB")
    folder = tmp_path_factory.mktemp("unusual")
    for degrees in (90, 180, 270):
        picture.rotate(degrees, expand=True).save(folder / f"rotated_{degrees}.png")
    side = picture.width
    disc, corner = Image.new("L", picture.size), Image.new("L", picture.size, 255)
    ImageDraw.Draw(disc).ellipse((0, 0, side - 1, side - 1), fill=255)
    corner.putpixel((0, 0), 0)
    crop = Portraitist(model).paint(picture)
    person = cv2.warpAffine(crop.mask, cv2.invertAffineTransform(crop.transform), picture.size)
    large = Image.new("RGB", (2000, 1700), (90, 120, 110))
    large.paste(picture.resize((1600, 1600)), (400, 100))
    large.save(folder / "large.png")
    for name, alpha in (("round", disc), ("corner", corner), ("cut_out", Image.fromarray(person))):
        picture.putalpha(alpha)
        picture.save(folder / f"{name}.png")
    return folder


@pytest.mark.parametrize("name", ["rotated_90", "rotated_180", "rotated_270", "round", "corner", "cut_out", "large"])
def test_static_site_crops_and_masks_unusual_pictures_like_the_product(static, model, unusual, name):
    path = unusual / f"{name}.png"
    portraitist = Portraitist(model)
    avatar = portraitist.paint(path)
    with Image.open(path) as opened_picture:
        alpha = np.array(opened_picture.convert("RGBA"))[..., 3]
    opaque = cv2.warpAffine(alpha, avatar.transform, (avatar.size_px, avatar.size_px))
    inner = cv2.erode(opaque, np.ones((5, 5))) == 255  # browsers do not preserve the colours of transparent pixels
    with tab(*PHONE) as page:
        opened(page, static)
        photo, _, alone = page_result(page, path)
    assert np.abs(photo - avatar.selfie)[inner].mean() < 1.5
    assert np.abs(alone[..., 3] - avatar.mask).mean() < 4


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
    with pytest.raises(SiteBuildError, match=r"the networks have \d+\.\d MB in total; at most 1 MB .*int8"):
        build_site(model, tmp_path / "page", runtime)
    assert not (tmp_path / "page").exists()


def test_every_file_has_a_type_that_nginx_knows(folder):
    known = {
        ".html",
        ".css",
        ".js",
        ".json",
        ".wasm",
        ".onnx",
        ".svg",
        ".webp",
        "",
    }  # "" is that of NOTICE
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} <= known


@pytest.mark.parametrize("path", ["", "some/where/", "avatars/"], ids=["root", "subpath", "proxied server"])
def test_page_paints_behind_nginx(nginx, selfie, path):
    with tab(*PHONE) as page:
        requests, errors = opened(page, nginx + path)
        assert upload(page, selfie)[1] == ""
        assert page.is_visible("#result")
        downloaded(page)
    assert errors == []
    assert all(request.startswith((nginx + path, "blob:", "data:")) for request in requests)


def test_nginx_serves_scripts_with_their_types(nginx, folder):
    for path in folder.rglob("*.*"):
        with urllib.request.urlopen(f"{nginx}some/where/{path.relative_to(folder).as_posix()}", timeout=20) as answer:
            found = answer.headers["content-type"]
        # scripts fetch models as bytes
        assert (found == "application/octet-stream") == (path.suffix == ".onnx"), path.name
        if path.suffix in (".js", ".wasm", ".html", ".css"):
            assert found.split(";")[0] in (*MEDIA_TYPES.values(), "application/wasm"), path.name


def test_site_command_overwrites_only_with_force(model, runtime, tmp_path):
    arguments = ["site", "-o", tmp_path / "page", "--model", model, "--runtime", runtime]

    def run(*more):
        return CliRunner().invoke(app, [str(argument) for argument in [*arguments, *more]])

    first = run()
    assert first.exit_code == 0, first.stderr
    assert (tmp_path / "page" / "index.html").exists()
    assert run().stderr == f"portraitist: {tmp_path / 'page'} exists; --force overwrites it\n"
    assert run("--force").exit_code == 0
