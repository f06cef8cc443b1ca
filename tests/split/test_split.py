import random
from itertools import combinations

import pytest
from drawn import SPLIT, changed

from portraitist.split.assign import (
    LeakError,
    TooFewFacesError,
    assign_parts,
    check_leaks,
    check_parts,
    count_leaks,
    near_pairs,
    part_of,
)

FAR = [
    0,
    0x00000000FFFFFFFF,
    0xFFFF0000FFFF0000,
    0xF0F0F0F0F0F0F0F0,
    0xFF00FF00FF00FF00,
]  # pairwise Hamming distance of at least 16
TRAIN, VALIDATION, TEST = "klimt", "hals", "munch"  # names of groups in these parts (test_part_is_the_salted_sha256)
NO_PAIRS = near_pairs([], 6)


def ids(count: int, seed: int = 1) -> list[str]:
    rng = random.Random(seed)
    return [f"{rng.getrandbits(64):016x}" for _ in range(count)]


def assign(pictures: dict[str, tuple[int, str]]) -> dict[str, str]:
    """Return the part of each picture, of {id: (dHash, name of its group or "")}."""
    groups = [name or picture for picture, (_, name) in pictures.items()]
    near = near_pairs([dhash for dhash, _ in pictures.values()], SPLIT.max_hamming_distance)
    return dict(zip(pictures, assign_parts(groups, near, SPLIT), strict=True))


def test_new_pictures_do_not_move_existing_ones():
    for seed in range(30):
        rng = random.Random(seed)
        base = rng.getrandbits(64)
        old = {
            picture: (base ^ rng.getrandbits(8), f"person {n % 9}" if n % 3 else "")
            for n, picture in enumerate(ids(12, seed))
        }
        new = {
            f"{seed:016x}": (base, ""),
            **{picture: (rng.getrandbits(64), "person 4") for picture in ids(3, seed + 99)},
        }
        before, after = assign(old), assign(new | old)
        assert all(after[picture] in (before[picture], "aside") for picture in old)
        assert all(after[picture] == "test" for picture in old if before[picture] == "test")


def test_new_picture_of_a_person_does_not_move_others():
    for seed in range(20):
        old = {picture: (FAR[n], "anna") for n, picture in enumerate(ids(2, seed))}
        new = {"0" * 16: (FAR[2], "anna")}
        assert len(set(assign(new | old).values())) == 1
        assert assign(old).items() <= assign(new | old).items()


def test_group_is_in_one_part():
    rng = random.Random(3)
    pictures = {picture: (rng.getrandbits(64), f"person {n % 12}") for n, picture in enumerate(ids(120))}
    parts = assign(pictures)
    found = {
        name: {parts[picture] for picture, (_, group) in pictures.items() if group == name}
        for _, name in pictures.values()
    }
    assert len(found) == 12
    assert all(len(of_person) == 1 for of_person in found.values())
    assert set(parts.values()) == {"train", "validation", "test"}


def test_near_duplicate_in_the_later_part_is_kept():
    near = near_pairs([0, 1], 6)
    assert assign_parts([TRAIN, TEST], near, SPLIT) == ["aside", "test"]
    assert assign_parts([TEST, TRAIN], near, SPLIT) == ["test", "aside"]
    assert assign_parts([TRAIN, VALIDATION], near, SPLIT) == ["aside", "validation"]
    assert assign_parts([TEST, VALIDATION], near, SPLIT) == ["test", "aside"]
    assert assign_parts([TRAIN, "anna"], near, changed(SPLIT, train=0.99, validation=0)) == ["train", "train"]
    assert assign_parts([TRAIN, TEST], NO_PAIRS, SPLIT) == ["train", "test"]


@pytest.mark.parametrize("max_distance", [0, 1, 6, 20])
def test_near_pairs_match_brute_force(max_distance: int):
    rng = random.Random(max_distance)
    bases = [rng.getrandbits(64) for _ in range(12)]
    hashes = [rng.choice(bases) ^ sum({1 << rng.randrange(64) for _ in range(rng.randrange(14))}) for _ in range(150)]
    known = [
        [first, second]
        for first, second in combinations(range(150), 2)
        if (hashes[first] ^ hashes[second]).bit_count() <= max_distance
    ]
    assert len(known) >= 3
    assert near_pairs(hashes, max_distance).tolist() == known


def test_shares_match_the_parameters():
    found = [part_of(group, SPLIT) for group in ids(4000)]
    for part, share in {"train": 0.6, "validation": 0.1, "test": 0.3}.items():
        assert abs(found.count(part) / 4000 - share) < 0.03
    assert {part_of(group, changed(SPLIT, train=0, validation=0)) for group in ids(50)} == {"test"}


def test_salt_changes_the_parts():
    groups = ids(300)
    first, second = ([part_of(group, changed(SPLIT, salt=salt)) for group in groups] for salt in ("first", "second"))
    assert first == [part_of(group, changed(SPLIT, salt="first")) for group in groups]
    assert 60 < sum(a != b for a, b in zip(first, second, strict=True)) < 240


def test_part_is_the_salted_sha256():
    # SHA-256 of "portraitist/klimt" begins with 1bf0, 0.11 of 1; of the others with a027 and dccb, 0.63 and 0.86
    assert [part_of(name, SPLIT) for name in (TRAIN, VALIDATION, TEST)] == ["train", "validation", "test"]


def test_leaks_are_counted_by_pair():
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


def test_near_duplicates_of_one_group_are_one_leak():
    assert count_leaks(["train", "test"], ["anna", "anna"], near_pairs([0, 1], 6)) == 1


def test_parts_with_the_fewest_faces_pass():
    least = {"selfies/train": 1, "portraits/train": 1, "selfies/test": 2, "portraits/test": 2}
    check_parts(least, SPLIT)  # no validation faces
    for key, count in least.items():
        with pytest.raises(TooFewFacesError, match=f"{count - 1} {key.replace('/', ' in ')}"):
            check_parts(least | {key: count - 1}, SPLIT)


def test_error_states_what_was_found_and_what_to_change():
    with pytest.raises(TooFewFacesError) as error:
        check_parts({"selfies/train": 3, "portraits/validation": 1, "portraits/test": 2}, SPLIT)
    needed, found, change = str(error.value).splitlines()
    assert needed.endswith(": 0 portraits in train (needed: 1), 0 selfies in test (needed: 2)")
    assert "train 3 + 0, validation 0 + 1, test 0 + 2, aside 0 + 0;" in found
    shares = (f"split.train ({SPLIT.train:g})", f"split.validation ({SPLIT.validation:g})")
    assert all(key in change for key in ("limits.<source>", "collect.folder.path", *shares, "split.salt"))


def test_leaks_are_an_error_of_the_program():
    check_leaks(0)
    with pytest.raises(LeakError, match=r"3 pairs.*assign\.py"):
        check_leaks(3)
