"""Recipes: which person is placed on which background during training.

A recipe is a row of recipes.csv with the id of a face, a kind of background and a seed. Stage `augment` chooses the
recipes; trainings render the pictures. The kind `own` is the original background, `blur` a blurred copy of the
original, `room` a blurred picture from the library of backgrounds. The other kinds are patterns in random colours.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from portraitist.augment.backgrounds import ROOM, composite_person, draw_background
from portraitist.augment.params import AugmentParams
from portraitist.core.types import MaskArray, Picture

OWN = "own"


def make_recipes(ids: list[str], params: AugmentParams, library_size: int) -> Iterator[dict[str, Any]]:
    """Yield `recipes_per_person` recipes for each face. A recipe describes one background to put behind the face.

    The first recipe of a face keeps the original background. The other recipes of a face are random; the random numbers
    depend only on `params.seed` and on the id of the face.

    Args:
        ids: ids of the faces.
        params: kinds of backgrounds, seed, and number of recipes per face.
        library_size: number of pictures in the library of backgrounds. If the library is empty, no recipe has the kind
            `room`, which needs a picture from the library.
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
    """Return the picture of a person on the background of a recipe.

    Args:
        picture: the crop of the person.
        mask: the person mask of the crop.
        kind: kind of the background.
        seed: seed of the background.
        light_wrap: strength of the background's light on the person's edge, 0 to 1.
        room_of: function that takes a seed and selects a picture from the library of backgrounds.
    """
    if kind == OWN:
        return picture
    source = {"blur": lambda: picture, ROOM: lambda: room_of(seed)}.get(kind, lambda: None)()
    background = draw_background(kind, seed, picture.shape[0], source)
    return composite_person(picture, mask, background, light_wrap)
