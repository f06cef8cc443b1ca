import functools
import http.server
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
from app_helpers import MEDIA_TYPES, serving
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
    """The static site on a web server with the media types of nginx's default configuration: none for .mjs."""

    class Handler(http.server.SimpleHTTPRequestHandler):
        extensions_map = MEDIA_TYPES

        def log_message(self, *_):
            pass

    files = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder.parent)))
    threading.Thread(target=files.serve_forever).start()
    yield f"http://127.0.0.1:{files.server_port}/page/"
    files.shutdown()
    files.server_close()
