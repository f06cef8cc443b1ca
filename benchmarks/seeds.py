"""What several seeds gave: each number's mean, its spread, and the interval of the mean over seeds.

    dvc exp run --queue -S seed=1,2,3,4,5 && dvc exp run --run-all
    dvc exp show --csv | python -m benchmarks.seeds

An interval over faces says what other faces would change; this says what another run of the training would. Rows of one
seed are one run; only experiments are read whose other params are equal.
"""

import sys
from typing import TextIO

import pandas as pd
from scipy.special import stdtrit

SEED = "seed"


def spread(frame: pd.DataFrame) -> pd.DataFrame:
    """A row for each metric.method: mean over seeds, standard deviation, 95 % interval of the mean (Student's t).

    Raises:
        ValueError: There are fewer than two seeds.
    """
    (seed,) = [column for column in frame if column == SEED or column.endswith(f":{SEED}")]
    runs = frame.dropna(subset=[seed]).drop_duplicates(seed)
    if len(runs) < 2:
        raise ValueError(f"{len(runs)} seeds; a spread needs two")
    rows = []
    for column in runs:
        name = str(column).rpartition(":")[2]
        values = pd.to_numeric(runs[column], errors="coerce").dropna()
        if "." not in name or len(values) < 2 or not str(column).startswith(("metrics/summary.json", name)):
            continue
        half = stdtrit(len(values) - 1, 0.975) * values.std() / len(values) ** 0.5
        mean = values.mean()
        rows.append({"metric": name, "seeds": len(values), "mean": mean, "sd": values.std()})
        rows[-1] |= {"low": mean - half, "high": mean + half}
    return pd.DataFrame(rows)


def main(file: TextIO) -> None:
    """The table, as Markdown."""
    try:
        print(spread(pd.read_csv(file)).to_markdown(index=False, floatfmt=".4g"))
    except ValueError as error:
        sys.exit(f"seeds: {error}")


if __name__ == "__main__":
    main(sys.stdin)
