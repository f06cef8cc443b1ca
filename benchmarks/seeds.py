"""Mean and variation of all metrics over several training seeds, computed from DVC experiments.

    dvc exp run --queue -S seed=1,2,3,4,5 && dvc exp run --run-all
    dvc exp show --csv | python -m benchmarks.seeds

The intervals of stage evaluate are over faces; those printed here are over trainings.
"""

import json
import sys
from pathlib import Path
from typing import TextIO

import pandas as pd
from scipy.special import stdtrit

from portraitist.all_params import TOP_LEVEL_KEYS

SEED = "seed"


def half_width(deviation: float, count: int) -> float:
    """Return half the width of the 95 % interval of a mean of `count` values (Student's t)."""
    return float(stdtrit(count - 1, 0.975)) * deviation / count**0.5


def variation_over_seeds(frame: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Return a row for each column ("metric.method"): mean over seeds, standard deviation, 95 % interval of the mean.

    Of runs with the same seed only the first counts; runs without values are ignored.

    Raises:
        ValueError: there are fewer than two seeds, or the runs differ in other parameters too.
    """
    columns = [column for column in columns if column in frame]
    runs = frame.dropna(subset=columns, how="all").drop_duplicates(SEED)
    if len(runs) < 2:
        raise ValueError(f"found {len(runs)} seeds with values; at least two are needed")
    params = [column for column in runs if column != SEED and str(column).split(".")[0] in TOP_LEVEL_KEYS]
    different = [str(column) for column in params if runs[column].nunique(dropna=False) > 1]
    if different:
        raise ValueError(
            f"the runs also differ in {', '.join(different)}; select runs that differ in the seed only "
            "(dvc exp show --csv REV)"
        )
    rows = []
    for column in columns:
        values = pd.to_numeric(runs[column]).dropna()
        if len(values) > 1:
            mean, deviation = float(values.mean()), float(values.std())
            half = half_width(deviation, len(values))
            row = {"metric": column, "seeds": len(values), "mean": mean, "sd": deviation}
            rows.append(row | {"low": mean - half, "high": mean + half})
    return pd.DataFrame(rows)


def main(file: TextIO, summary: Path = Path("metrics/summary.json")) -> None:
    """Print the table as Markdown; the file `summary` names the metrics and methods."""
    content = json.loads(summary.read_text(encoding="utf-8"))
    columns = [f"{metric}.{method}" for metric, methods in content.items() for method in methods]
    try:
        print(variation_over_seeds(pd.read_csv(file), columns).to_markdown(index=False, floatfmt=".4g"))
    except ValueError as error:
        sys.exit(f"seeds: {error}")


if __name__ == "__main__":
    main(sys.stdin)
