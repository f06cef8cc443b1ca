"""What several seeds gave: each number's mean, its spread, and the interval of the mean over seeds.

    dvc exp run --queue -S seed=1,2,3,4,5 && dvc exp run --run-all
    dvc exp show --csv | python -m benchmarks.seeds

An interval over faces says what other faces would change; this says what another run of the training would.
"""

import json
import sys
from pathlib import Path
from typing import TextIO

import pandas as pd
from scipy.special import stdtrit

from portraitist.core.params import TOP_LEVEL_KEYS

SEED = "seed"


def margin(deviation: float, count: int) -> float:
    """How far the 95 % interval of a mean of so many values reaches to each side (Student's t)."""
    return float(stdtrit(count - 1, 0.975)) * deviation / count**0.5


def spread(frame: pd.DataFrame, numbers: list[str]) -> pd.DataFrame:
    """A row for each number ("metric.method"): mean over seeds, deviation, 95 % interval of the mean (Student's t).

    A seed that ran twice counts once; a run that left no numbers counts as none.

    Raises:
        ValueError: There are fewer than two seeds, or the runs differ in another param too.
    """
    known = [number for number in numbers if number in frame]
    runs = frame.dropna(subset=known, how="all").drop_duplicates(SEED)
    if len(runs) < 2:
        raise ValueError(f"{len(runs)} seeds with numbers; a spread needs two")
    params = [column for column in runs if column != SEED and str(column).split(".")[0] in TOP_LEVEL_KEYS]
    other = [str(column) for column in params if runs[column].nunique(dropna=False) > 1]
    if other:
        raise ValueError(
            f"the runs differ in {', '.join(other)} too; give those of one setting (dvc exp show --csv REV)"
        )
    rows = []
    for number in known:
        values = pd.to_numeric(runs[number]).dropna()
        if len(values) > 1:
            mean, deviation = float(values.mean()), float(values.std())
            half = margin(deviation, len(values))
            row = {"number": number, "seeds": len(values), "mean": mean, "sd": deviation}
            rows.append(row | {"low": mean - half, "high": mean + half})
    return pd.DataFrame(rows)


def main(file: TextIO, summary: Path = Path("metrics/summary.json")) -> None:
    """The table, as Markdown; `summary` says which columns are numbers."""
    content = json.loads(summary.read_text(encoding="utf-8"))
    numbers = [f"{metric}.{method}" for metric, methods in content.items() for method in methods]
    try:
        print(spread(pd.read_csv(file), numbers).to_markdown(index=False, floatfmt=".4g"))
    except ValueError as error:
        sys.exit(f"seeds: {error}")


if __name__ == "__main__":
    main(sys.stdin)
