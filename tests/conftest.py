"""What all tests share: shapes are checked, nothing reaches the network, and where the pretrained parts lie."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

import portraitist  # noqa: F401  turns usage reports off, before a test imports a package that has them

install_import_hook("portraitist", "beartype.beartype")  # no `with`: modules come in later, and are checked too

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that reaches for another machine fails; loopback is free."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test reached for {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


@pytest.fixture(scope="session")
def pretrained() -> Path:
    """The folder that stage weights leaves; `make test` brings it before the tests begin."""
    for folder in (ROOT / ".venv" / "pretrained", ROOT / "models" / "pretrained"):
        if (folder / "NOTICE").exists():
            return folder
    pytest.fail("no pretrained parts; `make test` brings them")


@pytest.fixture(scope="session")
def model(pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What stage export leaves, of a model that has learned nothing."""
    from toys import exported

    return exported(tmp_path_factory.mktemp("models") / "portraitist", pretrained)


@pytest.fixture
def double() -> Iterator[None]:
    """In float64 two orders of summing agree to many digits; in float32 Adam makes much of what is nearly nothing."""
    import torch

    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="session")
def sample() -> Path:
    """The synthetic pack."""
    return ROOT / "data" / "sample"
