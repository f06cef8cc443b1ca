"""Win rates of methods, estimated from people's pairwise preferences by the Bradley-Terry model."""

from itertools import combinations

import numpy as np
import pandas as pd

from portraitist.stats.bootstrap import confidence_interval

ITERATIONS = 200
RESAMPLES = 500
PRIOR_WINS = 0.5  # added to each method's wins over each other method; keeps the strength of an undefeated one finite
COLUMNS = ["method", "against", "answers", "faces", "preferred", "low", "high"]


def fit_strengths(answers: pd.DataFrame, methods: list[str]) -> np.ndarray:
    """Return the strength of each method; the strengths sum to one.

    Method a is preferred to method b with probability strength_a / (strength_a + strength_b) (Bradley and Terry, 1952).
    The strengths are fitted by the minorisation-maximisation algorithm of Hunter (Annals of Statistics, 2004).

    Args:
        answers: one row per answer; the columns left, right and preferred contain names of methods.
        methods: the names of all methods that occur in `answers`.
    """
    index = {method: position for position, method in enumerate(methods)}
    wins = np.full((len(methods), len(methods)), PRIOR_WINS)
    np.fill_diagonal(wins, 0)
    for left, right, preferred in zip(answers["left"], answers["right"], answers["preferred"], strict=True):
        loser = right if preferred == left else left
        wins[index[preferred], index[loser]] += 1
    games, strengths = wins + wins.T, np.full(len(methods), 1 / len(methods))
    for _ in range(ITERATIONS):
        strengths = wins.sum(axis=1) / (games / (strengths[:, None] + strengths[None])).sum(axis=1)
        strengths /= strengths.sum()
    return strengths


def win_rates(answers: pd.DataFrame) -> pd.DataFrame:
    """Return a table with one row per pair of methods: the probability that people prefer the first to the second.

    Each probability has a 95 % confidence interval, computed by a bootstrap over faces. If all answers are about the
    same face, the interval is [0, 1].

    Args:
        answers: one row per answer, with the columns id (of the face), left, right and preferred.
    """
    methods = sorted(set(answers["left"]) | set(answers["right"]))
    if not methods:
        return pd.DataFrame(columns=COLUMNS)
    rng, ids = np.random.default_rng(0), sorted(set(answers["id"]))
    answers_by_face = dict(iter(answers.groupby("id")))

    def rates(subset: pd.DataFrame) -> np.ndarray:
        strengths = fit_strengths(subset, methods)
        return strengths[:, None] / (strengths[:, None] + strengths[None])

    values = rates(answers)
    draws = []
    for _ in range(RESAMPLES if len(ids) > 1 else 0):
        resample = rng.integers(len(ids), size=len(ids))
        draws.append(rates(pd.concat([answers_by_face[ids[face]] for face in resample])))
    samples = np.array(draws)
    rows = []
    for a, b in combinations(range(len(methods)), 2):
        pair = {methods[a], methods[b]}
        count = sum({left, right} == pair for left, right in zip(answers["left"], answers["right"], strict=True))
        low, high = confidence_interval(values[a, b], samples[:, a, b], len(ids)) if draws else (0.0, 1.0)
        row = {"method": methods[a], "against": methods[b], "answers": count, "faces": len(ids)}
        rows.append(row | {"preferred": values[a, b], "low": max(0.0, low), "high": min(1.0, high)})
    return pd.DataFrame(rows, columns=COLUMNS)
