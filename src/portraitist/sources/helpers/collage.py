"""Split collages: files that show two pictures side by side, or one above the other."""

import io
import warnings

import numpy as np
from PIL import Image, ImageOps

from portraitist.core.image_io import encode_png
from portraitist.core.types import Picture

MAX_PIXELS = 50_000_000
MAX_SCANS = 100  # of a JPEG file, as in stage clean; decoding each scan is a pass over all pixels
MIN_EDGE_STEP = 12  # difference between two neighbouring pixels, in grey levels of 0 to 255, that counts as an edge
ANALYSIS_SIDE_PX = 256  # the seam is searched in a copy of this size
SEARCH_RANGE = (0.35, 0.65)  # positions at which the seam is searched, as fractions of the width or height


def split_collage(data: bytes, min_seam: float) -> list[bytes]:
    """Split a collage at its seam, the straight line between the two pictures.

    Args:
        data: a picture file.
        min_seam: fraction of the seam's length (0 to 1) that must be an edge.

    Returns:
        Two PNG files: the left and the right half, or the upper and the lower half. An empty list if no seam is found
        or the file cannot be decoded.
    """
    picture = _decode(data)
    if picture is None:
        return []
    edge_fraction, is_horizontal, position = find_seam(picture)
    if edge_fraction < min_seam:
        return []
    halves = (
        (picture[:position], picture[position:]) if is_horizontal else (picture[:, :position], picture[:, position:])
    )
    return [encode_png(np.ascontiguousarray(half)) for half in halves]


def find_seam(picture: Picture) -> tuple[float, bool, int]:
    """Find the vertical or horizontal line near the middle that has the most edge pixels.

    Returns:
        The fraction of the line's length that is an edge, whether the line is horizontal, and its distance in pixels
        from the left or upper border.
    """
    grey = Image.fromarray(picture).convert("L")
    small = np.asarray(grey.resize((ANALYSIS_SIDE_PX, ANALYSIS_SIDE_PX), Image.Resampling.BOX), np.int16)
    found = []
    for is_horizontal in (False, True):
        edges = np.abs(np.diff(small.T if is_horizontal else small, axis=1)) >= MIN_EDGE_STEP
        edges = edges[:, :-1] | edges[:, 1:]  # a seam between two columns is an edge in one of them
        first, last = (int(fraction * ANALYSIS_SIDE_PX) for fraction in SEARCH_RANGE)
        edge_fractions = edges.mean(axis=0)[first:last]
        column = first + int(edge_fractions.argmax())
        length = picture.shape[0 if is_horizontal else 1]
        position = round((column + 1.5) / ANALYSIS_SIDE_PX * length)
        found.append((float(edge_fractions.max()), is_horizontal, position))
    return max(found)


def _decode(data: bytes) -> Picture | None:
    """Decode a picture; None if this fails or would take too long. Stage `clean` later reports the reason."""
    # In the data of a scan, the byte FF occurs only before a marker, so this counts the scans.
    if data.startswith(b"\xff\xd8") and data.count(b"\xff\xda") > MAX_SCANS:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "WEBP")) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    return None
                return np.array(ImageOps.exif_transpose(picture).convert("RGB"))
    except Exception:  # Pillow's decoders raise many exception types for damaged files
        return None
