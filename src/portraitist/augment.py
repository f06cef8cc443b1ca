"""Persons on many backgrounds: recipes, drawn once and rendered on the fly; equal recipes give equal pixels.

A recipe is a row: which person, which kind of background, and the seed that draws it. `own` keeps the background that
the person was found on.
"""

import os
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np

from portraitist.params import AugmentParams
from portraitist.pictures import Picture, Plane, over

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the network for a newer version of itself
import albumentations as A

OWN = "own"
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


def background(kind: str, seed: int, size_px: int, own: Picture | None = None) -> Picture:
    """A background of one kind, drawn by its seed: solid, gradient, noise, checks, or `own` blurred.

    Raises:
        ValueError: There is no such kind, or `blur` without a picture to blur.
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
    elif kind == "blur" and own is not None:
        sigma = size_px / rng.uniform(4, 10)
        drawn = cv2.GaussianBlur(own, (0, 0), sigma)[:, :: rng.choice([-1, 1])]
    else:
        raise ValueError(f"no background of kind {kind!r}" + (" without a picture" if kind == "blur" else ""))
    return np.clip(drawn, 0, 255).astype(np.uint8)


def compose(picture: Picture, mask: Plane, back: Picture | tuple[int, int, int], light_wrap: float) -> Picture:
    """The person on another background, some of whose light reaches over the edge.

    Without the wrap a cut edge is a label that a discriminator reads.
    """
    back = np.broadcast_to(np.asarray(back, np.uint8), picture.shape)
    put = over(picture, mask, back)
    if not light_wrap:
        return put
    sigma = picture.shape[0] / 48
    light = cv2.GaussianBlur(np.ascontiguousarray(back), (0, 0), 3 * sigma)
    spill = light_wrap * cv2.GaussianBlur(255 - mask, (0, 0), sigma).astype(np.float32) * (mask / 255)
    return over(light, spill.round().astype(np.uint8), put)


def recipes(ids: list[str], params: AugmentParams) -> Iterator[dict[str, Any]]:
    """For each person its own background and per_person - 1 others; independent of who else is in the set."""
    for picture in ids:
        yield {"id": picture, "background": OWN, "seed": 0}
        rng = np.random.default_rng([params.seed, int(picture[:16], 16)])
        for _ in range(params.per_person - 1):
            kind = params.backgrounds[int(rng.integers(len(params.backgrounds)))]
            yield {"id": picture, "background": kind, "seed": int(rng.integers(2**31))}


def render(picture: Picture, mask: Plane, kind: str, seed: int, light_wrap: float) -> Picture:
    """A recipe's pixels: the person on the background that it says."""
    if kind == OWN:
        return picture
    own = picture if kind == "blur" else None
    return compose(picture, mask, background(kind, seed, picture.shape[0], own), light_wrap)


class Variation:
    """Flips, turns, zooms, and changes of light, the same for picture and mask; drawn by a seed for each call."""

    def __init__(self, params: AugmentParams) -> None:
        zoom = (1 - params.zoom, 1 + params.zoom)
        turn = (-params.turn_degrees, params.turn_degrees)
        self.changes = A.Compose(
            [
                A.HorizontalFlip(p=params.flip),
                A.Affine(rotate=turn, scale=zoom, border_mode=cv2.BORDER_REPLICATE, p=1),
                A.ColorJitter(
                    brightness=(1 - params.brightness, 1 + params.brightness),
                    contrast=(1 - params.brightness, 1 + params.brightness),
                    saturation=(1, 1),
                    hue=(-params.hue, params.hue),
                    p=1,
                ),
            ]
        )

    def __call__(self, picture: Picture, mask: Plane, seed: int) -> tuple[Picture, Plane]:
        """Picture and mask, changed alike."""
        self.changes.set_random_seed(seed)
        changed = self.changes(image=picture, mask=mask)
        return changed["image"], changed["mask"]
