import dataclasses
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from drawn import STILL, changed, smooth

from portraitist.core import manifest
from portraitist.core.image_io import encode_png
from portraitist.core.shards import Shards, ShardWriter
from portraitist.learning.tensors import Batch, Images, to_pictures
from portraitist.train.batches import (
    DatasetPaths,
    EpochBatches,
    PersonImages,
    load_images,
    load_masks,
    prefetch,
    smoothed_edges,
    split_ids,
    validation_samples,
)

SIDE = 32
KINDS = ("selfies", "portraits")
COUNTS = {"train": 5, "validation": 1, "test": 2}
MOVING = changed(STILL, flip=0.5, turn_degrees=10, zoom=0.1, brightness=0.2)


def named(kind: str, part: str, number: int) -> str:
    """An id that tells what it is of; it sorts by number."""
    return f"{number:08x}{KINDS.index(kind):04x}{list(COUNTS).index(part):04x}"


EVERY = [named(kind, part, number) for kind in KINDS for part, count in COUNTS.items() for number in range(count)]


def grey_of(picture: str) -> int:
    """Each picture is of one grey, by which it is known again."""
    return 8 + 15 * EVERY.index(picture)


def mask_of(picture: str) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[6 + EVERY.index(picture) % 5 :, 9:22] = 255
    return mask


@pytest.fixture
def folders(tmp_path: Path) -> DatasetPaths:
    with ShardWriter(tmp_path / "crop", 6) as crops, ShardWriter(tmp_path / "mask", 6) as masks:
        for picture in EVERY:
            members = {"png": encode_png(np.full((SIDE, SIDE, 3), grey_of(picture), np.uint8))}
            if picture.startswith("00000000"):
                members["truth.png"] = encode_png(255 - mask_of(picture))
            crops.add(picture, members)
            masks.add(picture, {"png": encode_png(mask_of(picture))})
    rows = [
        {"id": named(kind, part, number), "kind": kind, "part": part}
        for kind in KINDS
        for part, count in COUNTS.items()
        for number in reversed(range(count))
    ]
    manifest.write(rows, tmp_path / "split.csv", ["id", "kind", "part"])
    recipes = [{"id": one, "background": kind, "seed": 7} for one in EVERY for kind in ("own", "own")]
    manifest.write(recipes, tmp_path / "recipes.csv", ["id", "background", "seed"])
    return DatasetPaths(*(tmp_path / name for name in ("crop", "mask", "split.csv", "recipes.csv")))


def steps_of(
    folders: DatasetPaths, params=STILL, *, batch: int = 1, seed: int = 1, diverse: bool = False
) -> EpochBatches:
    return EpochBatches(folders, params, batch=batch, seed=seed, diverse=diverse)


def greys(images: Images) -> list[int]:
    return [int(picture[0, 0, 0]) for picture in to_pictures(images)]


def equal(one: Batch, other: Batch) -> bool:
    return all(torch.equal(getattr(one, field.name), getattr(other, field.name)) for field in dataclasses.fields(Batch))


def seen_in(every: Iterable[Batch], name: str = "selfies") -> Counter[int]:
    return Counter(grey for batch in every for grey in greys(getattr(batch, name)))


def test_a_step_is_a_function_of_seed_epoch_and_step(folders: DatasetPaths):
    one, other = steps_of(folders, MOVING), steps_of(folders, MOVING)
    one.start(3)
    other.start(3)
    backwards = [other[step] for step in reversed(range(5))][::-1]
    assert all(equal(one[step], backwards[step]) for step in range(5))
    assert equal(one[2], one[2])
    other.start(4)
    assert not all(equal(one[step], other[step]) for step in range(5))
    elsewhere = steps_of(folders, MOVING, seed=2)
    elsewhere.start(3)
    assert not all(equal(one[step], elsewhere[step]) for step in range(5))


def test_no_two_pictures_of_two_epochs_are_varied_alike(folders: DatasetPaths):
    steps, seeds = steps_of(folders, MOVING), []
    steps.vary = lambda picture, mask, seed: seeds.append(seed) or (picture, mask)
    for epoch in range(2):
        steps.start(epoch)
        for step in range(len(steps)):
            steps[step]
    assert len(set(seeds)) == len(seeds) == 2 * 5 * 2


def test_processes_share_every_batch_of_one(folders: DatasetPaths, monkeypatch: pytest.MonkeyPatch):
    whole = steps_of(folders, MOVING, batch=4)
    whole.start(2)
    expected, shares = whole[0], []
    monkeypatch.setattr("portraitist.learning.distributed.world_size", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr("portraitist.learning.distributed.rank", lambda rank=rank: rank)
        part = steps_of(folders, MOVING, batch=4)
        part.start(2)
        assert len(part) == len(whole)
        shares.append(part[0])
    for field in dataclasses.fields(Batch):
        assert torch.equal(torch.cat([getattr(part, field.name) for part in shares]), getattr(expected, field.name))


def test_a_few_selfies_are_those_of_the_validation_part_or_where_there_are_none_of_the_train_part(
    folders: DatasetPaths,
):
    images, masks = validation_samples(folders, 3)
    held = named("selfies", "validation", 0)
    assert greys(images) == [grey_of(held)]
    assert np.array_equal(masks[0, 0].numpy() * 255, mask_of(held))
    frame = manifest.read(folders.split)
    manifest.write(frame[frame["part"] != "validation"].to_dict("records"), folders.split, ["id", "kind", "part"])
    assert greys(validation_samples(folders, 2)[0]) == [
        grey_of(named("selfies", "train", number)) for number in range(2)
    ]


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # newer Pythons warn of fork beside threads
def test_worker_processes_change_no_batch(folders: DatasetPaths):
    steps = steps_of(folders, MOVING, batch=2)
    steps.start(1)
    alone, ahead = list(prefetch(steps, 0)), list(prefetch(steps, 1))
    assert len(alone) == len(ahead) == 2
    assert all(equal(one, other) for one, other in zip(alone, ahead, strict=True))


def test_loading_draws_no_global_chance(folders: DatasetPaths):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    list(prefetch(steps_of(folders), 0))
    assert torch.equal(torch.get_rng_state(), before)


def test_each_selfie_comes_once_an_epoch_in_another_order(folders: DatasetPaths):
    steps, orders = steps_of(folders), []
    for epoch in range(3):
        steps.start(epoch)
        orders.append([grey for step in range(len(steps)) for grey in greys(steps[step].selfies)])
    trained = sorted(grey_of(named("selfies", "train", number)) for number in range(5))
    assert all(sorted(order) == trained for order in orders)
    assert len({tuple(order) for order in orders}) > 1


def test_a_portrait_comes_again_only_when_every_other_was_seen(folders: DatasetPaths):
    frame = manifest.read(folders.split)
    lost = [named("portraits", "train", number) for number in (1, 3)]
    manifest.write(frame[~frame["id"].isin(lost)].to_dict("records"), folders.split, ["id", "kind", "part"])
    steps = steps_of(folders)
    counts = seen_in((steps[step] for step in range(len(steps))), "portraits")
    assert sorted(counts.values()) == [1, 2, 2]


def test_only_the_train_part_is_ever_read(folders: DatasetPaths, monkeypatch: pytest.MonkeyPatch):
    asked, read = set(), Shards.read
    monkeypatch.setattr(Shards, "read", lambda self, one, ending: asked.add(one) or read(self, one, ending))
    for diverse in (False, True):
        steps = steps_of(folders, MOVING, diverse=diverse)
        for epoch in range(2):
            steps.start(epoch)
            for step in range(len(steps)):
                steps[step]
    assert asked == {named(kind, "train", number) for kind in KINDS for number in range(5)}


def test_each_picture_is_beside_its_own_mask_and_each_kind_on_its_side(folders: DatasetPaths):
    steps = steps_of(folders, batch=5)
    batch = steps[0]
    assert batch.selfies.shape == batch.portraits.shape == batch.smoothed.shape == (5, 3, SIDE, SIDE)
    for kind, images, masks in (
        ("selfies", batch.selfies, batch.selfie_masks),
        ("portraits", batch.portraits, batch.portrait_masks),
    ):
        of_grey = {grey_of(one): one for one in (named(kind, "train", number) for number in range(5))}
        for grey, mask in zip(greys(images), masks, strict=True):
            assert np.array_equal(mask[0].numpy() * 255, mask_of(of_grey[grey]))


def test_an_epoch_has_as_many_steps_as_full_batches_and_at_least_one(folders: DatasetPaths):
    assert [len(steps_of(folders, batch=batch)) for batch in (1, 2, 5, 8)] == [5, 2, 1, 1]
    assert len(steps_of(folders, batch=8)[0].selfies) == 8


def test_a_room_is_taken_from_the_library_beside_the_recipes(folders: DatasetPaths):
    manifest.write(
        [{"id": one, "background": "room", "seed": 4} for one in EVERY], folders.recipes, ["id", "background", "seed"]
    )
    with ShardWriter(folders.recipes.parent / "rooms", 6) as rooms:
        for name, grey in (("a", 251), ("b", 3)):
            rooms.add(name, {"png": encode_png(np.full((SIDE, SIDE, 3), grey, np.uint8))})
    picture, mask = PersonImages(folders, "selfies", "train").on_background(1, np.random.default_rng(1), 0.0)
    assert (picture[mask == 0] == 251).all()
    assert (picture[mask == 255] == grey_of(named("selfies", "train", 1))).all()


def test_selfies_stand_on_their_recipes_and_portraits_only_if_diverse(folders: DatasetPaths):
    recipes = [{"id": one, "background": "solid", "seed": 11} for one in EVERY]
    manifest.write(recipes, folders.recipes, ["id", "background", "seed"])
    plain, diverse = steps_of(folders)[0], steps_of(folders, diverse=True)[0]

    def is_plain(images: Images) -> bool:
        return len(np.unique(to_pictures(images)[0].reshape(-1, 3), axis=0)) == 1

    assert [is_plain(batch.selfies) for batch in (plain, diverse)] == [False, False]
    assert [is_plain(batch.portraits) for batch in (plain, diverse)] == [True, False]


def test_every_recipe_of_a_person_is_drawn_sooner_or_later(folders: DatasetPaths):
    recipes = [{"id": one, "background": kind, "seed": 3} for one in EVERY for kind in ("own", "solid", "checks")]
    manifest.write(recipes, folders.recipes, ["id", "background", "seed"])
    people, rng = PersonImages(folders, "selfies", "train"), np.random.default_rng(1)
    drawn = {people.on_background(0, rng, 0.0)[0].tobytes() for _ in range(30)}
    assert len(drawn) == 3
    assert people.plain(0)[0].tobytes() in drawn


def test_smoothing_changes_only_what_is_near_an_edge():
    picture = np.full((SIDE, SIDE, 3), 40, np.uint8)
    picture[12:, 18:] = (220, 200, 210)
    near = np.zeros((SIDE, SIDE), np.uint8)
    near[11:13, 17:], near[11:, 17:19] = 1, 1
    near = cv2.dilate(near, np.ones((5, 5), np.uint8)) > 0
    smoothed = smoothed_edges(picture)
    assert np.array_equal(smoothed[~near], picture[~near])
    step = smoothed[25, 14:22, 0].astype(int)
    assert step[0] == 40
    assert step[-1] == 220
    assert (np.diff(step) >= 0).all()
    assert np.diff(step).max() < 120  # the edge was 180 high


def test_a_picture_without_edges_is_left_as_it_is():
    soft = smooth(1, SIDE, SIDE) // 8 + 100
    assert np.array_equal(smoothed_edges(soft), soft)


def test_the_smoothed_portraits_are_the_portraits_smoothed(folders: DatasetPaths):
    batch = steps_of(folders, changed(MOVING, backgrounds=["checks"], per_person=2), diverse=True)[1]
    expected = [smoothed_edges(picture) for picture in to_pictures(batch.portraits)]
    assert all(np.array_equal(*pair) for pair in zip(to_pictures(batch.smoothed), expected, strict=True))


def test_ids_are_those_of_kind_and_part_sorted_and_none_is_an_error(folders: DatasetPaths):
    assert split_ids(folders, "portraits", "test") == [named("portraits", "test", 0), named("portraits", "test", 1)]
    manifest.write([], folders.split, ["id", "kind", "part"])
    with pytest.raises(ValueError, match=r"split\.csv holds no selfies in part train"):
        steps_of(folders)


def test_members_come_in_the_order_that_was_asked_for(folders: DatasetPaths):
    asked = [EVERY[3], EVERY[0], EVERY[9]]
    assert greys(load_images(Shards(folders.crops), asked)) == [grey_of(picture) for picture in asked]


def test_the_exact_masks_are_taken_only_if_every_picture_has_one(folders: DatasetPaths):
    with_truth, without = named("selfies", "test", 0), named("selfies", "test", 1)
    assert np.array_equal(load_masks(folders, [with_truth])[:][0, 0].numpy() * 255, 255 - mask_of(with_truth))
    both = load_masks(folders, [with_truth, without])[:][:, 0].numpy() * 255
    assert np.array_equal(both, [mask_of(with_truth), mask_of(without)])
