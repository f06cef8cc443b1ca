from pathlib import Path

import pytest

from portraitist.app.avatar import Portraitist


@pytest.fixture(scope="module")
def portraitist(model: Path) -> Portraitist:
    """The test model, on one thread."""
    return Portraitist(model, threads=1)


@pytest.fixture(scope="module")
def selfie(sample: Path) -> bytes:
    """The content of a selfie's file."""
    return (sample / "selfies" / "0006.jpg").read_bytes()
