"""Composites of test selfies on the test backgrounds, and tiles of recipes, as stage `augment` writes them."""

from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path

from portraitist.augment.backgrounds import TEST_BACKGROUNDS, composite_person
from portraitist.augment.params import AugmentParams
from portraitist.augment.recipes import render_recipe
from portraitist.core.image_io import decode_png, encode_png
from portraitist.core.shards import Shards, ShardWriter
from portraitist.core.types import ContactSheet, MaskArray, Picture
from portraitist.crop.align import CropImage
from portraitist.reporting.contact_sheet import labelled_tile

SHEET_ROWS = 12  # faces on the contact sheet, of test selfies and of recipes each


def composite_on_test_backgrounds(
    square: CropImage, mask: MaskArray, light_wrap: float, segment: Callable[[CropImage], MaskArray]
) -> tuple[dict[str, bytes], list[ContactSheet]]:
    """Place a selfie on each test background, and segment each composite, as the product does.

    Returns:
        The shard members `<background>.png` and `<background>.mask.png`, and a tile of each composite.
    """
    members: dict[str, bytes] = {}
    tiles = []
    for name, colour in TEST_BACKGROUNDS.items():
        composite = composite_person(square.picture, mask, colour, light_wrap)
        segmented = segment(CropImage(composite, None, square.inside))
        members |= {f"{name}.png": encode_png(composite), f"{name}.mask.png": encode_png(segmented)}
        tiles.append(labelled_tile(composite, name))
    return members, tiles


def write_test_composites(
    faces: Iterable[str],
    crops: Shards,
    masks: Shards,
    params: AugmentParams,
    segment: Callable[[CropImage], MaskArray],
    dest: Path,
) -> list[list[ContactSheet]]:
    """Write the composites of each face as shards, and return the tiles of the first SHEET_ROWS faces."""
    rows: list[list[ContactSheet]] = []
    with ShardWriter(dest, params.shard_size) as shards:
        for face in faces:
            square, mask = CropImage.from_members(crops.members(face)), decode_png(masks.read(face, "png"))
            members, tiles = composite_on_test_backgrounds(square, mask, params.light_wrap, segment)
            shards.add(face, members)
            rows = [*rows, tiles][:SHEET_ROWS]
    return rows


def recipe_tiles(
    face: str,
    recipes: Iterable[tuple[str, int]],
    crops: Shards,
    masks: Shards,
    light_wrap: float,
    room_of: Callable[[int], Picture],
) -> list[ContactSheet]:
    """Return labelled tiles of a face's first recipes, at most one for each test background."""
    picture, mask = decode_png(crops.read(face, "png")), decode_png(masks.read(face, "png"))
    return [
        labelled_tile(render_recipe(picture, mask, kind, seed, light_wrap, room_of), kind)
        for kind, seed in islice(recipes, len(TEST_BACKGROUNDS))
    ]
