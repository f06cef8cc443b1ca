"""Train, validation or test, by group and by hash: a new picture moves no old one, and no group is on two sides."""

import hashlib
from collections.abc import Sequence
from typing import Literal

from portraitist.clean import distance_bits
from portraitist.params import SplitParams

Part = Literal["train", "validation", "test"]


def groups(ids: Sequence[str], hashes: Sequence[int], named: Sequence[str], within_bits: int) -> list[str]:
    """A group's name for each picture: those named alike (a person, an artist) or nearly alike to the eye are one.

    It is called by its smallest name, so that one more picture of a person moves none of that person's; one without a
    name by its smallest id. Time grows with the square of the pictures, a few seconds for 10,000.
    """
    parent = list(range(len(ids)))
    called = [(not name, name or ids[index]) for index, name in enumerate(named)]  # names come first

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    def join(one: int, other: int) -> None:
        first, second = sorted((root(one), root(other)), key=called.__getitem__)
        parent[second] = first

    first_of: dict[str, int] = {}
    for index, name in enumerate(named):
        if name:
            join(first_of.setdefault(name, index), index)
    for index, one in enumerate(hashes):
        for other in range(index):
            if distance_bits(one, hashes[other]) <= within_bits:
                join(index, other)
    return [called[root(index)][1] for index in range(len(ids))]


def part_of(group: str, params: SplitParams) -> Part:
    """The side that a group is on: a salted hash of its name, as a number in [0, 1)."""
    digest = hashlib.sha256(f"{params.salt}/{group}".encode()).digest()
    chance = int.from_bytes(digest[:8], "big") / 2**64
    if chance < params.train:
        return "train"
    return "validation" if chance < params.train + params.validation else "test"


def leaks(hashes: Sequence[int], parts: Sequence[Part], named: Sequence[str], within_bits: int) -> int:
    """How many pairs of pictures stand on two sides though they are named alike or nearly alike to the eye."""
    count = 0
    for index, one in enumerate(hashes):
        for other in range(index):
            near = distance_bits(one, hashes[other]) <= within_bits
            akin = bool(named[index]) and named[index] == named[other]
            count += (near or akin) and parts[index] != parts[other]
    return count
