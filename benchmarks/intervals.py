"""Are the intervals honest? Two halves of one set differ by chance alone: 95 of 100 intervals should hold zero.

    python -m benchmarks.intervals data/paint/masked_cartoongan --splits 100

Splits what one method painted in two, as if two methods had painted the halves, and counts for every metric how many of
the intervals of the difference, as stage compare makes them, hold zero.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from portraitist.core.params import load
from portraitist.crop.params import CropParams
from portraitist.evaluate import run
from portraitist.evaluate.params import EvaluateParams
from portraitist.evaluate.registry import Evidence, Measure, mean_over_faces, metrics
from portraitist.stats.bootstrap import paired_difference
from portraitist.train.batches import DatasetPaths

NETS = run.Nets(Path("models/mask.pt"), Path("models/pretrained"), Path("data/local/identity"))


def half_of(evidence: Evidence, faces: np.ndarray) -> Evidence:
    """The evidence of some faces only, its features those that are known already."""
    kept = {
        key: features[faces] if key[1] in ("painted", "selfies") else features
        for key, features in evidence.kept.items()
        if isinstance(key, tuple)
    }
    return replace(evidence, ids=[evidence.ids[face] for face in faces], kept=kept)


def coverage(evidence: Evidence, found: dict[str, Measure], splits: int) -> dict[str, int]:
    """Of each metric, how many splits' intervals hold zero."""
    held = {name: 0 for name, measure in found.items() if measure.draws is not None}
    known = metrics(evidence.networks)
    for split in range(splits):
        order = np.random.default_rng([evidence.seed, split]).permutation(len(evidence.ids))
        size = len(order) // 2
        halves = order[:size], order[size : 2 * size]
        for name in held:
            each = found[name].each
            one, other = (
                mean_over_faces(each[faces], evidence)
                if each is not None
                else known[name].measure(half_of(evidence, faces))
                for faces in halves
            )
            assert one.draws is not None and other.draws is not None
            low, high = paired_difference(one.value, one.draws, other.value, other.draws, size)[1:3]
            held[name] += low <= 0 <= high
    return held


def main() -> None:
    """A line a metric."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paint", type=Path)
    parser.add_argument("--splits", type=int, default=100)
    told = parser.parse_args()
    folders = DatasetPaths(*map(Path, ("data/crop", "data/mask", "data/split.csv", "data/augment/recipes.csv")))
    params, frame = load(EvaluateParams, "evaluate"), load(CropParams, "crop")
    evidence = run.gather(params, frame, run.painted_by(told.paint), folders, NETS)
    held = coverage(evidence, run.measured(evidence), told.splits)
    print(
        f"{told.paint.name}: halves of {len(evidence.ids) // 2} faces, {told.splits} splits, {params.bootstrap} draws"
    )
    for name, count in held.items():
        print(f"{name:32s} {count:4d} of {told.splits}")


if __name__ == "__main__":
    main()
