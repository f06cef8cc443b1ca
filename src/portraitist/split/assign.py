"""Assignment of pictures to training, validation and test: by group, with near-duplicates set aside.

A group is a person or artist, or one picture with all its faces. Its part is a salted hash of its name, so it does not
depend on any other picture, and new pictures never move an existing one. Of near-duplicates in different parts,
the one in the earlier part (train before validation before test) is set aside: the test part never changes, and
nothing in it was trained on.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
import pandas as pd
from jaxtyping import Int64

from portraitist.core.manifest import KINDS
from portraitist.split.params import SplitParams

Part = Literal["train", "validation", "test", "aside"]
Pairs = Int64[np.ndarray, "pairs 2"]  # two indexes per row, the smaller first
HASH_BITS = 64
MIN_FACES = {"train": 1, "test": 2}  # per kind: an interval needs two; training works without validation faces
PRECEDENCE = {"train": 0, "validation": 1, "test": 2}  # in a near-duplicate pair, the higher value stays


class TooFewFacesError(ValueError):
    """A part has too few faces of a kind; the message states what was found, what is needed, and what to change."""


def part_of(group: str, params: SplitParams) -> Part:
    """Return the part of a group: its salted hash as a number in [0, 1), compared with the cumulated shares."""
    digest = hashlib.sha256(f"{params.salt}/{group}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    if position < params.train:
        return "train"
    return "validation" if position < params.train + params.validation else "test"


def near_pairs(hashes: Sequence[int], max_hamming_distance: int) -> Pairs:
    """Return every pair of 64-bit hashes within a Hamming distance.

    Hashes that differ in n bits agree in at least one of n + 1 bands of bits: only those that share a band are
    compared.
    """
    values = np.array(hashes, np.uint64)
    edges = np.linspace(0, HASH_BITS, max_hamming_distance + 2).astype(int)
    found = [np.empty((0, 2), np.int64)]
    for low, high in pairwise(edges):
        band = (values >> np.uint64(low)) & np.uint64(2 ** int(high - low) - 1)
        order = np.argsort(band, kind="stable")
        boundaries = np.flatnonzero(np.diff(band[order])) + 1
        for bucket in np.split(order, boundaries):
            for position, index in enumerate(bucket[:-1]):
                others = bucket[position + 1 :]
                near = others[np.bitwise_count(values[index] ^ values[others]) <= max_hamming_distance]
                found.append(np.stack([np.full_like(near, index), near], axis=1))
    return np.unique(np.sort(np.concatenate(found), axis=1), axis=0)


def assign_parts(groups: Sequence[str], near: Pairs, params: SplitParams) -> list[Part]:
    """Return the part of each picture: its group's part, or "aside" if a near-duplicate is in a later part."""
    group_parts = [part_of(group, params) for group in groups]
    parts: list[Part] = list(group_parts)
    for first, second in near.tolist():
        if group_parts[first] != group_parts[second]:
            parts[min(first, second, key=lambda index: PRECEDENCE[group_parts[index]])] = "aside"
    return parts


def count_leaks(parts: Sequence[Part], groups: Sequence[str], near: Pairs) -> int:
    """Count the pairs of pictures in different parts that are of the same group or near-duplicates."""
    parts_of_group: dict[str, list[Part]] = {}
    for group, part in zip(groups, parts, strict=True):
        if part != "aside":
            parts_of_group.setdefault(group, []).append(part)
    of_same_group = (
        sum(len(own) ** 2 - sum(own.count(part) ** 2 for part in set(own)) for own in parts_of_group.values()) // 2
    )
    of_other_groups = [
        (parts[first], parts[second]) for first, second in near.tolist() if groups[first] != groups[second]
    ]
    near_duplicates = sum(first != second and "aside" not in (first, second) for first, second in of_other_groups)
    return of_same_group + near_duplicates


def join_sources(faces: pd.DataFrame, pictures: pd.DataFrame, sources: pd.DataFrame) -> pd.DataFrame:
    """Add dHash, group and pair to the faces.

    Faces without a group are grouped by pair, so that a photo and its painting are in the same part; faces without a
    pair are grouped by picture. A pair refers to the largest face of a picture, which has the picture's id.

    Args:
        faces: id, kind and picture of each face.
        pictures: id and dhash of each picture.
        sources: id, group and pair of each collected picture; a picture may be in several sources.
    """
    named = sources.sort_values(["pair", "group"], ascending=False).drop_duplicates("id")
    table = faces.merge(pictures.merge(named, on="id").rename(columns={"id": "picture"}), on="picture")
    for column in ("pair", "picture"):
        table["group"] = table["group"].where(table["group"] != "", table[column])
    table["pair"] = table["pair"].where(table["id"] == table["picture"], "")
    return table


def split_faces(table: pd.DataFrame, params: SplitParams) -> tuple[pd.DataFrame, int]:
    """Return the faces with their `part`, and the number of leaks, which is 0 unless assignment has a bug."""
    groups = list(table["group"])
    near = near_pairs([int(value, 16) for value in table["dhash"]], params.max_hamming_distance)
    parts = assign_parts(groups, near, params)
    return table.assign(part=parts), count_leaks(parts, groups, near)


def count_parts(table: pd.DataFrame) -> dict[str, int]:
    """Return the number of faces of each kind in each part, such as {"selfies/train": 65}."""
    return dict(sorted(Counter((table["kind"] + "/" + table["part"]).tolist()).items()))


def describe_parts(counts: Mapping[str, int]) -> str:
    """Return the numbers of selfies and portraits in each part, such as "train 65 + 68"."""
    return ", ".join(
        f"{part} " + " + ".join(str(counts.get(f"{kind}/{part}", 0)) for kind in KINDS) for part in get_args(Part)
    )


def check_parts(counts: Mapping[str, int], params: SplitParams) -> None:
    """Check that later stages have enough faces.

    Raises:
        TooFewFacesError: there are fewer than `MIN_FACES` of a kind in a part.
    """
    missing = [
        f"{counts.get(f'{kind}/{part}', 0)} {kind} in {part} (needed: {needed})"
        for part, needed in MIN_FACES.items()
        for kind in KINDS
        if counts.get(f"{kind}/{part}", 0) < needed
    ]
    if missing:
        shares = f"split.train ({params.train:g}) or split.validation ({params.validation:g})"
        raise TooFewFacesError(
            f"too few faces to train and to evaluate: {', '.join(missing)}\n"
            f"found, selfies + portraits: {describe_parts(counts)}; metrics/{{clean,crop,mask}}.json count the others\n"
            "add pictures (collect.folder.path, or a higher limits.<source>); or change "
            f"{shares}; or draw the parts anew with another split.salt"
        )
