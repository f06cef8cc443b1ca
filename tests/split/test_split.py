import random
from itertools import combinations

import pytest
from drawn import SPLIT, changed

from portraitist.split.assign import assign_parts, count_leaks, near_pairs, part_of

FAR = [0, 0x00000000FFFFFFFF, 0xFFFF0000FFFF0000, 0xF0F0F0F0F0F0F0F0, 0xFF00FF00FF00FF00]  # 16 bits apart or more
TRAIN, VALIDATION, TEST = "klimt", "hals", "munch"  # the sides of these names; a test below says why
NONE = near_pairs([], 6)


def ids(count: int, seed: int = 1) -> list[str]:
    rng = random.Random(seed)
    return [f"{rng.getrandbits(64):016x}" for _ in range(count)]


def sides(pictures: dict[str, tuple[int, str]]) -> dict[str, str]:
    """The side of each picture, of {id: (hash, name of its group)}."""
    groups = [name or one for one, (_, name) in pictures.items()]
    near = near_pairs([hashed for hashed, _ in pictures.values()], SPLIT.near_bits)
    return dict(zip(pictures, assign_parts(groups, near, SPLIT), strict=True))


def test_a_new_picture_moves_no_old_one_even_if_it_is_near_to_two():
    for seed in range(30):
        rng = random.Random(seed)
        base = rng.getrandbits(64)
        old = {
            one: (base ^ rng.getrandbits(8), f"person {n % 9}" if n % 3 else "") for n, one in enumerate(ids(12, seed))
        }
        new = {f"{seed:016x}": (base, ""), **{one: (rng.getrandbits(64), "person 4") for one in ids(3, seed + 99)}}
        before, after = sides(old), sides(new | old)
        assert all(after[one] in (before[one], "aside") for one in old)  # to another side it never goes
        assert all(after[one] == "test" for one in old if before[one] == "test")  # and what was tested on stays


def test_one_more_picture_of_a_person_moves_none_of_that_person():
    for seed in range(20):
        old = {one: (FAR[n], "anna") for n, one in enumerate(ids(2, seed))}
        new = {"0" * 16: (FAR[2], "anna")}
        assert len(set(sides(new | old).values())) == 1
        assert sides(old).items() <= sides(new | old).items()


def test_a_group_is_never_on_two_sides():
    rng = random.Random(3)
    pictures = {one: (rng.getrandbits(64), f"person {n % 12}") for n, one in enumerate(ids(120))}
    side = sides(pictures)
    found = {
        name: {side[one] for one, (_, other) in pictures.items() if other == name} for _, name in pictures.values()
    }
    assert len(found) == 12
    assert all(len(of_person) == 1 for of_person in found.values())
    assert set(side.values()) == {"train", "validation", "test"}


def test_of_near_pictures_on_two_sides_the_one_that_is_held_back_stays():
    near = near_pairs([0, 1], 6)
    assert assign_parts([TRAIN, TEST], near, SPLIT) == ["aside", "test"]
    assert assign_parts([TEST, TRAIN], near, SPLIT) == ["test", "aside"]
    assert assign_parts([TRAIN, VALIDATION], near, SPLIT) == ["aside", "validation"]
    assert assign_parts([TEST, VALIDATION], near, SPLIT) == ["test", "aside"]
    assert assign_parts([TRAIN, "anna"], near, changed(SPLIT, train=0.99, validation=0)) == ["train", "train"]
    assert assign_parts([TRAIN, TEST], NONE, SPLIT) == ["train", "test"]


@pytest.mark.parametrize("within_bits", [0, 1, 6, 20])
def test_near_pairs_are_all_that_differ_in_so_few_bits_and_no_other(within_bits: int):
    rng = random.Random(within_bits)
    bases = [rng.getrandbits(64) for _ in range(12)]
    hashes = [rng.choice(bases) ^ sum({1 << rng.randrange(64) for _ in range(rng.randrange(14))}) for _ in range(150)]
    known = [
        [one, other]
        for one, other in combinations(range(150), 2)
        if (hashes[one] ^ hashes[other]).bit_count() <= within_bits
    ]
    assert len(known) >= 3
    assert near_pairs(hashes, within_bits).tolist() == known


def test_the_shares_are_what_params_say():
    found = [part_of(one, SPLIT) for one in ids(4000)]
    for part, share in {"train": 0.6, "validation": 0.1, "test": 0.3}.items():
        assert abs(found.count(part) / 4000 - share) < 0.03
    assert {part_of(one, changed(SPLIT, train=0, validation=0)) for one in ids(50)} == {"test"}


def test_another_salt_draws_other_sides():
    named = ids(300)
    one, other = ([part_of(group, changed(SPLIT, salt=salt)) for group in named] for salt in ("one", "other"))
    assert one == [part_of(group, changed(SPLIT, salt="one")) for group in named]
    assert 60 < sum(a != b for a, b in zip(one, other, strict=True)) < 240


def test_a_side_is_the_salted_sha256_of_the_groups_name():
    # SHA-256 of "portraitist/klimt" begins with 1bf0, 0.11 of 1; of the others with a027 and dccb, 0.63 and 0.86
    assert [part_of(name, SPLIT) for name in (TRAIN, VALIDATION, TEST)] == ["train", "validation", "test"]


def test_leaks_counts_each_planted_pair():
    near = near_pairs([0, 0b111, 0b1, *FAR[1:4]], 6)
    groups = ["a", "b", "c", "anna", "anna", "d"]
    assert count_leaks(["train"] * 6, groups, near) == 0
    assert count_leaks(["train", "test", "train", "train", "train", "test"], groups, near) == 2  # 0 and 1, 1 and 2
    assert count_leaks(["train", "train", "train", "validation", "test", "test"], groups, near) == 1  # anna
    assert count_leaks(["train", "test", "train", "validation", "test", "test"], groups, near) == 3
    assert (
        count_leaks(["train", "test", "train", "train", "train", "test"], groups, near_pairs([0, 0b111, 0b1], 1)) == 0
    )
    assert count_leaks(["aside", "test", "aside", "aside", "train", "test"], groups, near) == 0


def test_near_pictures_of_one_group_that_were_torn_apart_are_one_leak():
    assert count_leaks(["train", "test"], ["anna", "anna"], near_pairs([0, 1], 6)) == 1
