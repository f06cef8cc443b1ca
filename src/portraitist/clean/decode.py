"""Strangers' bytes become plain pictures: decoded within bounds, upright, sRGB, no metadata; the rest is refused.

The same `read` opens a user's selfie.
"""

import io
import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageCms

from portraitist.clean.params import CleanParams
from portraitist.core.image_io import decode_png, encode_png
from portraitist.core.outcome import Status
from portraitist.core.types import MaskArray, Picture

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")  # JPEG opens MPO too: what phones call one with a depth picture
ORIENTATION = 0x0112
TURNS = {  # EXIF 2.3, tag Orientation: what sets a picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
HASH_SIDE = 8
GREY = 128
BOX = Image.Resampling.BOX


class RejectedError(ValueError):
    """A picture that cannot be used; the status says which kind of fault, the message what was found."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class CleanPicture:
    """A picture fit for use: RGB, upright; the alpha if it had one."""

    picture: Picture
    alpha: MaskArray | None

    def members(self) -> dict[str, bytes]:
        """As a shard's members."""
        return {"png": encode_png(self.picture)} | ({} if self.alpha is None else {"alpha.png": encode_png(self.alpha)})

    @classmethod
    def from_members(cls, members: dict[str, bytes]) -> "CleanPicture":
        """From a shard's members."""
        return cls(decode_png(members["png"]), decode_png(members["alpha.png"]) if "alpha.png" in members else None)

    def grey(self) -> Image.Image:
        """In shades of grey; what the alpha hides is one of them."""
        grey = Image.fromarray(self.picture).convert("L")
        if self.alpha is None:
            return grey
        return Image.composite(grey, Image.new("L", grey.size, GREY), Image.fromarray(self.alpha))


def decode_picture(
    data: bytes,
    max_megapixels: float = 50.0,
    min_side_px: int = 16,
    max_side_px: int = 4096,
    max_megabytes: float = 64.0,
    formats: tuple[str, ...] = FORMATS,
) -> CleanPicture:
    """The picture in a file's bytes, scaled down to max_side_px if it is larger.

    Raises:
        RejectedError: The bytes are no picture, or one that is broken, animated, too small or too large.
    """
    picture = open_header(data, max_megabytes, formats)
    check_dimensions(picture, max_megapixels, min_side_px)
    return load_upright(picture, max_side_px)[0]


def open_header(data: bytes, max_megabytes: float, formats: tuple[str, ...] = FORMATS) -> Image.Image:
    """The picture, of which no more than the header was read.

    Raises:
        RejectedError: The bytes are too many, or no picture.
    """
    if len(data) > max_megabytes * 1e6:
        raise RejectedError(
            Status.TOO_LARGE, f"{len(data) / 1e6:.1f} megabytes; at most {max_megabytes:g} megabytes are read"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of odd EXIF and of size; both are decided here
            picture = Image.open(io.BytesIO(data), formats=formats)
    except Image.DecompressionBombError as error:
        raise RejectedError(Status.TOO_LARGE, str(error)) from error
    except Exception as error:  # Pillow's readers raise a dozen kinds at broken bytes, SyntaxError among them
        allowed = ", ".join(formats)
        raise RejectedError(Status.NOT_A_PICTURE, f"not a picture that opens as one of {allowed}") from error
    return picture


def check_dimensions(picture: Image.Image, max_megapixels: float, min_side_px: int) -> None:
    """Passes an opened picture that may be decoded.

    Raises:
        RejectedError: It is too large or too small.
    """
    width, height = picture.size
    if width * height > max_megapixels * 1e6:
        raise RejectedError(
            Status.TOO_LARGE, f"{width} x {height} pixels; at most {max_megapixels:g} megapixels are read"
        )
    if min(width, height) < min_side_px:
        raise RejectedError(Status.TOO_SMALL, f"{width} x {height} pixels; each side needs {min_side_px}")


def load_upright(picture: Image.Image, max_side_px: int) -> tuple[CleanPicture, int]:
    """The opened picture decoded, and the orientation that it lay in.

    Raises:
        RejectedError: It is broken, animated, or takes too much memory.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _still(picture)
            share = max_side_px / max(picture.size)
            picture.draft(
                None, (round(picture.width * share), round(picture.height * share))
            )  # JPEG: no finer than needed
            before = _orientation(picture) if picture.format == "TIFF" else 1  # it turns itself when it is decoded
            picture.load()
            after = _orientation(picture)
            plain = _turned(_plain(picture), after)
            plain.thumbnail((max_side_px, max_side_px), Image.Resampling.LANCZOS)
            return _flat(plain, picture.info.get("icc_profile")), max(before, after)
    except RejectedError:
        raise
    except MemoryError as error:
        raise RejectedError(Status.TOO_COSTLY, "decoding it takes more memory than allowed") from error
    except Exception as error:  # as above
        raise RejectedError(Status.UNREADABLE, f"the picture is broken: {error or type(error).__name__}") from error


def _still(picture: Image.Image) -> None:
    """Not `n_frames`: it reads a film to its end."""
    if getattr(picture, "is_animated", False) and picture.format != "MPO":
        raise RejectedError(Status.ANIMATED, "more than one frame; one still picture is needed")


def _orientation(picture: Image.Image) -> int:
    try:
        told = picture.getexif().get(ORIENTATION)
    except Exception:  # EXIF that cannot be read is no reason to lose the picture
        return 1
    return told if isinstance(told, int) and told in TURNS else 1


def _turned(picture: Image.Image, orientation: int) -> Image.Image:
    return picture.transpose(TURNS[orientation]) if orientation in TURNS else picture


def _plain(picture: Image.Image) -> Image.Image:
    """Eight bits a channel in one of the modes that scale and convert well: L, RGB, CMYK, RGBA."""
    if picture.mode.startswith("I") or picture.mode == "F":
        picture = _eight_bits(picture)
    if picture.mode in ("LA", "La", "PA", "RGBa") or "transparency" in picture.info:
        return picture.convert("RGBA")
    return picture if picture.mode in ("L", "RGB", "CMYK", "RGBA") else picture.convert("RGB")


def _eight_bits(picture: Image.Image) -> Image.Image:
    """Sixteen bits, 32 bits or fractions; the range is told by the largest value."""
    values = np.nan_to_num(np.asarray(picture, np.float32))
    largest = float(values.max(initial=0))
    white = next(
        (known for known in (1, 255, 65535) if largest <= known and (known > 1 or picture.mode == "F")), largest
    )
    return Image.fromarray((values * np.float32(255 / white)).clip(0, 255).astype(np.uint8))


def _flat(picture: Image.Image, profile: bytes | None) -> CleanPicture:
    """The colours as sRGB, and the alpha apart; one that hides nothing is none."""
    alpha = np.array(picture.getchannel("A")) if picture.mode == "RGBA" else None
    if alpha is not None and alpha.min() == 255:
        alpha = None
    colours = picture.convert("RGB") if picture.mode == "RGBA" else picture
    return CleanPicture(np.array((_to_srgb(colours, profile) if profile else colours).convert("RGB")), alpha)


def _to_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        changed = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        return changed if changed is not None else picture
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return picture  # a profile that cannot be read is no reason to lose the picture


def clean_picture(data: bytes, params: CleanParams) -> CleanPicture:
    """The picture in a file's bytes, by the stage's bounds.

    Raises:
        RejectedError: As `read`.
    """
    return decode_picture(data, params.max_megapixels, params.min_side_px, params.max_side_px, params.max_megabytes)


def transform_mask(truth: bytes, orientation: int, cleaned: CleanPicture) -> MaskArray:
    """An exact mask turned and scaled as its picture was.

    Raises:
        RejectedError: It has not the picture's shape: one of them is another's.
    """
    turned = _turned(Image.fromarray(decode_png(truth)), orientation)
    height, width = cleaned.picture.shape[:2]
    if abs(turned.width * height - turned.height * width) > max(turned.size):  # a pixel is lost to rounding
        found = f"an exact mask of {turned.width} x {turned.height} for a picture of {width} x {height}"
        raise RejectedError(Status.UNREADABLE, found)
    return np.array(turned if turned.size == (width, height) else turned.resize((width, height), BOX))


def difference_hash(cleaned: CleanPicture) -> int:
    """64 bits of a picture's gradient (difference hash): near pictures differ in few. Alpha is laid over grey."""
    return hash_from_shades(hash_shades(cleaned.grey()))


def hash_shades(grey: Image.Image) -> UInt8[np.ndarray, "8 9"]:
    """The few shades whose slopes to the right are the difference hash."""
    return np.asarray(grey.resize((HASH_SIDE + 1, HASH_SIDE), BOX))


def hash_from_shades(shades: UInt8[np.ndarray, "8 9"]) -> int:
    """The difference hash of these shades."""
    return int.from_bytes(np.packbits(shades[:, 1:] > shades[:, :-1]).tobytes(), "big")
