"""Two pictures side by side in one, or one above the other, cut apart."""

import io
import warnings

import numpy as np
from PIL import Image, ImageOps

from portraitist.core.image_io import encode_png
from portraitist.core.types import Picture

MAX_PIXELS = 50_000_000
EDGE = 12  # grey levels between neighbours that are an edge
LOOK_PX = 256
MIDDLE = (0.35, 0.65)  # where the seam is looked for


def cut(data: bytes, clear: float) -> list[bytes]:
    """The left and the right, or the upper and the lower picture, as PNG; nothing, if no line is so clear a seam."""
    picture = _seen(data)
    if picture is None:
        return []
    share, across, at = seam(picture)
    if share < clear:
        return []
    halves = (picture[:at], picture[at:]) if across else (picture[:, :at], picture[:, at:])
    return [encode_png(np.ascontiguousarray(half)) for half in halves]


def seam(picture: Picture) -> tuple[float, bool, int]:
    """The clearest straight line near the middle: (the share of it that is an edge, whether it lies across, where)."""
    grey = Image.fromarray(picture).convert("L")
    small = np.asarray(grey.resize((LOOK_PX, LOOK_PX), Image.Resampling.BOX), np.int16)
    found = []
    for across in (False, True):
        edges = np.abs(np.diff(small.T if across else small, axis=1)) >= EDGE
        edges = edges[:, :-1] | edges[:, 1:]  # where the seam falls between two columns, it is in either
        first, last = (int(share * LOOK_PX) for share in MIDDLE)
        shares = edges.mean(axis=0)[first:last]
        place = first + int(shares.argmax())
        length = picture.shape[0 if across else 1]
        found.append((float(shares.max()), across, round((place + 1.5) / LOOK_PX * length)))
    return max(found)


def _seen(data: bytes) -> Picture | None:
    """The picture in a file's bytes; None of one that cannot be read: which fault it has, stage clean says."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    return None
                return np.array(ImageOps.exif_transpose(picture).convert("RGB"))
    except Exception:  # Pillow's readers raise what they please at broken bytes
        return None
