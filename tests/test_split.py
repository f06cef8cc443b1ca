import random

from drawn import SPLIT, changed

from portraitist.split import groups, leaks, part_of

FAR = [0, 0x00000000FFFFFFFF, 0xFFFF0000FFFF0000, 0xF0F0F0F0F0F0F0F0, 0xFF00FF00FF00FF00]  # 16 bits apart or more


def ids(count: int, seed: int = 1) -> list[str]:
    rng = random.Random(seed)
    return [f"{rng.getrandbits(64):016x}" for _ in range(count)]


def parts(pictures: dict[str, tuple[int, str]]) -> dict[str, str]:
    """The side of each picture, of {id: (hash, name of its group)}."""
    hashes, named = zip(*pictures.values(), strict=True)
    called = groups(list(pictures), hashes, named, SPLIT.group_within_bits)
    return {one: part_of(group, SPLIT) for one, group in zip(pictures, called, strict=True)}


def test_a_new_picture_moves_no_old_one():
    rng = random.Random(2)
    pictures = {one: (rng.getrandbits(64), f"person {n % 9}" if n % 3 else "") for n, one in enumerate(ids(60))}
    old = dict(list(pictures.items())[:40])
    assert old.items() <= pictures.items()
    assert parts(old).items() <= parts(pictures).items()
    assert parts(old).items() <= parts(dict(sorted(pictures.items()))).items()


def test_one_more_picture_of_a_person_moves_none_of_that_person():
    for seed in range(20):
        old = {one: (n, "anna") for n, one in enumerate(ids(2, seed))}
        new = {"0" * 16: (FAR[2], "anna")}
        assert len(set(parts(new | old).values())) == 1
        assert parts(old).items() <= parts(new | old).items()


def test_a_group_is_never_on_two_sides():
    rng = random.Random(3)
    pictures = {one: (rng.getrandbits(64), f"person {n % 12}") for n, one in enumerate(ids(120))}
    side = parts(pictures)
    of_person = {
        name: {side[one] for one, (_, other) in pictures.items() if other == name} for _, name in pictures.values()
    }
    assert len(of_person) == 12
    assert all(len(sides) == 1 for sides in of_person.values())
    assert len(set(side.values())) == 3


def test_near_duplicates_are_one_group_and_those_near_to_them_too():
    near, nearer, far = 0b111111, 0b111111111111, 0b1111111111111  # 6 and 12 bits from 0; 13
    assert groups(["d", "b", "c"], [0, near, nearer], ["", "", ""], 6) == ["b", "b", "b"]
    assert groups(["d", "b", "c"], [0, far, nearer], ["", "", ""], 6) == ["d", "b", "b"]
    assert groups(["d", "b", "c"], [0, near, nearer], ["", "", ""], 5) == ["d", "b", "c"]


def test_names_and_nearness_join_and_the_name_is_what_the_group_is_called():
    assert groups(["d", "b", "c", "a"], [FAR[0], FAR[1], FAR[1], FAR[2]], ["anna", "", "anna", ""], 6) == [
        "anna",
        "anna",
        "anna",
        "a",
    ]
    assert groups(["d", "b"], [FAR[0], FAR[0]], ["bert", "anna"], 6) == ["anna", "anna"]


def test_pictures_without_a_name_are_not_one_group():
    assert groups(["d", "b", "c"], FAR[:3], ["", "", ""], 6) == ["d", "b", "c"]


def test_the_order_of_the_pictures_changes_no_group():
    hashes, named = [0, 0b11, FAR[2], FAR[3], FAR[3] ^ 1], ["", "eve", "eve", "", ""]
    expected = dict(zip("abcde", groups("abcde", hashes, named, 6), strict=True))
    assert expected == {"a": "eve", "b": "eve", "c": "eve", "d": "d", "e": "d"}
    for seed in range(10):
        order = random.Random(seed).sample(range(5), 5)
        picked = ["abcde"[n] for n in order]
        found = groups(picked, [hashes[n] for n in order], [named[n] for n in order], 6)
        assert dict(zip(picked, found, strict=True)) == expected


def test_the_shares_are_what_params_say():
    sides = [part_of(one, SPLIT) for one in ids(4000)]
    found = {part: sides.count(part) / 4000 for part in ("train", "validation", "test")}
    assert all(
        abs(found[part] - share) < 0.03 for part, share in {"train": 0.6, "validation": 0.1, "test": 0.3}.items()
    )
    assert {part_of(one, changed(SPLIT, train=0, validation=0)) for one in ids(50)} == {"test"}


def test_another_salt_draws_other_sides():
    named = ids(300)
    one, other = ([part_of(group, changed(SPLIT, salt=salt)) for group in named] for salt in ("one", "other"))
    assert one == [part_of(group, changed(SPLIT, salt="one")) for group in named]
    assert 60 < sum(a != b for a, b in zip(one, other, strict=True)) < 240


def test_a_side_is_the_salted_sha256_of_the_groups_name():
    # SHA-256 of "portraitist/klimt" begins with 1bf0, 0.11 of 1; of the others with a027 and dccb, 0.63 and 0.86
    assert [part_of(name, SPLIT) for name in ("klimt", "hals", "munch")] == ["train", "validation", "test"]


def test_leaks_counts_each_planted_pair():
    hashes = [0, 0b111, 0b1, FAR[1], FAR[2], FAR[3]]
    named = ["", "", "", "anna", "anna", ""]
    assert leaks(hashes, ["train"] * 6, named, 6) == 0
    assert leaks(hashes, ["train", "test", "train", "train", "train", "test"], named, 6) == 2
    assert leaks(hashes, ["train", "train", "train", "validation", "test", "test"], named, 6) == 1
    assert leaks(hashes, ["train", "test", "train", "train", "train", "test"], named, 1) == 0
