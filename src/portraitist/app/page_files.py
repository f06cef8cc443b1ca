"""The files of the web page, for the server and the static site, and the previews of the styles."""

import base64
import io
from functools import cached_property
from pathlib import Path

from PIL import Image

import portraitist
from portraitist.app.avatar import Portraitist
from portraitist.app.compositing import Finish, apply_finish
from portraitist.app.framing import upright_frame
from portraitist.app.selfie import read_selfie
from portraitist.app.styles import Style, StyleOptions
from portraitist.clean.decode import CleanPicture, RejectedError
from portraitist.core.types import MaskArray
from portraitist.crop.align import Crop

SITE = Path(__file__).with_name("static_site")
BASE_STYLE = Path(portraitist.__file__).with_name("base.css")
BACKENDS = ("device_backend.js", "server_backend.js")
SERVICE_WORKER = "service_worker.js"  # of the static site
PREVIEW_SELFIE = SITE / "example_1_selfie.webp"
PREVIEW_PX = 148  # side of a preview: twice the size on the page, for screens of high resolution
PREVIEW_BACKGROUND = (239, 228, 208)


def page_files(backend: str) -> dict[str, Path]:
    """Return the files of the web page, as a dictionary from a file's name in URLs to its path.

    The argument `backend` is one of `BACKENDS`.
    """
    files = {path.name: path for path in SITE.iterdir() if path.name not in BACKENDS}
    if backend == "server_backend.js":
        del files[SERVICE_WORKER]
    return files | {"base.css": BASE_STYLE, "backend.js": SITE / backend}


class StylePreviews:
    """Previews of a model's styles: an example face, painted in each style.

    A preview is painted when it is first requested.
    """

    def __init__(self, model: Portraitist) -> None:
        self._model = model
        self._previews: dict[str, bytes] = {}

    def __getitem__(self, style: str) -> bytes:
        """Return a preview as a WebP file.

        Raises:
            StyleError: the model has no style of this name.
            ModelError: the model is damaged.
        """
        if style not in self._previews:
            self._previews[style] = self._paint(self._model.read_style(StyleOptions(style)))
        return self._previews[style]

    def _paint(self, style: Style) -> bytes:
        selfie, crop, person = self._example
        avatar = self._model.paint_frame(selfie, crop, person, upright_frame(crop, person), style=style)
        return encode_webp(apply_finish(avatar, Finish(PREVIEW_BACKGROUND, size_px=PREVIEW_PX)))

    @cached_property
    def _example(self) -> tuple[CleanPicture, Crop, MaskArray]:
        """The example face: the picture, the crop, and the person's mask."""
        selfie = read_selfie(PREVIEW_SELFIE)
        (crop,) = self._model.crops(selfie, "largest")
        if isinstance(crop, RejectedError):
            raise crop
        return selfie, crop, self._model.person(selfie, crop)


def encode_webp(picture: Image.Image) -> bytes:
    """Encode a picture in WebP format. The compression is lossy, but its artefacts are not visible."""
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", quality=92, method=2)
    return buffer.getvalue()


def data_uri(webp: bytes) -> str:
    """Return a WebP file as a data URI."""
    return "data:image/webp;base64," + base64.b64encode(webp).decode("ascii")
