"""Composites (test selfies on the test backgrounds), and tiles for the contact sheet of stage `augment`."""

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

SHEET_ROWS = 12  # test selfies on the contact sheet, and as many training faces


def composite_on_test_backgrounds(
    square: CropImage, mask: MaskArray, light_wrap: float, segment: Callable[[CropImage], MaskArray]
) -> tuple[dict[str, bytes], list[ContactSheet]]:
    """Place a selfie on each test background, and compute the person mask of each result.

    Args:
        square: the crop of the selfie.
        mask: the mask of the person in the crop.
        light_wrap: strength of the background's light on the person's edge, 0 to 1.
        segment: function that returns the mask of a crop.

    Returns:
        The files of the results, and the results as tiles for the contact sheet. The files are a dictionary: a key is
        the ending of a file name in a shard (<background>.png or <background>.mask.png), and the value is the content
        of the file. The tiles are a list of pictures, one per background, with the name of the background on each.
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
    """Place faces on each test background, write the results as shards, and return tiles for the contact sheet.

    Args:
        faces: ids of the test selfies.
        crops: shards with the crops.
        masks: shards with the masks.
        params: strength of the light wrap, and size of the shards.
        segment: function that returns the mask of a crop.
        dest: folder of the shards to write.

    Returns:
        A row of tiles for each of the first SHEET_ROWS faces.
    """
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
    """Return pictures of a face on several backgrounds, with labels, for the contact sheet.

    Args:
        face: id of the face.
        recipes: kind and seed of each background for this face, as `portraitist.augment.recipes` describes them. Only
            the first len(TEST_BACKGROUNDS) recipes are used.
        crops: shards with the crops.
        masks: shards with the masks.
        light_wrap: strength of the background's light on the person's edge, 0 to 1.
        room_of: function that takes a seed and selects a picture from the library of backgrounds.
    """
    picture, mask = decode_png(crops.read(face, "png")), decode_png(masks.read(face, "png"))
    return [
        labelled_tile(render_recipe(picture, mask, kind, seed, light_wrap, room_of), kind)
        for kind, seed in islice(recipes, len(TEST_BACKGROUNDS))
    ]
