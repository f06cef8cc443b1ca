"""Check that training with two processes gives the same losses as with one, both with a batch size of two.

    dvc repro augment && python -m benchmarks.data_parallel -o losses.png

Runs the command of each training stage with one process, then under torchrun with two (gloo). Stage 3 starts from the
same models in both runs. Prints the differences of the losses, and writes a plot of them.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import pandas as pd
from PIL import Image, ImageDraw

from benchmarks.kills import ROOT, STAGES, prepare, run
from portraitist.core.training_log import PLOTS_FOLDER

EPOCHS = {"train_generator": {"epochs": 2}, "train_mask": {"epochs": 4}, "train": {"epochs": 4, "validate_every": 0}}
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
WIDTH, HEIGHT, GAP = 520, 150, 24
COLOURS = {"one": "#2a7de1", "two": "#e1572a"}


def train_stage(folder: Path, stage: str, launcher: list[str]) -> pd.DataFrame:
    """Run a stage and return its losses: one row per step, one column per term."""
    if run(folder, *launcher, "-m", *STAGES[stage]).wait():
        sys.exit(f"{stage} failed in {folder}")
    plots = folder / STAGES[stage][STAGES[stage].index("--log") + 1] / PLOTS_FOLDER
    terms = [pd.read_csv(path, sep="\t", index_col="step") for path in sorted(plots.iterdir())]
    return pd.concat(terms, axis="columns").reset_index(drop=True)


def relative_differences(one: pd.DataFrame, two: pd.DataFrame) -> pd.DataFrame:
    """Return the relative differences of two runs, one row per loss term.

    The columns are the difference in the first step, the mean difference, and the difference of the means over the last
    quarter, each divided by the mean of the term in the first run.
    """
    difference, mean, last_quarter = (one - two).abs(), one.mean(), len(one) * 3 // 4
    last = (one[last_quarter:].mean() - two[last_quarter:].mean()).abs() / mean
    return pd.DataFrame(
        {"first step": difference.iloc[0] / mean, "mean": difference.mean() / mean, "last quarter's mean": last}
    )


def plot(losses: dict[str, dict[str, pd.DataFrame]]) -> Image.Image:
    """Plot each term of each stage in a panel: one process as a thick line, two processes as a thin line over it."""
    panels = [(stage, term) for stage, runs in losses.items() for term in runs["one"]]
    canvas = Image.new("RGB", (WIDTH + 2 * GAP, len(panels) * (HEIGHT + GAP) + GAP), "white")
    pen = ImageDraw.Draw(canvas)
    for row, (stage, term) in enumerate(panels):
        left, top = GAP, GAP + row * (HEIGHT + GAP)
        curves = {run: frame[term] for run, frame in losses[stage].items()}
        low, high = min(curve.min() for curve in curves.values()), max(curve.max() for curve in curves.values())
        pen.rectangle((left, top, left + WIDTH, top + HEIGHT), outline="#ccc")
        pen.text((left, top - 14), f"{stage}: {term}, {low:.3g} to {high:.3g}", fill="black")
        for name, values in curves.items():
            xs = [left + WIDTH * step / (len(values) - 1) for step in range(len(values))]
            ys = [top + HEIGHT * (high - value) / (high - low) for value in values]
            pen.line(list(zip(xs, ys, strict=True)), fill=COLOURS[name], width=3 if name == "one" else 1)
    return canvas


def main() -> None:
    """Write the plot, and print the relative differences of each stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=ROOT, help="checkout in which `dvc repro augment` has run")
    parser.add_argument("-o", "--out", type=Path, required=True)
    arguments = parser.parse_args()
    changes = {section: values | {"batch_size": 2} for section, values in EPOCHS.items()}
    losses: dict[str, dict[str, pd.DataFrame]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        single, double = Path(temporary) / "one", Path(temporary) / "two"
        prepare(arguments.data, single, changes)
        prepare(arguments.data, double, changes)
        for stage in STAGES:
            one, two = train_stage(single, stage, []), train_stage(double, stage, TORCHRUN)
            shutil.copy(single / "models" / f"{stage}.pt", double / "models")
            losses[stage] = {"one": one, "two": two}
            table = relative_differences(one, two).map("{:.1e}".format)
            print(f"{stage}, {len(one)} steps", table, sep="\n", flush=True)
    plot(losses).save(arguments.out)


if __name__ == "__main__":
    main()
