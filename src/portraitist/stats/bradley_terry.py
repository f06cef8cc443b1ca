"""Win rates of methods, estimated from people's pairwise preferences by the Bradley-Terry model."""

from itertools import combinations

import numpy as np
import pandas as pd

from portraitist.stats.bootstrap import wilson_interval

ITERATIONS = 200
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

    The probability is among answers that prefer one of both. Its interval is Wilson's 95 % interval for the number of
    faces for which this pair was answered, because several answers about one face may be alike. It is [0, 1] if there
    is only one such face. Pairs that nobody answered are left out.

    Args:
        answers: one row per answer, with the columns id (of the face), left, right and preferred.
    """
    methods = sorted(set(answers["left"]) | set(answers["right"]))
    if not methods:
        return pd.DataFrame(columns=COLUMNS)
    strengths = fit_strengths(answers, methods)
    rows = []
    for a, b in combinations(range(len(methods)), 2):
        of_pair = answers[answers["left"].isin(pair := [methods[a], methods[b]]) & answers["right"].isin(pair)]
        faces = of_pair["id"].nunique()
        if not faces:
            continue
        preferred = strengths[a] / (strengths[a] + strengths[b])
        low, high = wilson_interval(preferred, faces) if faces > 1 else (0.0, 1.0)
        row = {"method": methods[a], "against": methods[b], "answers": len(of_pair), "faces": faces}
        rows.append(row | {"preferred": preferred, "low": low, "high": high})
    return pd.DataFrame(rows, columns=COLUMNS)
