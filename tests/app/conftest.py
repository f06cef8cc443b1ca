import shutil
import subprocess
from pathlib import Path

import pytest
from app_helpers import serving, web_server
from PIL import Image
from toys import ROOT

from portraitist.app.avatar import Portraitist
from portraitist.app.site_builder import RUNTIME, build_site


@pytest.fixture(scope="module")
def portraitist(model: Path) -> Portraitist:
    """An untrained model, loaded with one thread."""
    return Portraitist(model, threads=1)


@pytest.fixture(scope="module")
def selfie(sample: Path) -> bytes:
    """The bytes of a selfie of the sample."""
    return (sample / "selfies" / "0006.jpg").read_bytes()


@pytest.fixture(scope="module")
def server(model):
    with serving(Portraitist(model, threads=1)) as port:
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
    """The address of the static site."""
    with web_server(folder) as address:
        yield address


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
