"""Check whether the metrics of the last run agree with the committed ones (`make verify`); not a stage.

On another type of CPU, a few pixels of the masks may differ. All trained weights and metrics then differ, too. Two
values of a metric agree if one of them is in the confidence interval of the other one.
"""

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from portraitist.compare.tables import HELD_OUT, label
from portraitist.stats.headline import HEADLINES

SUMMARY, TABLE, RESULTS = Path("metrics/summary.json"), Path("metrics/compare.md"), Path("metrics/compare.csv")
EXPORT = Path("metrics/models")
CELL = re.compile(r"^(?P<value>-?[\d.]+)(?: \[(?P<low>-?[\d.]+), (?P<high>-?[\d.]+)\])?$")
# Share of a table's cells that may disagree. Intervals have a confidence of 95 %, and they describe the variation over
# test faces, not the variation between trainings.
MAX_DISAGREEING = 0.05
Interval = tuple[float, float, float]  # value, low, high
Cells = dict[tuple[str, str], Interval]  # value and interval, by (metric, method)


def agrees(committed: Interval, found: Interval) -> bool:
    """Return whether at least one of two values of a metric is in the confidence interval of the other value.

    Both intervals are widened before the comparison. Each end is moved outwards by 0.5 % of the metric value with the
    larger absolute value.
    """
    tolerance = 0.005 * max(abs(committed[0]), abs(found[0]))
    return any(
        low - tolerance <= value <= high + tolerance
        for value, (_, low, high) in ((committed[0], found), (found[0], committed))
    )


def committed_table(markdown: str) -> Cells:
    """Parse the table of all metrics in compare.md; an empty result if there is no such table, as in old revisions."""
    table: Cells = {}
    blocks = markdown.partition("All metrics,")[2].split("\n\n")[1:2]
    lines = [line for block in blocks for line in block.splitlines()]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    for metric, *cells in rows[2:]:
        for method, cell in zip(rows[0][1:], cells, strict=True):
            if match := CELL.match(cell):
                value = float(match["value"])
                bounds = (float(match["low"]), float(match["high"])) if match["low"] else (value, value)
                table[metric, method] = (value, *bounds)
    return table


def committed_summary(content: Mapping[str, object], method: str) -> Cells:
    """Return the numbers in summary.json as cells with intervals of zero width; other values are left out."""
    return {(name, method): (value, value, value) for name, value in content.items() if isinstance(value, int | float)}


def disagreements(committed: Cells, found: Cells) -> list[str]:
    """Return a line of text for each metric and method whose committed and found values do not agree."""
    return [
        f"{metric} of {method}: committed {_text(committed[metric, method])}, found {_text(found[metric, method])}"
        for metric, method in committed
        if (metric, method) in found and not agrees(committed[metric, method], found[metric, method])
    ]


def missing_metrics(committed: Cells, found: Cells, revision: str) -> list[str]:
    """Return a line of text with the metrics that only the commit has, and a line with those that only the run has."""
    ours, theirs = ({metric for metric, _ in cells} for cells in (found, committed))
    sides = ((theirs - ours, "this run"), (ours - theirs, revision))
    return [f"missing in {side}, not compared: {', '.join(sorted(names))}" for names, side in sides if names]


def _text(interval: Interval) -> str:
    value, low, high = interval
    return f"{value:.4g}" if low == high else f"{value:.4g} [{low:.4g}, {high:.4g}]"


def _committed(path: Path, revision: str) -> str:
    shown = subprocess.run(["git", "show", f"{revision}:./{path}"], capture_output=True, text=True, check=False)
    if shown.returncode:
        sys.exit(f"portraitist: {path} does not exist in git revision {revision}; choose another one by --revision")
    return shown.stdout


def main(revision: str, method: str) -> int:
    """Print how many metrics agree, and which metrics differ or cannot be compared; return the exit code, 0 or 1."""
    results = EXPORT / method / "metrics.json"
    if not results.exists():
        sys.exit(f"portraitist: {results} is missing; run `make repro` or `dvc repro export` first")
    metrics = json.loads(results.read_text(encoding="utf-8"))
    found: Cells = {
        (name, method): (row["value"], row["low"], row["high"])
        for name, headline in HEADLINES.items()
        if (row := metrics.get(headline.metric))
    }
    committed = committed_summary(json.loads(_committed(SUMMARY, revision)), method)
    lines, count = disagreements(committed, found), len(committed.keys() & found.keys())
    print(f"{SUMMARY}: {count - len(lines)} of {count} metrics of {method} agree with {revision}")
    _print_indented(lines + missing_metrics(committed, found, revision))
    lost = any(name in HEADLINES for name, _ in committed.keys() - found.keys())  # other names are of old revisions
    failed = bool(lines) or lost or count == 0
    committed = committed_table(_committed(TABLE, revision))
    if not committed:
        print(f"{TABLE}: not compared; it has no table of all metrics in {revision}")
    elif RESULTS.exists():
        rows = pd.read_csv(RESULTS).query(f"method != '{HELD_OUT}'").to_dict("records")
        found = {(row["metric"], label(row["method"])): (row["value"], row["low"], row["high"]) for row in rows}
        lines, count = disagreements(committed, found), len(committed.keys() & found.keys())
        print(f"{TABLE}: {count - len(lines)} of {count} cells agree; at most {MAX_DISAGREEING:.0%} may differ")
        _print_indented(lines + missing_metrics(committed, found, revision))
        failed |= count == 0 or len(lines) > MAX_DISAGREEING * count
    print(f"This run {'does not reproduce' if failed else 'reproduces'} the committed results.")
    return int(failed)


def _print_indented(lines: list[str]) -> None:
    print("".join(f"  {line}\n" for line in lines), end="")


if __name__ == "__main__":
    from pipeline.stage import load_or_exit
    from portraitist.export.params import ExportParams

    parser = argparse.ArgumentParser()
    parser.add_argument("--revision", default="HEAD", help="git revision with which the results are compared")
    sys.exit(main(parser.parse_args().revision, load_or_exit(ExportParams, "export").method))
