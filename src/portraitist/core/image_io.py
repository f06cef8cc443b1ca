"""Encode arrays as PNG or JPEG, and decode PNG files that this package wrote."""

import io

import numpy as np
from PIL import Image

from portraitist.core.types import MaskArray, Picture


def encode_png(array: Picture | MaskArray) -> bytes:
    """Encode a picture or a mask as PNG; equal arrays give equal bytes."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


def decode_png(data: bytes) -> Picture | MaskArray:
    """Decode a PNG file that `encode_png` wrote; `clean.decode.decode_picture` decodes untrusted files."""
    with Image.open(io.BytesIO(data)) as picture:
        return np.array(picture)


def encode_jpeg(picture: Picture) -> bytes:
    """Encode a picture as JPEG of quality 88, for contact sheets."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()
