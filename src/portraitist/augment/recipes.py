"""Recipes: which person is on which background. They are drawn once, and rendered during training.

A recipe is a row with a person, a kind of background and a seed. `own` is the original background, `blur` a blurred
copy of it, `room` a picture of the library; the other kinds are drawn.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from portraitist.augment.backgrounds import ROOM, composite_person, draw_background
from portraitist.augment.params import AugmentParams
from portraitist.core.types import MaskArray, Picture

OWN = "own"


def make_recipes(ids: list[str], params: AugmentParams, library_size: int) -> Iterator[dict[str, Any]]:
    """Yield `recipes_per_person` recipes for each person: the original background, then random ones.

    A person's recipes depend only on the seed and the person's id. If the library is empty, kind `room` is not used.
    """
    kinds: list[str] = [kind for kind in params.backgrounds if library_size or kind != ROOM] or [OWN]
    for person in ids:
        yield {"id": person, "background": OWN, "seed": 0}
        rng = np.random.default_rng([params.seed, int(person[:16], 16)])
        for _ in range(params.recipes_per_person - 1):
            kind = kinds[int(rng.integers(len(kinds)))]
            yield {"id": person, "background": kind, "seed": int(rng.integers(2**31))}


def render_recipe(
    picture: Picture, mask: MaskArray, kind: str, seed: int, light_wrap: float, room_of: Callable[[int], Picture]
) -> Picture:
    """Return the person on the recipe's background; `room_of` returns the library's picture for a seed."""
    if kind == OWN:
        return picture
    source = {"blur": lambda: picture, ROOM: lambda: room_of(seed)}.get(kind, lambda: None)()
    background = draw_background(kind, seed, picture.shape[0], source)
    return composite_person(picture, mask, background, light_wrap)
