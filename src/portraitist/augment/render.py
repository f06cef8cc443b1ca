"""Persons on many backgrounds: recipes, drawn once and rendered on the fly; equal recipes give equal pixels.

A recipe is a row: which person, which kind of background, and the seed that draws it. `own` keeps the background that
the person was found on; `blur` blurs it; `room` is one of a library: the user's pictures, those that show no face, and
those of the trained-on with the person taken out.
"""

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import albumentations as A
import cv2
import numpy as np

from portraitist.augment.params import AugmentParams
from portraitist.core.blend import alpha_composite
from portraitist.core.image_io import decode_png
from portraitist.core.shards import Shards
from portraitist.core.types import MaskArray, Picture, SquarePicture

OWN = "own"
ROOM = "room"
LIBRARY_FOLDER = "rooms"  # the library: a folder of shards beside the recipes
BLURRED = {"blur": (4, 10), ROOM: (16, 80)}  # the side as so many sigmas, between
FILLED = 1 / 12  # of the side: sigma of what fills a person's place
FAINT = 1e-3  # where less than this share of the blur is background, the background's mean colour stands
# Eight backgrounds far apart in colour and light, for the test composites: what one selfie is set on to see whether
# the painted skin follows. Names are columns of the metric.
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


def draw_background(kind: str, seed: int, size_px: int, seen: Picture | None = None) -> Picture:
    """A background of one kind, drawn by its seed: solid, gradient, noise, checks; blur and room of what is `seen`.

    Raises:
        ValueError: There is no such kind, or nothing seen to blur.
    """
    rng = np.random.default_rng(seed)
    one, two = rng.uniform(0, 255, (2, 3))
    rows, columns = np.mgrid[0:size_px, 0:size_px] / size_px
    if kind == "solid":
        drawn = np.broadcast_to(one, (size_px, size_px, 3))
    elif kind == "gradient":
        angle = rng.uniform(0, 2 * np.pi)
        ramp = (rows - 0.5) * np.sin(angle) + (columns - 0.5) * np.cos(angle) + 0.5
        drawn = one + (two - one) * ramp.clip(0, 1)[..., None]
    elif kind == "noise":
        coarse = rng.uniform(0, 1, (int(rng.integers(2, 10)),) * 2 + (1,)).astype(np.float32)
        drawn = one + (two - one) * cv2.resize(coarse, (size_px, size_px), interpolation=cv2.INTER_CUBIC)[..., None]
    elif kind == "checks":
        count = rng.integers(2, 9)
        drawn = np.where(((rows * count).astype(int) + (columns * count).astype(int))[..., None] % 2, one, two)
    elif kind in BLURRED and seen is not None:
        sigma = size_px / rng.uniform(*BLURRED[kind])
        drawn = cv2.GaussianBlur(seen, (0, 0), sigma)[:, :: rng.choice([-1, 1])]
    else:
        raise ValueError(f"no background of kind {kind!r}" + (" without a picture" if kind in BLURRED else ""))
    return np.clip(drawn, 0, 255).astype(np.uint8)


def composite_person(
    picture: Picture, mask: MaskArray, back: Picture | tuple[int, int, int], light_wrap: float
) -> Picture:
    """The person on another background, some of whose light reaches over the edge.

    Without the wrap a cut edge is a label that a discriminator reads.
    """
    back = np.broadcast_to(np.asarray(back, np.uint8), picture.shape)
    put = alpha_composite(picture, mask, back)
    if not light_wrap:
        return put
    sigma = picture.shape[0] / 48
    light = cv2.GaussianBlur(np.ascontiguousarray(back), (0, 0), 3 * sigma)
    spill = light_wrap * cv2.GaussianBlur(255 - mask, (0, 0), sigma).astype(np.float32) * (mask / 255)
    return alpha_composite(light, spill.round().astype(np.uint8), put)


def remove_person(picture: Picture, mask: MaskArray) -> Picture:
    """The picture without the person: in its place the colours around it, blurred (normalised convolution)."""
    side = picture.shape[0]
    person = cv2.dilate(mask, np.ones((2 * (side // 24) + 1,) * 2, np.uint8))
    share = 1 - person[..., None].astype(np.float32) / 255
    mean = (picture * share).sum(axis=(0, 1)) / max(float(share.sum()), 1.0)
    blurred, weight = (cv2.GaussianBlur(part, (0, 0), FILLED * side) for part in (picture * share, share))
    around = (blurred + FAINT * mean) / (weight[..., None] + FAINT)
    return alpha_composite(around.clip(0, 255).astype(np.uint8), person, picture)


def square_background(picture: Picture, size_px: int) -> SquarePicture:
    """The middle of a picture as a square background."""
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return cv2.resize(
        np.ascontiguousarray(picture[top : top + side, left : left + side]),
        (size_px, size_px),
        interpolation=cv2.INTER_AREA if side > size_px else cv2.INTER_CUBIC,
    )


class BackgroundLibrary:
    """The library of backgrounds, opened when the first is asked for: a seed's picture."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, seed: int) -> Picture:
        """The same for the same seed and library."""
        return decode_png(self.shards.read(self.ids[seed % len(self.ids)], "png"))

    @cached_property
    def shards(self) -> Shards:
        """Where they lie."""
        return Shards(self.folder)

    @cached_property
    def ids(self) -> list[str]:
        """Their names, sorted."""
        return sorted(self.shards)


def make_recipes(ids: list[str], params: AugmentParams, rooms: int) -> Iterator[dict[str, Any]]:
    """For each person its own background and per_person - 1 others; independent of who else is in the set.

    Of kind `room` there is none while the library holds no room.
    """
    kinds: list[str] = [kind for kind in params.backgrounds if rooms or kind != ROOM] or [OWN]
    for picture in ids:
        yield {"id": picture, "background": OWN, "seed": 0}
        rng = np.random.default_rng([params.seed, int(picture[:16], 16)])
        for _ in range(params.per_person - 1):
            kind = kinds[int(rng.integers(len(kinds)))]
            yield {"id": picture, "background": kind, "seed": int(rng.integers(2**31))}


def render_recipe(
    picture: Picture, mask: MaskArray, kind: str, seed: int, light_wrap: float, room_of: Callable[[int], Picture]
) -> Picture:
    """A recipe's pixels: the person on the background that it says; `room_of` a seed is a picture of the library."""
    if kind == OWN:
        return picture
    seen = {"blur": lambda: picture, ROOM: lambda: room_of(seed)}.get(kind, lambda: None)()
    return composite_person(picture, mask, draw_background(kind, seed, picture.shape[0], seen), light_wrap)


class RandomTransform:
    """Flips, turns, zooms, shifts, and changes of light, the same for picture and mask; drawn by a seed for each call.

    Shifts and zooms also bring persons to the square's edges, so that no edge is one that was never learned.
    """

    def __init__(self, params: AugmentParams) -> None:
        zoom = (1 - params.zoom, 1 + params.zoom)
        turn = (-params.turn_degrees, params.turn_degrees)
        self.changes = A.Compose(
            [
                A.HorizontalFlip(p=params.flip),
                A.Affine(
                    rotate=turn,
                    scale=zoom,
                    translate_percent=(-params.shift, params.shift),
                    keep_ratio=True,
                    border_mode=cv2.BORDER_REPLICATE,
                    mask_interpolation=cv2.INTER_LINEAR,  # its soft edge stays soft
                    p=1,
                ),
                A.ColorJitter(
                    brightness=(1 - params.brightness, 1 + params.brightness),
                    contrast=(1 - params.brightness, 1 + params.brightness),
                    saturation=(1, 1),
                    hue=(-params.hue, params.hue),
                    p=1,
                ),
            ]
        )

    def __call__(self, picture: Picture, mask: MaskArray, seed: int) -> tuple[Picture, MaskArray]:
        """Picture and mask, changed alike."""
        self.changes.set_random_seed(seed)
        changed = self.changes(image=picture, mask=mask)
        return changed["image"], changed["mask"]
