"""Train, validation or test, by group and by hash: a new picture moves no old one to another side.

A group is what goes by one name (a person, an artist), or one picture with all its faces. Its side is a salted hash of
its name, so it depends on nothing else. Where pictures of different groups are nearly alike to the eye and their sides
differ, those that are learned from stand aside: what is tested on stays as it was, and was never seen.
"""

import hashlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
from jaxtyping import Int64

from portraitist.split.params import SplitParams

Part = Literal["train", "validation", "test", "aside"]
Pairs = Int64[np.ndarray, "pairs 2"]  # of indexes, the smaller first
BITS = 64
STAYS = {"train": 0, "validation": 1, "test": 2}  # of two near pictures the higher one stays


def part_of(group: str, params: SplitParams) -> Part:
    """The side that a group is on: a salted hash of its name, as a number in [0, 1)."""
    digest = hashlib.sha256(f"{params.salt}/{group}".encode()).digest()
    chance = int.from_bytes(digest[:8], "big") / 2**64
    if chance < params.train:
        return "train"
    return "validation" if chance < params.train + params.validation else "test"


def near_pairs(hashes: Sequence[int], within_bits: int) -> Pairs:
    """Every pair of 64-bit hashes that differ in at most so many bits.

    Hashes that differ in n bits agree in one of n + 1 bands: only those that share a band are compared.
    """
    values = np.array(hashes, np.uint64)
    edges = np.linspace(0, BITS, within_bits + 2).astype(int)
    found = [np.empty((0, 2), np.int64)]
    for low, high in pairwise(edges):
        band = (values >> np.uint64(low)) & np.uint64(2 ** int(high - low) - 1)
        order = np.argsort(band, kind="stable")
        ends = np.flatnonzero(np.diff(band[order])) + 1
        for group in np.split(order, ends):
            for place in range(len(group) - 1):
                others = group[place + 1 :]
                near = others[np.bitwise_count(values[group[place]] ^ values[others]) <= within_bits]
                found.append(np.stack([np.full_like(near, group[place]), near], axis=1))
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


def assign_parts(groups: Sequence[str], near: Pairs, params: SplitParams) -> list[Part]:
    """The side of each picture: its group's, or aside, for being near to one that is held back from what it is in."""
    sides = [part_of(group, params) for group in groups]
    split: list[Part] = list(sides)
    for one, other in near.tolist():
        if sides[one] != sides[other]:
            split[min(one, other, key=lambda index: STAYS[sides[index]])] = "aside"
    return split


def count_leaks(split: Sequence[Part], groups: Sequence[str], near: Pairs) -> int:
    """How many pairs of pictures stand on two sides though their group is one or they are nearly alike to the eye."""
    sides: dict[str, list[Part]] = {}
    for group, part in zip(groups, split, strict=True):
        if part != "aside":
            sides.setdefault(group, []).append(part)
    count = sum(len(own) ** 2 - sum(own.count(part) ** 2 for part in set(own)) for own in sides.values()) // 2
    apart = [(split[one], split[other]) for one, other in near.tolist() if groups[one] != groups[other]]
    return count + sum(one != other and "aside" not in (one, other) for one, other in apart)
