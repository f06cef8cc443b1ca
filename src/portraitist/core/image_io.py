"""Encode arrays as PNG or JPEG bytes, and decode PNG bytes of our own."""

import io

import numpy as np
from PIL import Image

from portraitist.core.types import MaskArray, Picture


def encode_png(array: Picture | MaskArray) -> bytes:
    """PNG bytes of a picture or a plane; equal arrays give equal bytes."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


def decode_png(data: bytes) -> Picture | MaskArray:
    """The array that `encode` was given. For bytes of our own making; strangers' bytes go through `clean.read`."""
    with Image.open(io.BytesIO(data)) as picture:
        return np.array(picture)


def encode_jpeg(picture: Picture) -> bytes:
    """JPEG bytes, for sheets that a person looks at."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()
