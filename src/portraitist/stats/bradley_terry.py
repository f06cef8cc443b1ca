"""How often each method is preferred to each other, from people's answers."""

from itertools import combinations

import numpy as np
import pandas as pd

from portraitist.stats.bootstrap import confidence_interval

STEPS = 200
RESAMPLINGS = 500
PRIOR = 0.5  # of a win each way between every two methods: a method that never lost is not infinitely good


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
    """A row for each two methods: the chance that one is preferred, its interval over faces, and how many answers.

    One face alone says nothing of others: the interval is then all that there is, 0 to 1.
    """
    columns = ["method", "against", "answers", "faces", "preferred", "low", "high"]
    methods = sorted(set(frame["left"]) | set(frame["right"]))
    if not methods:
        return pd.DataFrame(columns=columns)
    rng, ids = np.random.default_rng(0), sorted(set(frame["id"]))
    of_face = dict(iter(frame.groupby("id")))

    def rates(some: pd.DataFrame) -> np.ndarray:
        strength = strengths(some, methods)
        return strength[:, None] / (strength[:, None] + strength[None])

    value = rates(frame)
    draws = []
    for _ in range(RESAMPLINGS if len(ids) > 1 else 0):
        some = rng.integers(len(ids), size=len(ids))
        draws.append(rates(pd.concat([of_face[ids[face]] for face in some])))
    spread = np.array(draws)
    rows = []
    for one, other in combinations(range(len(methods)), 2):
        both = {methods[one], methods[other]}
        count = sum({left, right} == both for left, right in zip(frame["left"], frame["right"], strict=True))
        low, high = confidence_interval(value[one, other], spread[:, one, other], len(ids)) if draws else (0.0, 1.0)
        row = {"method": methods[one], "against": methods[other], "answers": count, "faces": len(ids)}
        rows.append(row | {"preferred": value[one, other], "low": max(0.0, low), "high": min(1.0, high)})
    return pd.DataFrame(rows, columns=columns)
