"""What people preferred, two avatars at a time: the answers, and how often each method wins.

An answer is a row of judge.csv: the selfie, the two methods, and the one that was preferred; no picture, no name of a
person.
"""

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from portraitist.bootstrap import interval
from portraitist.manifest import read

COLUMNS = ["id", "left", "right", "preferred"]
STEPS = 200
RESAMPLINGS = 500
PRIOR = 0.5  # of a win each way between every two methods: a method that never lost is not infinitely good


def answers(path: Path) -> pd.DataFrame:
    """The answers given so far.

    Raises:
        ValueError: The file has other columns, or a preference for neither of the two.
    """
    frame = read(path)
    if list(frame.columns) != COLUMNS:
        raise ValueError(f"{path}: columns {', '.join(COLUMNS)} expected, found {', '.join(frame.columns)}")
    wrong = frame[(frame["preferred"] != frame["left"]) & (frame["preferred"] != frame["right"])]
    if len(wrong):
        raise ValueError(
            f"{path}: row {wrong.index[0] + 2} prefers {wrong['preferred'].iloc[0]!r}, which was not shown"
        )
    return frame


def strengths(frame: pd.DataFrame, methods: list[str]) -> np.ndarray:
    """Each method's strength, summing to one: Bradley and Terry 1952, by Hunter's MM steps (Ann. Statist. 2004).

    The chance that one is preferred to another is its strength over the sum of both.
    """
    place = {method: index for index, method in enumerate(methods)}
    wins = np.full((len(methods), len(methods)), PRIOR)
    np.fill_diagonal(wins, 0)
    for left, right, preferred in zip(frame["left"], frame["right"], frame["preferred"], strict=True):
        loser = right if preferred == left else left
        wins[place[preferred], place[loser]] += 1
    games, strength = wins + wins.T, np.full(len(methods), 1 / len(methods))
    for _ in range(STEPS):
        strength = wins.sum(axis=1) / (games / (strength[:, None] + strength[None])).sum(axis=1)
        strength /= strength.sum()
    return strength


def win_rates(frame: pd.DataFrame) -> pd.DataFrame:
    """A row for each two methods: the chance that one is preferred, its interval over faces, and how many answers."""
    methods = sorted(set(frame["left"]) | set(frame["right"]))
    rng, ids = np.random.default_rng(0), sorted(set(frame["id"]))
    of_face = dict(iter(frame.groupby("id")))

    def rates(some: pd.DataFrame) -> np.ndarray:
        strength = strengths(some, methods)
        return strength[:, None] / (strength[:, None] + strength[None])

    value = rates(frame) if methods else np.zeros((0, 0))
    drawn = (
        [pd.concat([of_face[ids[face]] for face in rng.integers(len(ids), size=len(ids))]) for _ in range(RESAMPLINGS)]
        if len(ids) > 1
        else []
    )
    draws = np.stack([rates(some) for some in drawn]) if drawn else np.zeros((0,))
    rows = []
    for one, other in combinations(range(len(methods)), 2):
        both = {methods[one], methods[other]}
        count = sum({left, right} == both for left, right in zip(frame["left"], frame["right"], strict=True))
        low, high = interval(value[one, other], draws[:, one, other], len(ids)) if len(draws) else (0.0, 1.0)
        row = {"method": methods[one], "against": methods[other], "answers": count, "faces": len(ids)}
        rows.append(row | {"preferred": value[one, other], "low": max(0.0, low), "high": min(1.0, high)})
    return pd.DataFrame(rows, columns=["method", "against", "answers", "faces", "preferred", "low", "high"])
