"""Backgrounds, and compositing of people on them; equal seeds give equal pixels."""

import cv2
import numpy as np

from portraitist.core.blend import alpha_composite
from portraitist.core.types import MaskArray, Picture, SquarePicture

ROOM = "room"  # a background made from a picture of the library
BLUR_RANGE = {"blur": (4, 10), ROOM: (16, 80)}  # side of a blurred background divided by the blur's sigma
FILL_SIGMA = 1 / 12  # sigma of the blur that fills the person's area, as a fraction of the side
MIN_WEIGHT = 1e-3  # weight of the mean background colour in that blur, for places far from any background
# Eight backgrounds that differ in hue and lightness. Test selfies are placed on them to measure whether the stylized
# skin follows the background; the names are columns of that metric.
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
    """Draw a background: solid, gradient, noise or checks in two random colours; blur or room from `source`.

    Raises:
        ValueError: the kind is unknown, or it needs a source and there is none.
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
        raise ValueError(f"background {kind!r} needs a source picture")
    else:
        raise ValueError(f"unknown background {kind!r}; expected solid, gradient, noise, checks, blur or room")
    return np.clip(drawn, 0, 255).astype(np.uint8)


def composite_person(
    picture: Picture, mask: MaskArray, background: Picture | tuple[int, int, int], light_wrap: float
) -> Picture:
    """Place the person on another background whose light spills over the person's edge (light wrap).

    Without light wrap, a discriminator could recognize composites by their sharp edges.
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
    """Replace the person by the blurred colours of the surrounding background (normalized convolution)."""
    side = picture.shape[0]
    person = cv2.dilate(mask, np.ones((2 * (side // 24) + 1,) * 2, np.uint8))
    weight = 1 - person[..., None].astype(np.float32) / 255
    mean = (picture * weight).sum(axis=(0, 1)) / max(float(weight.sum()), 1.0)
    blurred, blurred_weight = (cv2.GaussianBlur(part, (0, 0), FILL_SIGMA * side) for part in (picture * weight, weight))
    fill = (blurred + MIN_WEIGHT * mean) / (blurred_weight[..., None] + MIN_WEIGHT)
    return alpha_composite(fill.clip(0, 255).astype(np.uint8), person, picture)


def square_background(picture: Picture, size_px: int) -> SquarePicture:
    """Return the central square of a picture, resized to `size_px`."""
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return cv2.resize(
        np.ascontiguousarray(picture[top : top + side, left : left + side]),
        (size_px, size_px),
        interpolation=cv2.INTER_AREA if side > size_px else cv2.INTER_CUBIC,
    )
