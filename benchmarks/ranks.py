"""Two processes beside one, at equal batches of two: each stage's loss, step by step, laid over each other.

    dvc repro augment && python -m benchmarks.ranks -o ranks.png

By the stages' own commands, the second time under torchrun, with gloo. Stage 3 begins at the same models both times.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import pandas as pd
from PIL import Image, ImageDraw

from benchmarks.kills import ROOT, STAGES, prepare, run

LENGTH = {"train_generator": {"epochs": 2}, "train_mask": {"epochs": 4}, "train": {"epochs": 4}}
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
NO_TERMS = ["step", "epoch", "images_per_s", "memory_mb"]
WIDTH, HEIGHT, GAP = 520, 150, 24
COLOURS = {"one": "#2a7de1", "two": "#e1572a"}


def trained(here: Path, name: str, launch: list[str]) -> pd.DataFrame:
    """Run a stage; its terms, a row a step."""
    if run(here, *launch, "-m", *STAGES[name]).wait():
        sys.exit(f"{name} failed in {here}")
    log = next(Path(word) for word in STAGES[name] if word.endswith(".csv") and word.startswith("logs"))
    return pd.read_csv(here / log.with_suffix(".live.csv")).drop(columns=NO_TERMS)


def apart(one: pd.DataFrame, two: pd.DataFrame) -> pd.DataFrame:
    """By term, as shares of its mean: how far two curves are apart at first and on average; the means of their ends."""
    far, middle, last = (one - two).abs(), one.mean(), len(one) * 3 // 4
    means = (one[last:].mean() - two[last:].mean()).abs() / middle
    return pd.DataFrame({"first step": far.iloc[0] / middle, "mean": far.mean() / middle, "last quarter's mean": means})


def drawn(found: dict[str, dict[str, pd.DataFrame]]) -> Image.Image:
    """A panel for each term of each stage: one process thick, two on it thin."""
    panels = [(stage, term) for stage, curves in found.items() for term in curves["one"]]
    canvas = Image.new("RGB", (WIDTH + 2 * GAP, len(panels) * (HEIGHT + GAP) + GAP), "white")
    pen = ImageDraw.Draw(canvas)
    for row, (stage, term) in enumerate(panels):
        left, top = GAP, GAP + row * (HEIGHT + GAP)
        curves = {who: of[term] for who, of in found[stage].items()}
        low, high = min(of.min() for of in curves.values()), max(of.max() for of in curves.values())
        pen.rectangle((left, top, left + WIDTH, top + HEIGHT), outline="#ccc")
        pen.text((left, top - 14), f"{stage}: {term}, {low:.3g} to {high:.3g}", fill="black")
        for who, values in curves.items():
            places = [left + WIDTH * step / (len(values) - 1) for step in range(len(values))]
            heights = [top + HEIGHT * (high - value) / (high - low) for value in values]
            pen.line(list(zip(places, heights, strict=True)), fill=COLOURS[who], width=3 if who == "one" else 1)
    return canvas


def main() -> None:
    """The plot, and a line for each term of each stage."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--made", type=Path, default=ROOT, help="where the pipeline has prepared data")
    parser.add_argument("-o", "--out", type=Path, required=True)
    told = parser.parse_args()
    changed = {section: values | {"batch": 2} for section, values in LENGTH.items()}
    found: dict[str, dict[str, pd.DataFrame]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        alone, together = Path(scratch) / "one", Path(scratch) / "two"
        prepare(told.made, alone, changed)
        prepare(told.made, together, changed)
        for name in STAGES:
            one, two = trained(alone, name, []), trained(together, name, TORCHRUN)
            shutil.copy(alone / "models" / f"{name}.pt", together / "models")
            found[name] = {"one": one, "two": two}
            print(f"{name}, {len(one)} steps", apart(one, two).map("{:.1e}".format), sep="\n", flush=True)
    drawn(found).save(told.out)


if __name__ == "__main__":
    main()
