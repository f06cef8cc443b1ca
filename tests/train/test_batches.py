import dataclasses
import gc
import signal
from collections import Counter
from collections.abc import Iterable, Iterator

import cv2
import numpy as np
import pytest
import torch
from drawn import NO_AUGMENTATION, changed, smooth
from train_helpers import ALL_IDS, KINDS, SIDE, grey_of, mask_of, picture_id

from portraitist.core import manifest
from portraitist.core.image_io import encode_png
from portraitist.core.shards import Shards, ShardWriter
from portraitist.learning import distributed
from portraitist.learning.dataset import DatasetPaths
from portraitist.learning.tensors import Batch, Images, to_mask_arrays, to_pictures
from portraitist.train.batches import (
    EpochBatches,
    PersonImages,
    prefetch,
    smoothed_edges,
    smoothed_person,
    validation_samples,
)

RANDOM = changed(NO_AUGMENTATION, flip_probability=0.5, max_rotation_degrees=10, max_zoom=0.1, brightness=0.2)


@pytest.fixture
def frozen_garbage() -> Iterator[None]:
    """Prevent garbage collection of other tests' objects in forked processes: a session of onnxruntime would hang."""
    gc.freeze()
    yield
    gc.unfreeze()


def batches_of(
    paths: DatasetPaths, params=NO_AUGMENTATION, *, batch_size: int = 1, seed: int = 1, diverse: bool = False
) -> EpochBatches:
    return EpochBatches(paths, params, batch_size=batch_size, seed=seed, diverse=diverse)


def greys(images: Images) -> list[int]:
    return [int(picture[0, 0, 0]) for picture in to_pictures(images)]


def equal(first: Batch, second: Batch) -> bool:
    names = [field.name for field in dataclasses.fields(Batch)]
    return all(torch.equal(getattr(first, name), getattr(second, name)) for name in names)


def count_greys(batches: Iterable[Batch], name: str) -> Counter[int]:
    return Counter(grey for batch in batches for grey in greys(getattr(batch, name)))


def write_recipes(paths: DatasetPaths, *recipes: tuple[str, int]) -> None:
    rows = [{"id": picture, "background": kind, "seed": seed} for picture in ALL_IDS for kind, seed in recipes]
    manifest.write(rows, paths.recipes, ["id", "background", "seed"])


def test_batch_depends_only_on_seed_epoch_and_step(paths: DatasetPaths):
    first, second = batches_of(paths, RANDOM), batches_of(paths, RANDOM)
    first.start(3)
    second.start(3)
    backwards = [second[step] for step in reversed(range(5))][::-1]
    assert all(equal(first[step], backwards[step]) for step in range(5))
    assert equal(first[2], first[2])
    second.start(4)
    assert not all(equal(first[step], second[step]) for step in range(5))
    other_seed = batches_of(paths, RANDOM, seed=2)
    other_seed.start(3)
    assert not all(equal(first[step], other_seed[step]) for step in range(5))


def test_every_picture_gets_its_own_transform_seed(paths: DatasetPaths):
    transform_seeds = []
    for seed in (1, 2):
        batches = batches_of(paths, RANDOM, seed=seed)
        batches.transform = lambda picture, mask, drawn: transform_seeds.append(drawn) or (picture, mask)
        for epoch in range(2):
            batches.start(epoch)
            for step in range(len(batches)):
                batches[step]
    assert len(set(transform_seeds)) == len(transform_seeds) == 2 * 2 * 5 * 2


def test_processes_share_the_batch_of_one(paths: DatasetPaths, monkeypatch: pytest.MonkeyPatch):
    single = batches_of(paths, RANDOM, batch_size=4)
    single.start(2)
    expected, shares = single[0], []
    monkeypatch.setattr("portraitist.learning.distributed.world_size", lambda: 2)
    for rank in range(2):
        monkeypatch.setattr("portraitist.learning.distributed.rank", lambda rank=rank: rank)
        share = batches_of(paths, RANDOM, batch_size=4)
        share.start(2)
        assert len(share) == len(single)
        shares.append(share[0])
    for field in dataclasses.fields(Batch):
        assert torch.equal(torch.cat([getattr(part, field.name) for part in shares]), getattr(expected, field.name))


def test_samples_are_validation_or_else_training_selfies(paths: DatasetPaths):
    images, masks = validation_samples(paths, 3)
    validation = picture_id("selfies", "validation", 0)
    assert greys(images) == [grey_of(validation)]
    assert np.array_equal(masks[0, 0].numpy() * 255, mask_of(validation))
    split = manifest.read(paths.split)
    manifest.write(split[split["part"] != "validation"].to_dict("records"), paths.split, ["id", "kind", "part"])
    assert greys(validation_samples(paths, 2)[0]) == [
        grey_of(picture_id("selfies", "train", number)) for number in range(2)
    ]


def test_rank_is_that_of_the_process_that_made_the_batches(paths: DatasetPaths, monkeypatch: pytest.MonkeyPatch):
    """Worker processes that were not forked have no process group: there, `distributed.rank` is 0."""
    whole = batches_of(paths, batch_size=2)[0]
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    halves = []
    for rank in (0, 1):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        batches = batches_of(paths, batch_size=2)
        monkeypatch.setattr(distributed, "rank", lambda: 0)
        halves.append(batches[0])
    for name in ("selfies", "portraits"):
        parts = [getattr(half, name) for half in halves]
        assert torch.equal(torch.cat(parts), getattr(whole, name))
        assert not torch.equal(*parts)


@pytest.mark.usefixtures("frozen_garbage")
# newer versions of Python warn if a process with threads forks
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_worker_processes_do_not_change_batches(paths: DatasetPaths):
    batches = batches_of(paths, RANDOM, batch_size=2)
    batches.start(1)
    without, with_worker = list(prefetch(batches, 0)), list(prefetch(batches, 1))
    assert len(without) == len(with_worker) == 2
    assert all(equal(*pair) for pair in zip(without, with_worker, strict=True))


@pytest.mark.usefixtures("frozen_garbage")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_workers_need_no_shared_memory(paths: DatasetPaths, monkeypatch: pytest.MonkeyPatch):
    """In a container, /dev/shm may have 64 MB; torch waits forever for a tensor that did not fit."""

    def full(*_: object, **__: object) -> None:
        raise RuntimeError("unable to allocate shared memory: No space left on device")

    def late(*_: object) -> None:
        raise TimeoutError("the batches do not arrive")

    monkeypatch.setattr(torch.UntypedStorage, "_share_fd_cpu_", full)  # in the forked workers
    monkeypatch.setattr(torch.UntypedStorage, "_share_filename_cpu_", full)
    previous = signal.signal(signal.SIGALRM, late)
    signal.alarm(30)
    try:
        assert len(list(prefetch(batches_of(paths), 1))) == 5
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


def test_loading_leaves_the_global_generator_alone(paths: DatasetPaths):
    torch.manual_seed(5)
    before = torch.get_rng_state()
    list(prefetch(batches_of(paths), 0))
    assert torch.equal(torch.get_rng_state(), before)


def test_epoch_has_every_selfie_once_in_a_new_order(paths: DatasetPaths):
    batches, orders = batches_of(paths), []
    for epoch in range(3):
        batches.start(epoch)
        orders.append([grey for step in range(len(batches)) for grey in greys(batches[step].selfies)])
    training = sorted(grey_of(picture_id("selfies", "train", number)) for number in range(5))
    assert all(sorted(order) == training for order in orders)
    assert len({tuple(order) for order in orders}) > 1


def test_portraits_repeat_only_after_all_were_used(paths: DatasetPaths):
    split = manifest.read(paths.split)
    removed = [picture_id("portraits", "train", number) for number in (1, 3)]
    manifest.write(split[~split["id"].isin(removed)].to_dict("records"), paths.split, ["id", "kind", "part"])
    batches = batches_of(paths)
    counts = count_greys((batches[step] for step in range(len(batches))), "portraits")
    assert sorted(counts.values()) == [1, 2, 2]


def test_only_the_train_part_is_read(paths: DatasetPaths, monkeypatch: pytest.MonkeyPatch):
    ids, read = set(), Shards.read
    monkeypatch.setattr(Shards, "read", lambda self, picture, ending: ids.add(picture) or read(self, picture, ending))
    for diverse in (False, True):
        batches = batches_of(paths, RANDOM, diverse=diverse)
        for epoch in range(2):
            batches.start(epoch)
            for step in range(len(batches)):
                batches[step]
    assert ids == {picture_id(kind, "train", number) for kind in KINDS for number in range(5)}


def test_each_picture_comes_with_its_own_mask(paths: DatasetPaths):
    batch = batches_of(paths, batch_size=5)[0]
    assert batch.selfies.shape == batch.portraits.shape == batch.smoothed.shape == (5, 3, SIDE, SIDE)
    for kind, images, masks in (
        ("selfies", batch.selfies, batch.selfie_masks),
        ("portraits", batch.portraits, batch.portrait_masks),
    ):
        by_grey = {grey_of(picture): picture for picture in (picture_id(kind, "train", number) for number in range(5))}
        for grey, mask in zip(greys(images), masks, strict=True):
            assert np.array_equal(mask[0].numpy() * 255, mask_of(by_grey[grey]))


def test_epoch_counts_full_batches_and_at_least_one(paths: DatasetPaths):
    assert [len(batches_of(paths, batch_size=size)) for size in (1, 2, 5, 8)] == [5, 2, 1, 1]
    assert len(batches_of(paths, batch_size=8)[0].selfies) == 8


def test_room_backgrounds_come_from_the_library(paths: DatasetPaths):
    write_recipes(paths, ("room", 4))
    with ShardWriter(paths.recipes.parent / "rooms", 6) as library:
        for name, grey in (("a", 251), ("b", 3)):
            library.add(name, {"png": encode_png(np.full((SIDE, SIDE, 3), grey, np.uint8))})
    picture, mask = PersonImages(paths, "selfies", "train").on_background(1, np.random.default_rng(1), 0.0)
    assert (picture[mask == 0] == 251).all()
    assert (picture[mask == 255] == grey_of(picture_id("selfies", "train", 1))).all()


def test_portraits_get_recipe_backgrounds_only_if_diverse(paths: DatasetPaths):
    write_recipes(paths, ("solid", 11))
    batches = [batches_of(paths, diverse=diverse)[0] for diverse in (False, True)]

    def one_colour(images: Images) -> bool:
        return len(np.unique(to_pictures(images)[0].reshape(-1, 3), axis=0)) == 1

    assert [one_colour(batch.selfies) for batch in batches] == [False, False]
    assert [one_colour(batch.portraits) for batch in batches] == [True, False]


def test_all_recipes_of_a_person_are_used(paths: DatasetPaths):
    write_recipes(paths, ("own", 3), ("solid", 3), ("checks", 3))
    people, rng = PersonImages(paths, "selfies", "train"), np.random.default_rng(1)
    rendered = {people.on_background(0, rng, 0.0)[0].tobytes() for _ in range(30)}
    assert len(rendered) == 3
    assert people.original(0)[0].tobytes() in rendered


def test_smoothing_changes_only_pixels_near_edges():
    picture = np.full((SIDE, SIDE, 3), 40, np.uint8)
    picture[12:, 18:] = (220, 200, 210)
    near = np.zeros((SIDE, SIDE), np.uint8)
    near[11:13, 17:], near[11:, 17:19] = 1, 1
    near = cv2.dilate(near, np.ones((5, 5), np.uint8)) > 0
    smoothed = smoothed_edges(picture)
    assert np.array_equal(smoothed[~near], picture[~near])
    profile = smoothed[25, 14:22, 0].astype(int)
    assert profile[0] == 40
    assert profile[-1] == 220
    assert (np.diff(profile) >= 0).all()
    assert np.diff(profile).max() < 120  # the edge was 180 high


def test_smoothing_keeps_a_picture_without_edges():
    soft = smooth(1, SIDE, SIDE) // 8 + 100
    assert np.array_equal(smoothed_edges(soft), soft)


def test_smoothed_person_does_not_depend_on_the_background():
    rng = np.random.default_rng(4)
    picture = np.full((SIDE, SIDE, 3), 40, np.uint8)
    picture[:, 14:18] = 230
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[6:26, 8:24], mask[8:24, 10:22] = 130, 255
    person = mask[..., None] > 0
    others = [np.where(person, picture, rng.integers(0, 256, 3, np.uint8)) for _ in range(5)]
    smoothed = smoothed_person(picture, mask)
    assert all(np.array_equal(smoothed_person(other, mask) * person, smoothed * person) for other in others)
    # the person's only colours are 40 and 230: no grey gets into the person
    profile = smoothed[10, 10:22, 0].astype(int)
    assert profile[0] == profile[-1] == 40
    assert profile.max() < 230
    assert np.abs(np.diff(profile)).max() < 100  # the edges were 190 high


def test_smoothed_person_equals_the_smoothed_picture_far_from_the_outline():
    picture = np.full((SIDE, SIDE, 3), 40, np.uint8)
    picture[:, 14:18] = (230, 190, 120)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[4:28, 4:28] = 255
    inner = np.s_[9:23, 9:23]
    assert np.array_equal(smoothed_person(picture, mask)[inner], smoothed_edges(picture)[inner])


def test_smoothed_person_changes_nothing_far_from_edges():
    picture = np.full((SIDE, SIDE, 3), (150, 120, 100), np.uint8)
    soft = np.linspace(1, 255, SIDE).astype(np.uint8)[None].repeat(SIDE, 0)
    assert np.array_equal(smoothed_person(picture, soft), picture)


def test_smoothed_are_the_transformed_portraits(paths: DatasetPaths):
    batch = batches_of(paths, changed(RANDOM, backgrounds=["checks"], recipes_per_person=2), diverse=True)[1]
    portraits, masks = to_pictures(batch.portraits), to_mask_arrays(batch.portrait_masks)
    expected = [smoothed_edges(picture) for picture in portraits]
    assert all(np.array_equal(*pair) for pair in zip(to_pictures(batch.smoothed), expected, strict=True))
    persons = [smoothed_person(*pair) for pair in zip(portraits, masks, strict=True)]
    assert all(np.array_equal(*pair) for pair in zip(to_pictures(batch.smoothed_persons), persons, strict=True))


def test_an_empty_train_part_is_an_error(paths: DatasetPaths):
    manifest.write([], paths.split, ["id", "kind", "part"])
    with pytest.raises(ValueError, match=r"split\.csv: no selfies in part 'train'"):
        batches_of(paths)
