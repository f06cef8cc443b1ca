"""Settings and fixtures of all tests: tensor shapes are checked, the network is blocked, models are prepared."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

import portraitist  # noqa: F401  turns off usage reports before a test imports a package that sends them

install_import_hook(
    "portraitist", "beartype.beartype"
)  # not in a `with` statement, so that modules that are imported later are checked too

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a test fail if it connects to another machine; connections to this machine are allowed."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test connects to {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def pretrained() -> Path:
    """The folder of pretrained models, as stage `weights` writes it; `make test` creates it before the tests."""
    for folder in (ROOT / ".venv" / "pretrained", ROOT / "models" / "pretrained"):
        if (folder / "NOTICE").exists():
            return folder
    pytest.fail("no pretrained models in .venv/pretrained or models/pretrained; run the tests with `make test`")


@pytest.fixture(scope="session")
def model(pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an untrained model, as stage `export` writes it."""
    from toys import make_export

    return make_export(tmp_path_factory.mktemp("models") / "portraitist", pretrained)


@pytest.fixture(scope="session")
def shipped(pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model file in the package; detector and segmenter are added as in the build."""
    from portraitist.shipped import PARTS, read_generators, with_parts

    path = tmp_path_factory.mktemp("shipped") / "portraitist.onnx"
    names = (*PARTS, "person_refiner.onnx")
    generator, others = read_generators()
    path.write_bytes(with_parts(generator, {name: (pretrained / name).read_bytes() for name in names} | others))
    return path


@pytest.fixture
def double() -> Iterator[None]:
    """Compute in float64, so that sums in different orders agree to many digits."""
    import torch

    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="session")
def sample() -> Path:
    """The folder of the included synthetic pictures."""
    return ROOT / "data" / "sample"
