"""What an avatar looks like in the end: background, shape, size; or the painted person back in the whole photo."""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import cv2
import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageOps

from portraitist.app.avatar import Avatar, RejectedError, read_selfie
from portraitist.clean.decode import CleanPicture
from portraitist.core.blend import alpha_composite
from portraitist.core.types import MaskArray, Picture
from portraitist.crop.geometry import warp

Shape = Literal["square", "circle"]
Background = Literal["transparent", "keep"] | tuple[int, int, int] | Image.Image
OUTPUT_FORMATS = {".png": "PNG", ".webp": "WEBP", ".jpg": "JPEG", ".jpeg": "JPEG"}
HOW: dict[str, dict[str, Any]] = {"PNG": {"compress_level": 4}, "WEBP": {"lossless": True}, "JPEG": {"quality": 95}}
SMALLEST_PX, LARGEST_PX = 16, 4096
SMOOTH = 4  # a circle is drawn so many times larger, for a smooth rim
FEATHER = 0.08  # of the square's side: where a person is cut by it, the painting fades into the photo


class FinishError(ValueError):
    """Words that name no look; the message says what was found and what is allowed."""


@dataclass(frozen=True)
class Finish:
    """How an avatar is finished; size_px is the side, by default the model's.

    Raises:
        LookError: One of them says nothing that is allowed.
    """

    background: Background = "transparent"
    shape: Shape = "square"
    size_px: int | None = None

    def __post_init__(self) -> None:
        if not _is_background(self.background):
            found = f"background is {self.background!r}"
            raise FinishError(f"{found}; allowed are transparent, keep, (red, green, blue) of 0 to 255, and a picture")
        _shape(self.shape)
        if self.size_px is not None and not SMALLEST_PX <= self.size_px <= LARGEST_PX:
            raise FinishError(f"size is {self.size_px}; allowed are {SMALLEST_PX} to {LARGEST_PX} pixels")

    @classmethod
    def of(cls, background: str | Image.Image, shape: str, size_px: int | None) -> "Finish":
        """From words; a background may be transparent, keep, a colour as CSS has them, or the path of a picture.

        Raises:
            LookError: One of them says nothing that is allowed.
        """
        behind = background if isinstance(background, Image.Image) else _background(background)
        return cls(behind, _shape(shape), size_px)

    def check(self, form: str) -> None:
        """Passes a look that a file of this form can hold.

        Raises:
            LookError: It is JPEG, and something would be transparent.
        """
        if form == "JPEG" and self.shape == "circle":
            raise FinishError("JPEG holds nothing transparent, and a circle's corners are; write .png or .webp")
        if form == "JPEG" and self.background == "transparent":
            raise FinishError("JPEG holds nothing transparent; give a background, or write .png or .webp")


def _shape(words: str) -> Shape:
    if words not in get_args(Shape):
        raise FinishError(f"shape is {words!r}; allowed are {' and '.join(get_args(Shape))}")
    return "circle" if words == "circle" else "square"


def _is_background(given: object) -> bool:
    if isinstance(given, tuple):
        return len(given) == 3 and all(isinstance(value, int) and 0 <= value <= 255 for value in given)
    return isinstance(given, Image.Image) or given in ("transparent", "keep")


def _background(words: str) -> Background:
    if words == "transparent":
        return "transparent"
    if words == "keep":
        return "keep"
    if colour := colour_of(words):
        return colour
    if words and Path(words).is_file():
        try:
            return load_background(read_selfie(words))
        except RejectedError as error:
            raise FinishError(f"background {words}: {error}") from error
    raise FinishError(
        f"background is {words!r}; allowed are transparent, keep, a colour (#f4efe6, ivory), and a picture's file"
    )


def colour_of(words: str) -> tuple[int, int, int] | None:
    """A colour as CSS has them, #rrggbb or a name, as three numbers of 0 to 255; nothing where it is none, or clear."""
    try:
        red, green, blue, *clear = ImageColor.getrgb(words)
    except ValueError:
        return None
    return None if clear else (red, green, blue)


def load_background(cleaned: CleanPicture) -> Image.Image:
    """A picture to set behind a person."""
    return Image.fromarray(cleaned.picture)


def apply_finish(avatar: Avatar, look: Finish) -> Image.Image:
    """The finished avatar: RGBA where something is transparent, else RGB."""
    side = avatar.mask.shape[0]
    size = look.size_px or side
    if look.background == "keep":
        done = _sized(Image.fromarray(avatar.picture), size)
    else:
        person = _sized(Image.fromarray(np.dstack([avatar.person, avatar.mask])), size)
        done = person if look.background == "transparent" else _before(person, look.background)
    if look.shape == "circle":
        done = done.convert("RGBA")
        done.putalpha(Image.fromarray(np.minimum(np.array(done.getchannel("A")), _disc(size))))
    return done


def _sized(picture: Image.Image, size: int) -> Image.Image:
    return picture if picture.width == size else picture.resize((size, size), Image.Resampling.LANCZOS)


def _before(person: Image.Image, background: Background) -> Image.Image:
    if isinstance(background, Image.Image):
        behind = ImageOps.fit(background.convert("RGB"), person.size, Image.Resampling.LANCZOS)
    else:
        behind = Image.new("RGB", person.size, background)
    pixels = np.array(person)
    return Image.fromarray(alpha_composite(pixels[..., :3], pixels[..., 3], np.array(behind)))


def _disc(size: int) -> MaskArray:
    large = Image.new("L", (size * SMOOTH, size * SMOOTH))
    ImageDraw.Draw(large).ellipse((0, 0, size * SMOOTH - 1, size * SMOOTH - 1), fill=255)
    return np.array(large.resize((size, size), Image.Resampling.BOX))


def paste_back(photo: Picture, avatars: Sequence[Avatar]) -> Image.Image:
    """The photo with each painted person back in its place, by the transform that cut it."""
    done = photo
    for avatar in reversed(avatars):  # the largest on top
        height, width = photo.shape[:2]
        alpha = (avatar.mask * _ramp(avatar.crop.square.inside)).round().astype(np.uint8)
        front, share = (_back(plane, avatar, (width, height)) for plane in (avatar.person, alpha))
        done = alpha_composite(front, share, done)
    return Image.fromarray(done)


def _back(plane: np.ndarray, avatar: Avatar, size: tuple[int, int]) -> np.ndarray:
    """A square's plane in the photo's frame."""
    border = cv2.BORDER_REPLICATE if plane.ndim == 3 else cv2.BORDER_CONSTANT
    there = cv2.invertAffineTransform(avatar.transform)
    if float(np.hypot(*there[:, 0])) < 1:  # the face is larger in the square than in the photo: reduced by area
        there_px = int(max(size))
        return warp(plane, there, there_px, border)[: size[1], : size[0]]
    return cv2.warpAffine(plane, there, size, flags=cv2.INTER_CUBIC, borderMode=border)


def _ramp(inside: MaskArray) -> np.ndarray:
    """From 0 at those sides of the square that lie within the photo to 1; a person cut by the photo is not faded."""
    side = inside.shape[0]
    steps = np.minimum((np.arange(side, dtype=np.float32) + 0.5) / (FEATHER * side), 1)
    ramp = np.ones((side, side), np.float32)
    for edge, rows in ((inside[0], steps[:, None]), (inside[-1], steps[::-1, None])):
        ramp *= rows if edge.min() else 1
    for edge, columns in ((inside[:, 0], steps[None]), (inside[:, -1], steps[None, ::-1])):
        ramp *= columns if edge.min() else 1
    return ramp


def encode_avatar(picture: Image.Image, form: str) -> bytes:
    """A file's bytes; nothing of camera, place or maker is in them.

    Raises:
        LookError: JPEG has no transparency.
    """
    if form == "JPEG" and picture.mode == "RGBA":
        raise FinishError("JPEG holds nothing transparent; write .png or .webp")
    buffer = io.BytesIO()
    picture.save(buffer, form, **HOW[form])
    return buffer.getvalue()
