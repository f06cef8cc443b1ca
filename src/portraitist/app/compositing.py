"""Turn a painted avatar into an output picture: with background, shape and size, or pasted back into the photo."""

import io
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np
from PIL import Image, ImageChops, ImageColor, ImageDraw, ImageOps

from portraitist.app.avatar import MIN_SIZE_PX, Avatar, RejectedError
from portraitist.app.backdrop import paint_backdrop
from portraitist.app.isolation import add_change
from portraitist.app.matting import on_white
from portraitist.app.selfie import IMAGE_SUFFIXES, Source, read_selfie
from portraitist.clean.decode import CleanPicture
from portraitist.core.blend import alpha_composite
from portraitist.core.files import write_file
from portraitist.core.types import MaskArray, Picture
from portraitist.crop.geometry import warp

Shape = Literal["square", "circle"]
Background = Literal["backdrop", "transparent", "keep"] | tuple[int, int, int] | Image.Image
OUTPUT_FORMATS = {".png": "PNG", ".webp": "WEBP", ".jpg": "JPEG", ".jpeg": "JPEG"}
ENCODER_OPTIONS: dict[str, dict[str, Any]] = {
    # Run-length encoding is zlib's fastest strategy. Files of avatars become 1 to 4 % smaller than at level 4; pictures
    # with repeated patterns become larger.
    "PNG": {"compress_type": zlib.Z_RLE},
    "WEBP": {"lossless": True},
    "JPEG": {"quality": 95},
}
MAX_SIZE_PX = 4096
STRIP_ROWS = 128  # rows that are composed at the same time
OVERSAMPLING = 4  # a circle is drawn larger by this factor, then scaled down, for an antialiased edge
FEATHER = 0.08  # width of the strip in which a cut-off person fades into the photo, as a fraction of the crop's side


class FinishError(ValueError):
    """The background, shape, size or file format of an output picture is invalid; the message explains what is allowed.

    The server also raises this error for invalid values of other form fields, such as `strength`.
    """


@dataclass(frozen=True)
class Finish:
    """Background, shape and size of an output picture.

    Attributes:
        background: "backdrop" (painted in the colour of the photo's background), "transparent", "keep" (the photo's
            own), a tuple (red, green, blue) from 0 to 255, or a picture.
        shape: "square" or "circle" (with transparent corners).
        size_px: side in pixels; None for the avatar's own size.

    Raises:
        FinishError: a value is not allowed.
    """

    background: Background = "backdrop"
    shape: Shape = "square"
    size_px: int | None = None

    def __post_init__(self) -> None:
        if not _is_background(self.background):
            found = f"background is {self.background!r}"
            raise FinishError(
                f"{found}; allowed are backdrop, transparent, keep, (red, green, blue) of 0 to 255, and a picture"
            )
        _parse_shape(self.shape)
        if self.size_px is not None and not MIN_SIZE_PX <= self.size_px <= MAX_SIZE_PX:
            raise FinishError(f"size is {self.size_px}; allowed are {MIN_SIZE_PX} to {MAX_SIZE_PX} pixels")

    @classmethod
    def parse(
        cls, background: str | Image.Image, shape: str, size_px: int | None, allow_files: bool = False
    ) -> "Finish":
        """Create a `Finish` from option values that a user typed.

        Args:
            background: "backdrop", "transparent", "keep", a CSS colour, or a picture.
            shape: "square" or "circle".
            size_px: side in pixels, or None for the avatar's size.
            allow_files: also accept the path of a picture. Do not allow it for values from untrusted clients.

        Raises:
            FinishError: a value is not allowed.
        """
        parsed = background if isinstance(background, Image.Image) else _parse_background(background, allow_files)
        return cls(parsed, _parse_shape(shape), size_px)

    def check(self, form: str) -> None:
        """Check that a file format (`form`, such as "JPEG") supports the transparency that this finish needs.

        Raises:
            FinishError: the format is JPEG, and a part of the avatar would be transparent.
        """
        if form == "JPEG" and self.shape == "circle":
            raise FinishError("JPEG has no transparency, which the corners of --shape circle need; use .png or .webp")
        if form == "JPEG" and self.background == "transparent":
            raise FinishError("JPEG has no transparency; set --background, or use .png or .webp")


def _parse_shape(value: str) -> Shape:
    if value not in get_args(Shape):
        raise FinishError(f"shape is {value!r}; allowed are {' and '.join(get_args(Shape))}")
    return "circle" if value == "circle" else "square"


def _is_background(value: object) -> bool:
    if isinstance(value, tuple):
        return len(value) == 3 and all(isinstance(channel, int) and 0 <= channel <= 255 for channel in value)
    return isinstance(value, Image.Image) or value in ("backdrop", "transparent", "keep")


def _parse_background(value: str, allow_files: bool) -> Background:
    if value == "backdrop":
        return "backdrop"
    if value == "transparent":
        return "transparent"
    if value == "keep":
        return "keep"
    if colour := colour_of(value):
        return colour
    if allow_files and value and (Path(value).is_file() or Path(value).suffix.lower() in IMAGE_SUFFIXES):
        return _read_background(value, f"background {value}")
    kinds = "a colour (#f4efe6, ivory), and " + ("the path of a picture" if allow_files else "an uploaded picture")
    raise FinishError(f"background is {value!r}; allowed are backdrop, transparent, keep, {kinds}")


def _read_background(picture: Source, name: str) -> Image.Image:
    """Read a background; an error begins with `name`."""
    try:
        return load_background(read_selfie(picture))
    except (RejectedError, OSError) as error:
        raise FinishError(f"{name}: {getattr(error, 'strerror', None) or error}") from error


def colour_of(value: str) -> tuple[int, int, int] | None:
    """Return red, green and blue (0 to 255) of an opaque CSS colour, such as #f4efe6 or ivory; None if invalid."""
    try:
        red, green, blue, *alpha = ImageColor.getrgb(value)
    except ValueError:
        return None
    return None if alpha else (red, green, blue)


def load_background(cleaned: CleanPicture) -> Image.Image:
    """Convert a decoded picture to a background; transparent pixels become white."""
    return Image.fromarray(on_white(cleaned.picture, cleaned.alpha))


def apply_finish(avatar: Avatar, finish: Finish) -> Image.Image:
    """Return the avatar with background, shape and size of `finish`: RGBA if a part is transparent, else RGB."""
    size = finish.size_px or avatar.size_px
    if finish.background == "keep":
        finished = _resize(Image.fromarray(avatar.picture), size)
    else:
        finished = _resize(avatar.image, size)
        if finish.background == "backdrop":
            backdrop = paint_backdrop(avatar.person, avatar.mask, avatar.selfie, avatar.background, size)
            finished = _set_background(finished, Image.fromarray(backdrop))
        elif finish.background != "transparent":
            finished = _set_background(finished, finish.background)
    if finish.shape == "circle":
        if finished.mode != "RGBA":
            finished.putalpha(255)
        finished.putalpha(ImageChops.darker(finished.getchannel("A"), _disc(size)))
    return finished


def save_avatar(
    avatar: Avatar, path: Path, background: Background | Path | str, shape: str, size_px: int | None
) -> None:
    """Write an avatar to a file, atomically. Arguments and errors are those of `Avatar.save`."""
    form = OUTPUT_FORMATS.get(path.suffix.lower())
    if form is None:
        raise FinishError(f"{path}: suffix {path.suffix!r} is not supported; allowed are {' '.join(OUTPUT_FORMATS)}")
    if isinstance(background, Image.Image):
        background = _read_background(background, "the background picture")
    if isinstance(background, tuple):
        finish = Finish(background, _parse_shape(shape), size_px)
    else:
        parsed = str(background) if isinstance(background, Path) else background
        finish = Finish.parse(parsed, shape, size_px, allow_files=True)
    finish.check(form)
    write_file(path, encode_avatar(apply_finish(avatar, finish), form))


def _resize(picture: Image.Image, size: int) -> Image.Image:
    return picture if picture.width == size else picture.resize((size, size), Image.Resampling.LANCZOS)


def _set_background(person: Image.Image, background: tuple[int, int, int] | Image.Image) -> Image.Image:
    finished = Image.new("RGB", person.size, background if isinstance(background, tuple) else None)
    if isinstance(background, Image.Image):
        finished = ImageOps.fit(background.convert("RGB"), person.size, Image.Resampling.LANCZOS)
    for strip in _strips(person.size):
        pixels = np.array(person.crop(strip))
        back = np.array(finished.crop(strip))
        finished.paste(Image.fromarray(alpha_composite(pixels[..., :3], pixels[..., 3], back)), strip)
    return finished


def _disc(size: int) -> Image.Image:
    disc = Image.new("L", (size, size))
    for left, top, _, bottom in _strips((size, size)):
        large = Image.new("L", (size * OVERSAMPLING, (bottom - top) * OVERSAMPLING))
        box = (0, -top * OVERSAMPLING, size * OVERSAMPLING - 1, (size - top) * OVERSAMPLING - 1)
        ImageDraw.Draw(large).ellipse(box, fill=255)
        disc.paste(large.resize((size, bottom - top), Image.Resampling.BOX), (left, top))
    return disc


def _strips(size: tuple[int, int]) -> Iterator[tuple[int, int, int, int]]:
    """Divide a picture into strips of `STRIP_ROWS` rows, and yield the box (left, top, right, bottom) of each.

    Processing a picture strip by strip needs less memory.
    """
    width, height = size
    for top in range(0, height, STRIP_ROWS):
        yield 0, top, width, min(top + STRIP_ROWS, height)


def paste_back(photo: Picture, avatars: Sequence[Avatar]) -> Image.Image:
    """Return the whole photo with the painted persons in their places.

    Where persons overlap, the first avatar, which has the largest face, is on top.
    """
    pasted = photo.copy()
    for avatar in reversed(avatars):  # the largest face comes last, on top of the others
        height, width = photo.shape[:2]
        alpha = (avatar.cutout * _feather(avatar.crop.square.inside)).round().astype(np.uint8)
        planes = (_unwarp(plane, avatar, (width, height)) for plane in (avatar.isolated, avatar.painting, alpha))
        before, painting, alpha = planes
        left, top, columns, rows = cv2.boundingRect(alpha)
        box = slice(top, top + rows), slice(left, left + columns)
        unpainted = alpha_composite(photo[box], alpha[box], pasted[box])
        pasted[box] = add_change(unpainted, before[box], painting[box], alpha[box])
    return Image.fromarray(pasted)


def _unwarp(plane: np.ndarray, avatar: Avatar, size: tuple[int, int]) -> np.ndarray:
    """Map a picture or mask from the crop's coordinates to the photo's; `size` is (width, height) in pixels."""
    border = cv2.BORDER_REPLICATE if plane.ndim == 3 else cv2.BORDER_CONSTANT
    inverse = cv2.invertAffineTransform(avatar.crop.transform)
    if float(np.hypot(*inverse[:, 0])) < 1:  # the person is smaller in the photo than in the crop: average over areas
        return warp(plane, inverse, int(max(size)), border)[: size[1], : size[0]]
    return cv2.warpAffine(plane, inverse, size, flags=cv2.INTER_CUBIC, borderMode=border)


def _feather(inside: MaskArray) -> np.ndarray:
    """Return weights from 0 to 1 that fade out towards the sides of the crop.

    Sides at which the photo itself ends are not faded.

    Args:
        inside: 255 where the photo covers the crop, 0 elsewhere.
    """
    side = inside.shape[0]
    ramp = np.minimum((np.arange(side, dtype=np.float32) + 0.5) / (FEATHER * side), 1)
    weights = np.ones((side, side), np.float32)
    for edge, rows in ((inside[0], ramp[:, None]), (inside[-1], ramp[::-1, None])):
        weights *= rows if edge.min() else 1
    for edge, columns in ((inside[:, 0], ramp[None]), (inside[:, -1], ramp[None, ::-1])):
        weights *= columns if edge.min() else 1
    return weights


def encode_avatar(picture: Image.Image, form: str) -> bytes:
    """Return the bytes of a picture file without metadata; `form` is one of the values of `OUTPUT_FORMATS`.

    Raises:
        FinishError: the picture has transparency and the format is JPEG.
    """
    if form == "JPEG" and picture.mode == "RGBA":
        raise FinishError("JPEG has no transparency; use .png or .webp")
    buffer = io.BytesIO()
    picture.save(buffer, form, **ENCODER_OPTIONS[form])
    return buffer.getvalue()
