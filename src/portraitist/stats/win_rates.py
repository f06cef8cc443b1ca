"""Win rates of methods, from people's pairwise preferences."""

from itertools import combinations

import pandas as pd

from portraitist.stats.bootstrap import wilson_interval

COLUMNS = ["method", "against", "answers", "faces", "preferred", "low", "high"]


def win_rates(answers: pd.DataFrame) -> pd.DataFrame:
    """Return a table with one row per pair of methods: how often people prefer the first to the second.

    If a face has several answers about a pair, the face counts as their share. `preferred` is the mean over the faces,
    among answers that prefer one of both. Its interval is Wilson's 95 % interval for the number of these faces, or
    [0, 1] for a single face. Pairs that nobody answered are left out.

    Args:
        answers: one row per answer, with the columns id (of the face), left, right and preferred.
    """
    rows = []
    for method, other in combinations(sorted(set(answers["left"]) | set(answers["right"])), 2):
        pair = answers[answers["left"].isin((method, other)) & answers["right"].isin((method, other))]
        if pair.empty:
            continue
        shares = (pair["preferred"] == method).groupby(pair["id"]).mean()
        preferred = float(shares.mean())
        low, high = wilson_interval(preferred, len(shares)) if len(shares) > 1 else (0.0, 1.0)
        row = {"method": method, "against": other, "answers": len(pair), "faces": len(shares)}
        rows.append(row | {"preferred": preferred, "low": low, "high": high})
    return pd.DataFrame(rows, columns=COLUMNS)
