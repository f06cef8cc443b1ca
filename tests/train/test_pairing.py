"""Pairs that a source provides, and pseudo-pairs of similar pictures."""

from pathlib import Path

import numpy as np
import pytest
from drawn import NO_AUGMENTATION, changed

from portraitist.core import manifest
from portraitist.core.image_io import encode_png
from portraitist.core.shards import ShardWriter
from portraitist.learning.dataset import DatasetPaths
from portraitist.learning.tensors import to_pictures
from portraitist.train.batches import EpochBatches
from portraitist.train.pairing import NoPairsError, find_pairs

SIDE = 32
ROWS = [  # id, kind, part, pair, colour, left edge of the person
    ("5e1f1e0000000001", "selfies", "train", "folder/anna", (200, 40, 40), 4),
    ("5e1f1e0000000002", "selfies", "train", "", (40, 40, 200), 4),
    ("5e1f1e0000000003", "selfies", "train", "taobao/77", (40, 200, 40), 14),
    ("5e1f1e0000000004", "selfies", "test", "folder/berta", (90, 90, 90), 4),
    ("b0a4d00000000001", "portraits", "train", "taobao/77", (180, 60, 50), 4),
    ("b0a4d00000000002", "portraits", "train", "folder/anna", (60, 180, 60), 13),
    ("b0a4d00000000003", "portraits", "train", "folder/berta", (30, 60, 210), 4),
    ("b0a4d00000000004", "portraits", "train", "folder/clara", (30, 60, 210), 20),
]


@pytest.fixture
def paths(tmp_path: Path) -> DatasetPaths:
    with ShardWriter(tmp_path / "crop", 4) as crops, ShardWriter(tmp_path / "mask", 4) as masks:
        for picture_id, *_, colour, left in ROWS:
            mask = np.zeros((SIDE, SIDE), np.uint8)
            mask[5:30, left : left + 12] = 255
            picture = np.full((SIDE, SIDE, 3), 255, np.uint8)  # all have the same background
            picture[mask > 0] = colour
            crops.add(picture_id, {"png": encode_png(picture)})
            masks.add(picture_id, {"png": encode_png(mask)})
    rows = [dict(zip(("id", "kind", "part", "pair"), row, strict=False)) for row in ROWS]
    manifest.write(rows, tmp_path / "split.csv", ["id", "kind", "part", "pair"])
    recipes = [{"id": row[0], "background": "own", "seed": 7} for row in ROWS]
    manifest.write(recipes, tmp_path / "recipes.csv", ["id", "background", "seed"])
    return DatasetPaths(tmp_path / "crop", tmp_path / "mask", tmp_path / "split.csv", tmp_path / "recipes.csv")


def test_pairs_are_of_one_source_and_in_the_train_part(paths):
    assert find_pairs("folder", paths) == {"5e1f1e0000000001": "b0a4d00000000002"}
    assert find_pairs("review", paths) == {"5e1f1e0000000003": "b0a4d00000000001"}


def test_no_pairs_error_names_source_and_alternatives(paths):
    split = manifest.read(paths.split)
    split["pair"] = split["pair"].str.replace("taobao", "elsewhere")
    split.to_csv(paths.split, index=False)
    with pytest.raises(
        NoPairsError, match=r"`pairs` has the value 'review'.*split\.csv.*taobao.*review, folder or nearest"
    ):
        find_pairs("review", paths)


def test_nearest_portrait_is_similar_in_colour_and_outline(paths):
    assert find_pairs("nearest", paths) == {
        "5e1f1e0000000001": "b0a4d00000000001",
        "5e1f1e0000000002": "b0a4d00000000003",
        "5e1f1e0000000003": "b0a4d00000000002",
    }


def test_a_pair_gets_the_same_random_transform(paths):
    params = changed(NO_AUGMENTATION, flip_probability=0.5, max_zoom=0.2, max_shift=0.1)
    pairs = {"5e1f1e0000000001": "b0a4d00000000001", "5e1f1e0000000002": "b0a4d00000000003"}  # with equal masks
    batches = EpochBatches(paths, params, batch_size=1, seed=2, diverse=False, pairs=pairs)
    reds, transformed = set(), 0
    assert len(batches) == 2
    for epoch in range(4):
        batches.start(epoch)
        for step in range(len(batches)):
            batch = batches[step]
            assert np.array_equal(batch.selfie_masks, batch.portrait_masks)
            transformed += bool(batch.selfie_masks[0, 0, 16, 4] != 1 or batch.selfie_masks[0, 0, 16, 16] != 0)
            centre = np.argwhere(batch.selfie_masks[0, 0].numpy() == 1).mean(axis=0).astype(int)
            selfie, portrait = (to_pictures(images)[0][tuple(centre)] for images in (batch.selfies, batch.portraits))
            assert (int(selfie[0]) > 100) == (int(portrait[0]) > 100)
            reds.add(int(selfie[0]) > 100)
    assert reds == {True, False}
    assert transformed > 2
