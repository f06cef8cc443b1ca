"""Decode untrusted picture files to upright sRGB pictures, with limits on size, memory and time.

Stage `clean`, the command line, the server and the Python API decode with the same functions. These never decode more
than `max_megapixels`. Decoding needs up to 10 bytes of memory per decoded pixel if the picture is scaled down, and 15
if not (WebP: 18 and 23). A JPEG file with several scans needs up to MAX_COEFFICIENT_MB in addition. The command
`python benchmarks/clean.py decode` measures this.
"""

import io
import warnings
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageChops, ImageCms

from portraitist.clean.containers import (
    PNG_SIGNATURE,
    ContainerError,
    JpegStructure,
    complete_jpeg,
    read_jpeg_structure,
    strip_png_text,
)
from portraitist.core.image_io import decode_png, encode_png
from portraitist.core.outcome import Status
from portraitist.core.types import MaskArray, Picture

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")  # JPEG includes MPO
READABLE_FORMATS = (*FORMATS, "HEIF", "AVIF")  # after pillow_heif.register_heif_opener() was called
JPEG_FORMATS = ("JPEG", "MPO")  # MPO: a JPEG file with further pictures at its end, such as a depth map
STILL_FORMATS = ("MPO", "HEIF", "TIFF")  # may contain several pictures, but no animation; Pillow opens the primary one
MAX_MEGAPIXELS = 50.0
MAX_JPEG_MEGAPIXELS = 120.0  # of a JPEG file that is decoded at reduced size; phones take photos of up to 108
# Number of scans times megapixels of a JPEG file: 2000 take 2 s; 108 megapixels in the usual 10 scans are 1080.
MAX_SCAN_MEGAPIXELS = 2000.0
# Memory of libjpeg for a JPEG file with several scans, in 10^6 bytes; 324 for 108 megapixels with 4:2:0 subsampling.
MAX_COEFFICIENT_MB = 400
ONE_SCAN_ADVICE = "save the picture as a JPEG file with one scan (baseline instead of progressive)"
STRIP_PIXELS = 2**20  # pixels that are converted to 8 bits at a time
ORIENTATION = 0x0112  # number of the EXIF tag
TRANSPOSITIONS = {  # how to make a picture upright, by the value of the EXIF tag Orientation (EXIF 2.3)
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
HASH_SIDE = 8  # the difference hash has 8 x 8 bits
GREY = 128  # grey level behind transparent pixels
BOX = Image.Resampling.BOX


class RejectedError(ValueError):
    """A picture cannot be used; the message says what was found, and `status` is the status for the manifest."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status

    def __reduce__(self) -> tuple[type["RejectedError"], tuple[Status, str]]:
        """Return how to rebuild the error, so that it can be passed between processes."""
        return type(self), (self.status, str(self))


@dataclass(frozen=True)
class CleanPicture:
    """A decoded picture: upright, in sRGB, without metadata."""

    picture: Picture
    alpha: MaskArray | None  # None if every pixel is opaque

    def members(self) -> dict[str, bytes]:
        """Return the PNG files that a shard stores for this picture, as {ending of the file name: content}.

        The ending is "png" for the picture and "alpha.png" for the alpha channel, if there is one.
        """
        return {"png": encode_png(self.picture)} | ({} if self.alpha is None else {"alpha.png": encode_png(self.alpha)})

    @classmethod
    def from_members(cls, members: dict[str, bytes]) -> "CleanPicture":
        """Decode the files that `members` returned."""
        return cls(decode_png(members["png"]), decode_png(members["alpha.png"]) if "alpha.png" in members else None)

    def grey(self) -> Image.Image:
        """Return the picture in grey levels (mode L), composited over mid-grey by its alpha channel."""
        grey = Image.fromarray(self.picture).convert("L")
        if self.alpha is None:
            return grey
        return Image.composite(grey, Image.new("L", grey.size, GREY), Image.fromarray(self.alpha))


@dataclass(frozen=True)
class OpenedFile:
    """A picture file of which only the header has been read; its pixels have not been decoded."""

    picture: Image.Image
    control: Image.Image | None = None  # for a JPEG file without an end: the second copy of `complete_jpeg`


def decode_picture(
    data: bytes,
    max_megapixels: float = MAX_MEGAPIXELS,
    min_side_px: int = 16,
    max_side_px: int = 4096,
    max_megabytes: float = 64.0,
    formats: tuple[str, ...] = FORMATS,
) -> CleanPicture:
    """Decode a picture file, and scale the picture down if its width or height exceeds `max_side_px`.

    Args:
        data: the bytes of the file.
        max_megapixels: at most this many million pixels are decoded. A larger picture is rejected, except a JPEG file
            of up to MAX_JPEG_MEGAPIXELS. Such a file is decoded at 1/2, 1/4 or 1/8 of its size; both sides of the
            result may then be shorter than `max_side_px`.
        min_side_px: a picture is rejected if its width or its height is smaller.
        max_side_px: maximum width and height of the result.
        max_megabytes: largest file, in units of 10^6 bytes.
        formats: Pillow's names of the formats that are accepted.

    Raises:
        RejectedError: the data is not a picture, or is damaged, animated, too small, too large or too costly.
    """
    opened = open_header(data, max_megabytes, formats)
    check_dimensions(opened.picture, max_megapixels, min_side_px, MAX_JPEG_MEGAPIXELS)
    return load_upright(opened.picture, max_side_px, max_megapixels, opened.control)[0]


def open_header(data: bytes, max_megabytes: float, formats: tuple[str, ...] = FORMATS) -> OpenedFile:
    """Read the header of a picture file without decoding pixels. The arguments are those of `decode_picture`.

    Raises:
        RejectedError: the file is too large, is not a picture, or would take too much time or memory to decode.
    """
    if len(data) > max_megabytes * 1e6:
        raise RejectedError(
            Status.TOO_LARGE, f"the file has {len(data) / 1e6:.1f} MB; at most {max_megabytes:g} MB are allowed"
        )
    structure, control = None, None
    try:
        if data.startswith(b"\xff\xd8"):
            structure = read_jpeg_structure(data)
            if structure.ends_in_scan:
                data, control = complete_jpeg(data)
        elif data.startswith(PNG_SIGNATURE):
            data = strip_png_text(data)
    except ContainerError as error:
        raise RejectedError(Status.TOO_COSTLY, str(error)) from error
    picture = _open(data, formats)
    if structure:
        _check_scans(picture, structure)
    return OpenedFile(picture, None if control is None else _open(control, formats))


def _open(data: bytes, formats: tuple[str, ...]) -> Image.Image:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns about EXIF data and size, which this module checks itself
            return Image.open(io.BytesIO(data), formats=formats)
    except Image.DecompressionBombError as error:
        raise RejectedError(Status.TOO_LARGE, str(error)) from error
    except Exception as error:  # Pillow raises many exception types for damaged files, even SyntaxError
        raise RejectedError(
            Status.NOT_A_PICTURE, f"not a picture in one of the formats {', '.join(formats)}"
        ) from error


def _check_scans(picture: Image.Image, structure: JpegStructure) -> None:
    """Reject a JPEG file with several scans if decoding it would take too much time or memory."""
    megapixels = picture.width * picture.height / 1e6
    if structure.scans > 1 and structure.scans * megapixels > MAX_SCAN_MEGAPIXELS:
        found = (
            f"the JPEG file has {structure.scans} scans (passes over the picture) of {megapixels:.1f} megapixels each"
        )
        allowed = f"all scans together may have at most {MAX_SCAN_MEGAPIXELS:g} megapixels"
        raise RejectedError(Status.TOO_COSTLY, f"{found}; {allowed}; {ONE_SCAN_ADVICE}")
    layers = [(max(1, across), max(1, down)) for _, across, down, _ in getattr(picture, "layer", [])]
    if structure.scans > 1 and layers:
        largest = max(across for across, _ in layers) * max(down for _, down in layers)
        coefficients_mb = 2 * megapixels * sum(across * down for across, down in layers) / largest
        if coefficients_mb > MAX_COEFFICIENT_MB:
            found = f"decoding the {structure.scans} scans of the JPEG file needs {coefficients_mb:.0f} MB of memory"
            allowed = f"at most {MAX_COEFFICIENT_MB} MB are allowed"
            raise RejectedError(Status.TOO_COSTLY, f"{found}; {allowed}; {ONE_SCAN_ADVICE}")


def check_dimensions(
    picture: Image.Image, max_megapixels: float, min_side_px: int, max_jpeg_megapixels: float = 0.0
) -> None:
    """Check the size of an opened picture before it is decoded.

    Args:
        picture: the opened picture.
        max_megapixels: maximum number of pixels, in millions.
        min_side_px: minimum length of the shorter side, in pixels.
        max_jpeg_megapixels: for JPEG files, the limit is the larger one of this value and `max_megapixels`. Pass this
            value only if `load_upright` decodes the picture, because that function decodes large JPEG files at reduced
            size.

    Raises:
        RejectedError: the picture is too large or too small.
    """
    width, height = picture.size
    largest = max(max_megapixels, max_jpeg_megapixels if picture.format in JPEG_FORMATS else 0)
    if width * height > largest * 1e6:
        raise RejectedError(Status.TOO_LARGE, f"{width} x {height} pixels; at most {largest:g} megapixels are read")
    if min(width, height) < min_side_px:
        raise RejectedError(Status.TOO_SMALL, f"{width} x {height} pixels; each side must have at least {min_side_px}")


def load_upright(
    picture: Image.Image,
    max_side_px: int,
    max_megapixels: float = MAX_MEGAPIXELS,
    control: Image.Image | None = None,
) -> tuple[CleanPicture, int]:
    """Decode an opened picture, and return it with its EXIF orientation (1 to 8).

    Args:
        picture: the opened picture; this function may close it.
        max_side_px: the picture is scaled down if its width or height exceeds this value.
        max_megapixels: at most this many million pixels are decoded; larger JPEG files are decoded at reduced size.
        control: only for a JPEG file without an end marker. `complete_jpeg` returned two copies of this file: `picture`
            is the first copy, `control` the second one. If they decode to different pictures, the file is rejected as
            damaged.

    Raises:
        RejectedError: the picture is damaged, animated, too large, or takes too much memory.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _reject_animation(picture)
            _reduce_jpeg(picture, max_side_px, max_megapixels)
            before = _orientation(picture) if picture.format == "TIFF" else 1  # Pillow rotates TIFF while decoding
            picture.load()
            if control is not None:
                _compare_with_control(picture, control, max_side_px, max_megapixels)
            after = _orientation(picture)
            upright = _make_upright(_to_plain_mode(picture), after)
            if upright is not picture:
                picture.close()  # frees its memory although the caller still refers to it
            upright.thumbnail((max_side_px, max_side_px), Image.Resampling.LANCZOS)
            return _to_clean_picture(upright, picture.info.get("icc_profile")), max(before, after)
    except RejectedError:
        raise
    except MemoryError as error:
        raise RejectedError(Status.TOO_COSTLY, "decoding the picture needs more memory than allowed") from error
    except Exception as error:  # many exception types, as in _open
        raise RejectedError(Status.UNREADABLE, f"the picture is damaged: {error or type(error).__name__}") from error


def _reject_animation(picture: Image.Image) -> None:
    # is_animated instead of n_frames, because Pillow reads the whole animation to count its frames
    if getattr(picture, "is_animated", False) and picture.format not in STILL_FORMATS:
        raise RejectedError(Status.ANIMATED, "the file is an animation; a still picture is needed")


def _reduce_jpeg(picture: Image.Image, max_side_px: int, max_megapixels: float) -> None:
    """Configure libjpeg to decode a JPEG file at 1/2, 1/4 or 1/8 of its size if possible.

    The longer side keeps at least `max_side_px` pixels, unless `max_megapixels` requires a smaller size.
    """
    width, height = picture.size
    scale = next(
        (scale for scale in (1, 2, 4, 8) if -(-width // scale) * -(-height // scale) <= max_megapixels * 1e6), 8
    )
    share = max_side_px / max(width, height)
    across, down = (max(1, min(round(side * share), side // scale)) for side in (width, height))
    picture.draft(None, (across, down))
    if picture.width * picture.height > max_megapixels * 1e6:
        found = f"{width} x {height} pixels"
        raise RejectedError(Status.TOO_LARGE, f"{found}; at most {max_megapixels:g} megapixels are decoded")


def _compare_with_control(picture: Image.Image, control: Image.Image, max_side_px: int, max_megapixels: float) -> None:
    _reduce_jpeg(control, max_side_px, max_megapixels)
    if ImageChops.difference(picture, control).getbbox() is not None:
        raise RejectedError(Status.UNREADABLE, "the picture is damaged: the end of the JPEG file is missing")


def _orientation(picture: Image.Image) -> int:
    try:
        orientation = picture.getexif().get(ORIENTATION)
    except Exception:  # a picture with unreadable EXIF data is still usable
        return 1
    return orientation if isinstance(orientation, int) and orientation in TRANSPOSITIONS else 1


def _make_upright(picture: Image.Image, orientation: int) -> Image.Image:
    return picture.transpose(TRANSPOSITIONS[orientation]) if orientation in TRANSPOSITIONS else picture


def _to_plain_mode(picture: Image.Image) -> Image.Image:
    """Convert a picture to mode L, RGB, CMYK or RGBA, which Pillow can scale and convert to sRGB."""
    if picture.mode.startswith("I") or picture.mode == "F":
        picture = _to_eight_bits(picture)
    if picture.mode in ("LA", "La", "PA", "RGBa") or "transparency" in picture.info:
        return picture.convert("RGBA")
    return picture if picture.mode in ("L", "RGB", "CMYK", "RGBA") else picture.convert("RGB")


def _to_eight_bits(picture: Image.Image) -> Image.Image:
    """Convert a greyscale picture with 16 or 32 bits per pixel to 8 bits, in strips to save memory.

    The value that becomes white is 1 (only for floats), 255 or 65535: the smallest of these that no pixel exceeds. If a
    pixel exceeds 65535, the value of the largest pixel becomes white.
    """
    width, height = picture.size
    rows = max(1, STRIP_PIXELS // width)
    strips = [(0, top, width, min(top + rows, height)) for top in range(0, height, rows)]
    largest = max(float(_float_values(picture.crop(strip)).max(initial=0)) for strip in strips)
    white = next(
        (known for known in (1, 255, 65535) if largest <= known and (known > 1 or picture.mode == "F")), largest
    )
    grey = Image.new("L", picture.size)
    for strip in strips:
        values = (_float_values(picture.crop(strip)) * np.float32(255 / white)).clip(0, 255).astype(np.uint8)
        grey.paste(Image.fromarray(values), strip)
    return grey


def _float_values(picture: Image.Image) -> np.ndarray:
    return np.nan_to_num(np.asarray(picture, np.float32))


def _to_clean_picture(picture: Image.Image, profile: bytes | None) -> CleanPicture:
    """Convert a picture to sRGB, and separate its alpha channel unless every pixel is opaque.

    Args:
        picture: in mode L, RGB, CMYK or RGBA.
        profile: the ICC profile in the file, if any.
    """
    alpha = np.array(picture.getchannel("A")) if picture.mode == "RGBA" else None
    if alpha is not None and alpha.min() == 255:
        alpha = None
    picture = picture.convert("RGB") if picture.mode == "RGBA" else picture
    picture = _to_srgb(picture, profile) if profile else picture
    return CleanPicture(np.array(picture if picture.mode == "RGB" else picture.convert("RGB")), alpha)


def _to_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        return converted if converted is not None else picture
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return picture  # a picture with an unreadable profile is still usable


def transform_mask(mask: bytes, orientation: int, cleaned: CleanPicture) -> MaskArray:
    """Rotate and scale a ground-truth mask in the same way as its picture was decoded.

    Args:
        mask: the mask as a PNG file, in the size and orientation of the picture's file.
        orientation: EXIF orientation of the picture (1 to 8), which `load_upright` returned.
        cleaned: the decoded picture.

    Raises:
        RejectedError: mask and picture have different aspect ratios, so the mask belongs to another picture.
    """
    upright = _make_upright(Image.fromarray(decode_png(mask)), orientation)
    height, width = cleaned.picture.shape[:2]
    if abs(upright.width * height - upright.height * width) > max(upright.size):  # rounding costs up to one pixel
        found = f"a ground-truth mask of {upright.width} x {upright.height} for a picture of {width} x {height}"
        raise RejectedError(Status.UNREADABLE, f"{found}; both must have the same aspect ratio")
    return np.array(upright if upright.size == (width, height) else upright.resize((width, height), BOX))


def difference_hash(cleaned: CleanPicture) -> int:
    """Return the 64-bit difference hash (dHash) of a picture; transparent pixels are composited over grey.

    The hashes of similar pictures differ in few bits.
    """
    return hash_from_levels(hash_levels(cleaned.grey()))


def hash_levels(grey: Image.Image) -> UInt8[np.ndarray, "8 9"]:
    """Scale a greyscale picture to the 8 x 9 grey levels from which `hash_from_levels` computes the hash."""
    return np.asarray(grey.resize((HASH_SIDE + 1, HASH_SIDE), BOX))


def hash_from_levels(levels: UInt8[np.ndarray, "8 9"]) -> int:
    """Return the difference hash of 8 x 9 grey levels: a bit is 1 if a level is higher than its left neighbour."""
    return int.from_bytes(np.packbits(levels[:, 1:] > levels[:, :-1]).tobytes(), "big")
