"""Compare the metrics of the last run with the committed ones, within their intervals; not a stage (`make verify`).

On another type of CPU, a few bytes of masks may differ, and therefore all trainings and metrics. If nothing is wrong,
the metrics differ by no more than their intervals.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd

from portraitist.compare.tables import label
from portraitist.stats.headline import HEADLINES

SUMMARY, TABLE, RESULTS = Path("metrics/summary.json"), Path("metrics/compare.md"), Path("metrics/compare.csv")
EXPORT = Path("metrics/models")
CELL = re.compile(r"^(?P<value>-?[\d.]+)(?: \[(?P<low>-?[\d.]+), (?P<high>-?[\d.]+)\])?$")
# Share of a table's cells that may disagree: 95 % intervals are over the test faces of one run, and a training that
# differs in one byte is another random sample.
MAX_DISAGREEING = 0.05
Interval = tuple[float, float, float]  # value, low, high


def agrees(committed: Interval, found: Interval) -> bool:
    """Return whether one of two values is inside the interval of the other, widened by 0.5 % of the larger value."""
    tolerance = 0.005 * max(abs(committed[0]), abs(found[0]))
    return any(
        low - tolerance <= value <= high + tolerance
        for value, (_, low, high) in ((committed[0], found), (found[0], committed))
    )


def committed_table(markdown: str) -> dict[tuple[str, str], Interval]:
    """Parse the table of all metrics in compare.md: value and interval of each metric and method."""
    lines = markdown.partition("All metrics,")[2].split("\n\n")[1].splitlines()
    header, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    table = {}
    for metric, *cells in rows[1:]:
        for method, cell in zip(header[1:], cells, strict=True):
            if match := CELL.match(cell):
                value = float(match["value"])
                bounds = (float(match["low"]), float(match["high"])) if match["low"] else (value, value)
                table[metric, method] = (value, *bounds)
    return table


def verify_summary(committed: dict[str, float], found: dict[str, Interval]) -> list[str]:
    """Return a line for each headline metric of the exported method that is missing or does not agree."""
    lines = []
    for name, value in committed.items():
        interval = found.get(HEADLINES[name].metric)
        if interval is None:
            lines.append(f"{name}: committed {value:g}, missing in this run")
        elif not agrees((value, value, value), interval):
            lines.append(f"{name}: committed {value:g}, found {_text(interval)}")
    return lines


def verify_table(
    committed: dict[tuple[str, str], Interval], found: dict[tuple[str, str], Interval]
) -> tuple[list[str], int]:
    """Return a line for each cell that does not agree, and the number of cells that both tables have."""
    common = [cell for cell in committed if cell in found]
    lines = [
        f"{metric} of {method}: committed {_text(committed[metric, method])}, found {_text(found[metric, method])}"
        for metric, method in common
        if not agrees(committed[metric, method], found[metric, method])
    ]
    return lines, len(common)


def _text(interval: Interval) -> str:
    value, low, high = interval
    return f"{value:.4g} [{low:.4g}, {high:.4g}]"


def _committed(path: Path, revision: str) -> str:
    shown = subprocess.run(["git", "show", f"{revision}:./{path}"], capture_output=True, text=True, check=False)
    if shown.returncode:
        sys.exit(f"portraitist: {path} is not in revision {revision}")
    return shown.stdout


def main(revision: str, method: str) -> int:
    """Print what agrees and what does not; return the exit code."""
    results = EXPORT / method / "metrics.json"
    if not results.exists():
        sys.exit(f"portraitist: {results} is missing; run `make repro` or `dvc repro export` first")
    metrics = json.loads(results.read_text(encoding="utf-8"))
    found = {metric: (row["value"], row["low"], row["high"]) for metric, row in metrics.items()}
    summary = json.loads(_committed(SUMMARY, revision))
    failures = verify_summary(summary, found)
    print(f"{SUMMARY}: {len(summary) - len(failures)} of {len(summary)} metrics of {method} agree with {revision}")
    print("".join(f"  {line}\n" for line in failures), end="")
    if RESULTS.exists():
        frame = pd.read_csv(RESULTS)
        table = {
            (row["metric"], label(row["method"])): (row["value"], row["low"], row["high"])
            for row in frame.to_dict("records")
        }
        lines, count = verify_table(committed_table(_committed(TABLE, revision)), table)
        print(f"{TABLE}: {count - len(lines)} of {count} cells agree; at most {MAX_DISAGREEING:.0%} may differ")
        print("".join(f"  {line}\n" for line in lines), end="")
        if count == 0 or len(lines) > MAX_DISAGREEING * count:
            failures.append(str(TABLE))
    print(
        "This run does not reproduce the committed results."
        if failures
        else "This run reproduces the committed results."
    )
    return 1 if failures else 0


if __name__ == "__main__":
    from pipeline.stage import load_or_exit
    from portraitist.export.params import ExportParams

    parser = argparse.ArgumentParser()
    parser.add_argument("--revision", default="HEAD", help="git revision of the committed results")
    sys.exit(main(parser.parse_args().revision, load_or_exit(ExportParams, "export").method))
