from pathlib import Path

import pytest

from portraitist.app.avatar import Portraitist


@pytest.fixture(scope="module")
def portraitist(model: Path) -> Portraitist:
    """An untrained model, loaded with one thread."""
    return Portraitist(model, threads=1)


@pytest.fixture(scope="module")
def selfie(sample: Path) -> bytes:
    """The bytes of a selfie of the sample."""
    return (sample / "selfies" / "0006.jpg").read_bytes()
