"""The files of the web page, for the server and the static site, and the previews of the styles."""

import base64
import io
from pathlib import Path

from PIL import Image

import portraitist
from portraitist.app.avatar import Portraitist
from portraitist.app.compositing import Finish, apply_finish

SITE = Path(__file__).with_name("static_site")
BASE_STYLE = Path(portraitist.__file__).with_name("base.css")
BACKENDS = ("device_backend.js", "server_backend.js")
PREVIEW_SELFIE = SITE / "example_1_selfie.webp"
PREVIEW_PX = 148  # side of a preview: twice the size on the page, for screens of high resolution
PREVIEW_BACKGROUND = (239, 228, 208)


def page_files(backend: str) -> dict[str, Path]:
    """Return the files of the web page, as a dictionary from a file's name in URLs to its path.

    The argument `backend` is one of `BACKENDS`.
    """
    files = {path.name: path for path in SITE.iterdir() if path.name not in BACKENDS}
    return files | {"base.css": BASE_STYLE, "backend.js": SITE / backend}


def style_cards(model: Portraitist) -> list[dict[str, str]]:
    """Return a list with a dictionary for each style of the model: `name` and `preview`. The first style is `house`.

    A preview is an example face, painted in the style, as a data URI.
    """
    cards = []
    for name in model.style_names:
        picture = apply_finish(model.paint(PREVIEW_SELFIE, style=name), Finish(PREVIEW_BACKGROUND, size_px=PREVIEW_PX))
        cards.append({"name": name, "preview": data_uri(picture)})
    return cards


def data_uri(picture: Image.Image) -> str:
    """Return a picture as a data URI in WebP format. The compression is lossy, but its artefacts are not visible."""
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=92, method=2)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
