"""Read a selfie from a path, bytes, an open file, a PIL image or an array, without OpenCV and onnxruntime."""

import contextlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import pillow_heif
from PIL import Image

from portraitist.clean.decode import (
    READABLE_FORMATS,
    CleanPicture,
    RejectedError,
    check_dimensions,
    decode_picture,
    load_upright,
)
from portraitist.core.outcome import Status

MAX_SIDE_PX = 2016  # half the longer side of a 12-megapixel photo, a size to which JPEG can be decoded directly
FULL_MAX_SIDE_PX = 8192  # for --paste-back, whose output is the whole photo
MAX_MEGABYTES, MAX_MEGAPIXELS, MIN_SIDE_PX = 64.0, 50.0, 16  # limits of an input picture

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif")

pillow_heif.register_heif_opener()


@runtime_checkable
class OpenFile(Protocol):
    """A file opened for reading bytes."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes."""


File = Path | str | bytes | bytearray | OpenFile  # a path, the content, or an open file
Source = File | Image.Image | np.ndarray  # or a PIL image, or RGB pixels


def read_selfie(selfie: Source, max_side_px: int = MAX_SIDE_PX) -> CleanPicture:
    """Return a selfie upright and in sRGB, scaled down so that no side exceeds `max_side_px` pixels.

    Fully transparent pixels become white, because their colours may be those of something that was erased.

    Raises:
        TypeError: `selfie` is not a path, bytes, a file opened in binary mode, a PIL image or an array.
        RejectedError: the selfie is not a picture, or is damaged, animated, too small or too large.
        OSError: the file cannot be read.
    """
    if isinstance(selfie, np.ndarray):
        selfie = _image_from_pixels(selfie)
    if isinstance(selfie, Image.Image):
        check_dimensions(selfie, MAX_MEGAPIXELS, MIN_SIDE_PX)
        return _without_hidden_colours(load_upright(selfie.copy(), max_side_px)[0])
    data = _read_file(selfie)
    limits = (MAX_MEGAPIXELS, MIN_SIDE_PX, max_side_px, MAX_MEGABYTES)
    return _without_hidden_colours(decode_picture(data, *limits, READABLE_FORMATS))


def _without_hidden_colours(cleaned: CleanPicture) -> CleanPicture:
    if cleaned.alpha is None:
        return cleaned
    return replace(cleaned, picture=np.where(cleaned.alpha[..., None] == 0, np.uint8(255), cleaned.picture))


def _read_file(selfie: File) -> bytes:
    """Return a file's content; read at most one byte more than allowed, because files such as /dev/zero have no end."""
    if isinstance(selfie, (bytes, bytearray)):
        return bytes(selfie)
    if isinstance(selfie, (str, os.PathLike)):
        with Path(selfie).open("rb") as file:
            return _read_file(file)
    limit = round(MAX_MEGABYTES * 1e6)
    with contextlib.suppress(AttributeError, OSError):  # the file may have been read or written before
        selfie.seek(0)  # type: ignore[attr-defined]
    data = _read_all(selfie, limit + 1) if isinstance(selfie, OpenFile) else None
    if data is None:
        allowed = "a path, the bytes of a file, a file opened in binary mode, a PIL image or an array of RGB pixels"
        raise TypeError(f"a selfie must be {allowed}; found {type(selfie).__name__}")
    if len(data) > limit:
        raise RejectedError(Status.TOO_LARGE, f"the file is larger than {MAX_MEGABYTES:g} megabytes")
    return data


def _read_all(file: OpenFile, limit: int) -> bytes | None:
    """Return the content of a file, or its first `limit` bytes; None if it is not opened in binary mode."""
    parts: list[bytes] = []
    try:
        while limit > 0:
            part = file.read(limit)  # of a pipe, it may be less than `limit`
            if not isinstance(part, bytes):
                return None
            if not part:
                break
            parts.append(part)
            limit -= len(part)
    except UnicodeDecodeError:  # a file opened in text mode
        return None
    return b"".join(parts)


def _image_from_pixels(pixels: np.ndarray) -> Image.Image:
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (3, 4):
        found = f"found an array of {pixels.dtype}, {' x '.join(map(str, pixels.shape))}"
        raise RejectedError(Status.NOT_A_PICTURE, f"expected uint8 RGB pixels of height x width x 3; {found}")
    return Image.fromarray(pixels)
