"""Draw backgrounds, and composite people on them; equal seeds give equal pixels."""

import cv2
import numpy as np

from portraitist.core.blend import alpha_composite
from portraitist.core.types import MaskArray, Picture, SquarePicture

ROOM = "room"  # kind of background: a blurred picture from the library of backgrounds
# Range of the sigma with which a kind of background is blurred: the picture's side divided by these numbers.
BLUR_RANGE = {"blur": (4, 10), ROOM: (16, 80)}
# When a person is removed: sigma of the blur that fills the area, as a fraction of the side; and the weight of the mean
# background colour in the blur, which is used far from any background.
FILL_SIGMA = 1 / 12
MIN_WEIGHT = 1e-3
# Eight backgrounds that differ in hue and lightness. The test selfies are placed on them to measure whether the colour
# of the stylized skin depends on the background; the metric has a column for each name.
TEST_BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "red": (200, 30, 36),
    "green": (40, 150, 60),
    "blue": (40, 70, 190),
    "yellow": (220, 200, 60),
    "magenta": (180, 50, 170),
    "cyan": (60, 180, 190),
    "white": (240, 240, 240),
    "black": (16, 16, 16),
}


def draw_background(kind: str, seed: int, size_px: int, source: Picture | None = None) -> Picture:
    """Draw a square background.

    Args:
        kind: "solid", "gradient", "noise" or "checks", drawn in random colours; "blur" or "room", a blurred `source`.
        seed: selects colours, shapes and blur.
        size_px: width and height of the background.
        source: the picture to blur, with the width and height `size_px`. For "blur", pass the picture of the person;
            for "room", pass a picture from the library of backgrounds. The other kinds need no `source`.

    Raises:
        ValueError: the kind is unknown, or `source` is missing.
    """
    rng = np.random.default_rng(seed)
    first, second = rng.uniform(0, 255, (2, 3))
    rows, columns = np.mgrid[0:size_px, 0:size_px] / size_px
    if kind == "solid":
        drawn = np.broadcast_to(first, (size_px, size_px, 3))
    elif kind == "gradient":
        angle = rng.uniform(0, 2 * np.pi)
        ramp = (rows - 0.5) * np.sin(angle) + (columns - 0.5) * np.cos(angle) + 0.5
        drawn = first + (second - first) * ramp.clip(0, 1)[..., None]
    elif kind == "noise":
        coarse = rng.uniform(0, 1, (int(rng.integers(2, 10)),) * 2 + (1,)).astype(np.float32)
        ramp = cv2.resize(coarse, (size_px, size_px), interpolation=cv2.INTER_CUBIC)[..., None]
        drawn = first + (second - first) * ramp
    elif kind == "checks":
        count = rng.integers(2, 9)
        drawn = np.where(((rows * count).astype(int) + (columns * count).astype(int))[..., None] % 2, first, second)
    elif kind in BLUR_RANGE and source is not None:
        sigma = size_px / rng.uniform(*BLUR_RANGE[kind])
        drawn = cv2.GaussianBlur(source, (0, 0), sigma)[:, :: rng.choice([-1, 1])]
    elif kind in BLUR_RANGE:
        raise ValueError(f"background {kind!r} needs a source picture; pass `source`")
    else:
        raise ValueError(f"unknown background {kind!r}; expected solid, gradient, noise, checks, blur or room")
    return np.clip(drawn, 0, 255).astype(np.uint8)


def composite_person(
    picture: Picture, mask: MaskArray, background: Picture | tuple[int, int, int], light_wrap: float
) -> Picture:
    """Place the person of a picture on another background.

    Light of the background is added to the edge of the person (light wrap). Without it, a discriminator could recognize
    the composites by their sharp edges.

    Args:
        picture: the picture of the person.
        mask: the mask of the person, 255 is person.
        background: a picture of the same size, or one RGB colour.
        light_wrap: strength of the light, 0 (none) to 1.
    """
    background = np.broadcast_to(np.asarray(background, np.uint8), picture.shape)
    composite = alpha_composite(picture, mask, background)
    if not light_wrap:
        return composite
    sigma = picture.shape[0] / 48
    light = cv2.GaussianBlur(np.ascontiguousarray(background), (0, 0), 3 * sigma)
    spill = light_wrap * cv2.GaussianBlur(255 - mask, (0, 0), sigma).astype(np.float32) * (mask / 255)
    return alpha_composite(light, spill.round().astype(np.uint8), composite)


def remove_person(picture: Picture, mask: MaskArray) -> Picture:
    """Replace the person in a picture by blurred colours of the surrounding background (normalized convolution)."""
    side = picture.shape[0]
    person = cv2.dilate(mask, np.ones((2 * (side // 24) + 1,) * 2, np.uint8))
    weight = 1 - person[..., None].astype(np.float32) / 255
    mean = (picture * weight).sum(axis=(0, 1)) / max(float(weight.sum()), 1.0)
    blurred, blurred_weight = (cv2.GaussianBlur(part, (0, 0), FILL_SIGMA * side) for part in (picture * weight, weight))
    fill = (blurred + MIN_WEIGHT * mean) / (blurred_weight[..., None] + MIN_WEIGHT)
    return alpha_composite(fill.clip(0, 255).astype(np.uint8), person, picture)


def square_background(picture: Picture, size_px: int) -> SquarePicture:
    """Return the central square of a picture, resized to `size_px` pixels."""
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return cv2.resize(
        np.ascontiguousarray(picture[top : top + side, left : left + side]),
        (size_px, size_px),
        interpolation=cv2.INTER_AREA if side > size_px else cv2.INTER_CUBIC,
    )
