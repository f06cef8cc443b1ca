"""Print mean and variation of all metrics over trainings with several seeds.

    for seed in 1 2 3; do dvc exp run -S seed=$seed compare && cp metrics/methods.json seed-$seed.json; done
    python -m benchmarks.seeds seed-*.json

The intervals of stage evaluate describe the variation over test faces; those printed here, the variation over seeds.
"""

import json
import sys
from pathlib import Path

import pandas as pd
from scipy.special import stdtrit


def half_width(deviation: float, count: int) -> float:
    """Return half the width of the 95 % interval of a mean of `count` values (Student's t)."""
    return float(stdtrit(count - 1, 0.975)) * deviation / count**0.5


def variation_over_seeds(runs: list[dict[str, dict[str, float]]]) -> pd.DataFrame:
    """Return a row for each metric and method: mean over seeds, standard deviation, 95 % interval of the mean.

    Args:
        runs: content of metrics/methods.json for each seed.

    Raises:
        ValueError: there are fewer than two runs.
    """
    if len(runs) < 2:
        raise ValueError(f"found {len(runs)} runs; pass at least two files")
    values: dict[tuple[str, str], list[float]] = {}
    for run in runs:
        for metric, methods in run.items():
            for method, value in methods.items():
                values.setdefault((metric, method), []).append(value)
    rows = []
    for (metric, method), found in values.items():
        if len(found) > 1:
            mean, deviation = float(pd.Series(found).mean()), float(pd.Series(found).std())
            half = half_width(deviation, len(found))
            row = {"metric": metric, "method": method, "seeds": len(found), "mean": mean, "sd": deviation}
            rows.append(row | {"low": mean - half, "high": mean + half})
    return pd.DataFrame(rows)


def main(paths: list[Path]) -> None:
    """Print the table as Markdown."""
    try:
        frame = variation_over_seeds([json.loads(path.read_text(encoding="utf-8")) for path in paths])
    except ValueError as error:
        sys.exit(f"seeds: {error}")
    print(frame.to_markdown(index=False, floatfmt=".4g"))


if __name__ == "__main__":
    main(list(map(Path, sys.argv[1:])))
