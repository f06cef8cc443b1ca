"""Assignment of faces to the parts of the split: "train", "validation" and "test"; or "aside", which is not used.

All faces of a group are in the same part. A group is a person, an artist, a photo with its painting, or a single
picture. A salted hash of the group's name determines the part, so new pictures never change the part of earlier ones.

Two near-duplicates of different groups can be in different parts. Then one of the two faces is set aside: the training
face if one of them is a training face, otherwise the validation face. The test part therefore never loses a face, and
no face of the test part has a near-duplicate in the training part.
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
Pairs = Int64[np.ndarray, "pairs 2"]  # indexes of two near-duplicates per row, the smaller index first
HASH_BITS = 64
# Minimum number of selfies, and of portraits, per part. A confidence interval needs two test faces. Training does not
# need validation faces.
MIN_FACES = {"train": 1, "test": 2}
PRECEDENCE = {"train": 0, "validation": 1, "test": 2}  # of two near-duplicates, the one with the higher value is used


class LeakError(RuntimeError):
    """Faces that should be in the same part are in different parts; this is an error in the program."""


class TooFewFacesError(ValueError):
    """A part of the split has too few selfies or portraits; the message says what was found and what to change."""


def part_of(group: str, params: SplitParams) -> Part:
    """Return the part of a group: "train", "validation" or "test".

    The salted hash of the group's name is a number in [0, 1). Below `params.train`, the part is "train"; in the
    following interval of length `params.validation`, it is "validation"; above, it is "test".
    """
    digest = hashlib.sha256(f"{params.salt}/{group}".encode()).digest()
    position = int.from_bytes(digest[:8], "big") / 2**64
    if position < params.train:
        return "train"
    return "validation" if position < params.train + params.validation else "test"


def near_pairs(hashes: Sequence[int], max_hamming_distance: int) -> Pairs:
    """Return the indexes of every two 64-bit hashes that differ in at most `max_hamming_distance` bits.

    The bits are divided into n + 1 bands, where n is `max_hamming_distance`. Hashes that differ in at most n bits are
    equal in at least one band, so only hashes with an equal band are compared.
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
    """Return the part of each face: the part of its group, or "aside".

    A face is set aside if a near-duplicate is in a part that has a higher value in `PRECEDENCE`.

    Args:
        groups: group of each face.
        near: indexes of near-duplicates, as `near_pairs` returns them.
        params: salt and shares of the parts.
    """
    group_parts = [part_of(group, params) for group in groups]
    parts: list[Part] = list(group_parts)
    for first, second in near.tolist():
        if group_parts[first] != group_parts[second]:
            parts[min(first, second, key=lambda index: PRECEDENCE[group_parts[index]])] = "aside"
    return parts


def count_leaks(parts: Sequence[Part], groups: Sequence[str], near: Pairs) -> int:
    """Count the leaks: pairs of faces that belong to the same group or are near-duplicates, but are in different parts.

    Faces that are set aside are ignored.
    """
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


def split_faces(table: pd.DataFrame, params: SplitParams) -> tuple[pd.DataFrame, int]:
    """Assign every face to a part of the split.

    Args:
        table: the faces, as `read_faces.join_sources` returns them.
        params: salt and shares of the parts, and the distance of near-duplicates.

    Returns:
        The table with a column `part`, and the number of leaks that `count_leaks` finds, which must be 0.
    """
    groups = list(table["group"])
    near = near_pairs([int(value, 16) for value in table["dhash"]], params.max_hamming_distance)
    parts = assign_parts(groups, near, params)
    return table.assign(part=parts), count_leaks(parts, groups, near)


def count_parts(table: pd.DataFrame) -> dict[str, int]:
    """Return the number of faces of each kind in each part, such as {"selfies/train": 65, ...}."""
    return dict(sorted(Counter((table["kind"] + "/" + table["part"]).tolist()).items()))


def describe_parts(counts: Mapping[str, int]) -> str:
    """Return the numbers of selfies and portraits in each part as text, such as "train 65 + 68, ..."."""
    return ", ".join(
        f"{part} " + " + ".join(str(counts.get(f"{kind}/{part}", 0)) for kind in KINDS) for part in get_args(Part)
    )


def check_leaks(leaks: int) -> None:
    """Check the number of leaks.

    Raises:
        LeakError: the number is not 0.
    """
    if leaks:
        raise LeakError(
            f"{leaks} pairs of faces in different parts are near-duplicates or of the same group; this is an error in "
            "split/assign.py, please report it"
        )


def check_parts(counts: Mapping[str, int], params: SplitParams) -> None:
    """Check that there are enough faces for training and evaluation.

    Args:
        counts: the result of `count_parts`.
        params: used in the error message.

    Raises:
        TooFewFacesError: a part has fewer selfies or portraits than `MIN_FACES`.
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
            f"number of selfies + portraits in each part: {describe_parts(counts)}; metrics/clean.json, "
            "metrics/crop.json and metrics/mask.json show how many pictures and faces were rejected\n"
            "add pictures (collect.folder.path, or a higher limits.<source>); or change "
            f"{shares}; or change split.salt, which assigns every face anew"
        )
