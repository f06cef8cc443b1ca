"""Strangers' bytes become plain pictures: decoded within bounds, upright, sRGB, no metadata; the rest is refused.

The same `read` opens a user's selfie.
"""

import io
import struct
import warnings
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageCms, ImageOps

from portraitist.manifest import Verdict
from portraitist.params import CleanParams
from portraitist.pictures import Picture, Plane, decode, encode

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")  # JPEG opens MPO too: what phones call one with a depth picture
BROKEN = (  # what Pillow's readers raise at broken bytes
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    LookupError,
    TypeError,
    ArithmeticError,
    MemoryError,
    struct.error,
    Image.DecompressionBombError,
)
HASH_SIDE = 8


class RefusedError(ValueError):
    """A picture that cannot be used; the verdict says which kind of fault, the message what was found."""

    def __init__(self, verdict: Verdict, message: str) -> None:
        super().__init__(message)
        self.verdict = verdict


@dataclass(frozen=True)
class Cleaned:
    """A picture fit for use: RGB, upright; the alpha if it had one."""

    picture: Picture
    alpha: Plane | None

    def members(self) -> dict[str, bytes]:
        """As a shard's members."""
        return {"png": encode(self.picture)} | ({} if self.alpha is None else {"alpha.png": encode(self.alpha)})

    @classmethod
    def of(cls, members: dict[str, bytes]) -> "Cleaned":
        """From a shard's members."""
        return cls(decode(members["png"]), decode(members["alpha.png"]) if "alpha.png" in members else None)


def read(data: bytes, max_megapixels: float = 50.0, min_side_px: int = 16, max_side_px: int = 4096) -> Cleaned:
    """The picture in a file's bytes, scaled down to max_side_px if it is larger.

    Raises:
        RefusedError: The bytes are no picture, or one that is broken, animated, too small or too large.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd EXIF and of size; both are decided here
        try:
            picture = Image.open(io.BytesIO(data), formats=FORMATS)
        except Image.DecompressionBombError as error:
            raise RefusedError(Verdict.TOO_LARGE, f"{error}; at most {max_megapixels:g} megapixels are read") from error
        except BROKEN as error:
            allowed = ", ".join(FORMATS)
            raise RefusedError(Verdict.NOT_A_PICTURE, f"not a picture that opens as one of {allowed}") from error
        try:
            _within(picture, max_megapixels, min_side_px)
            picture.draft("RGB", (max_side_px, max_side_px))  # JPEG only: decodes no finer than needed
            picture.load()
            upright = ImageOps.exif_transpose(picture)
            upright.thumbnail((max_side_px, max_side_px), Image.Resampling.LANCZOS)
            return _flat(upright)
        except RefusedError:
            raise
        except BROKEN as error:
            raise RefusedError(Verdict.UNREADABLE, f"the picture is broken: {error}") from error


def _within(picture: Image.Image, max_megapixels: float, min_side_px: int) -> None:
    width, height = picture.size
    if width * height > max_megapixels * 1e6:
        raise RefusedError(
            Verdict.TOO_LARGE, f"{width} x {height} pixels; at most {max_megapixels:g} megapixels are read"
        )
    if min(width, height) < min_side_px:
        raise RefusedError(Verdict.TOO_SMALL, f"{width} x {height} pixels; each side needs {min_side_px}")
    if getattr(picture, "n_frames", 1) > 1 and picture.format != "MPO":
        raise RefusedError(Verdict.ANIMATED, f"{picture.n_frames} frames; one still picture is needed")  # type: ignore[attr-defined]


def _flat(picture: Image.Image) -> Cleaned:
    """Eight bits of sRGB, and the alpha apart."""
    if picture.mode.startswith("I;16") or picture.mode in ("I", "F"):
        values = np.asarray(picture, np.float64)
        scale = 255 / 65535 if picture.mode.startswith("I") and values.max(initial=0) > 255 else 1
        picture = Image.fromarray((values * scale).clip(0, 255).astype(np.uint8))
    profile = picture.info.get("icc_profile")
    transparent = picture.mode in ("LA", "PA", "RGBA", "RGBa") or "transparency" in picture.info
    alpha = np.asarray(picture.convert("RGBA"))[..., 3] if transparent else None
    if alpha is not None and alpha.min() == 255:
        alpha = None
    if profile and picture.mode in ("RGB", "RGBA", "CMYK", "L"):
        picture = _to_srgb(picture if picture.mode != "RGBA" else picture.convert("RGB"), profile)
    return Cleaned(np.array(picture.convert("RGBA").convert("RGB") if transparent else picture.convert("RGB")), alpha)


def _to_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        changed = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        return changed if changed is not None else picture
    except (ImageCms.PyCMSError, OSError):
        return picture  # a profile that cannot be read is no reason to lose the picture


def clean(data: bytes, params: CleanParams) -> Cleaned:
    """The picture in a file's bytes, by the stage's bounds.

    Raises:
        RefusedError: As `read`.
    """
    return read(data, params.max_megapixels, params.min_side_px, params.max_side_px)


def dhash(cleaned: Cleaned) -> int:
    """64 bits of a picture's gradient (difference hash): near pictures differ in few. Alpha is laid over grey."""
    grey = Image.fromarray(cleaned.picture).convert("L")
    if cleaned.alpha is not None:
        grey = Image.composite(grey, Image.new("L", grey.size, 128), Image.fromarray(cleaned.alpha))
    small = np.asarray(grey.resize((HASH_SIDE + 1, HASH_SIDE), Image.Resampling.BOX), np.int16)
    bits = (small[:, 1:] > small[:, :-1]).ravel()
    return int("".join("1" if bit else "0" for bit in bits), 2)


def distance_bits(one: int, other: int) -> int:
    """In how many of their 64 bits two hashes differ."""
    return (one ^ other).bit_count()
