"""Measure the coverage of the confidence intervals: how many of them contain the true value; it should be 95 %.

    python -m benchmarks.intervals data/paint/masked_cartoongan --splits 100

The stylized selfies of one method are split into random halves, as if they came from two methods. The true difference
of the halves is 0. For each metric, the benchmark counts the intervals of the difference that contain 0; intervals
without a width are left out. The intervals are bootstrap intervals as in stage compare, but both halves have different
faces, and for means that depend on the portraits, only faces are resampled. Shares of faces are left out, because their
differences have no bootstrap intervals.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.paths import DATASET, MODELS, SELFIE_RESULTS
from portraitist.core.params import load
from portraitist.crop.params import CropParams
from portraitist.evaluate import run
from portraitist.evaluate.data import EvaluationData
from portraitist.evaluate.params import EvaluateParams
from portraitist.evaluate.registry import Measurement, available_metrics, mean_over_faces
from portraitist.stats.bootstrap import paired_difference


def subset(data: EvaluationData, faces: np.ndarray) -> EvaluationData:
    """Return the data of some faces, including their cached features; images are not subset."""
    cache = {
        key: features[faces] if key[1] in ("stylized", "selfies") else features
        for key, features in data.cache.items()
        if isinstance(key, tuple)
    }
    return replace(data, ids=[data.ids[face] for face in faces], cache=cache)


def coverage(data: EvaluationData, measurements: dict[str, Measurement], splits: int) -> dict[str, tuple[int, int]]:
    """Return for each metric the number of intervals that contain zero, and the number of intervals with a width."""
    counts = {
        name: (0, 0)
        for name, measurement in measurements.items()
        if measurement.draws is not None and measurement.details.get("interval") != "Wilson"
    }
    metrics = available_metrics(data.networks)
    for split in range(splits):
        order = np.random.default_rng([data.seed, split]).permutation(len(data.ids))
        size = len(order) // 2
        halves = order[:size], order[size : 2 * size]
        for name, (covered, counted) in counts.items():
            per_face = measurements[name].per_face
            a, b = (
                mean_over_faces(per_face[faces], data)
                if per_face is not None
                else metrics[name].measure(subset(data, faces))
                for faces in halves
            )
            assert a.draws is not None and b.draws is not None
            difference = paired_difference(a.value, a.draws, b.value, b.draws, size)
            if difference.low < difference.high:
                counts[name] = (covered + (difference.low <= 0 <= difference.high), counted + 1)
    return counts


def main() -> None:
    """Print the coverage of each metric."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stylized", type=Path, help="output folder of stage paint")
    parser.add_argument("--splits", type=int, default=100)
    args = parser.parse_args()
    params, crop_params = load(EvaluateParams, "evaluate"), load(CropParams, "crop")
    data = run.load_data(params, crop_params, run.stylized_by_method(args.stylized, SELFIE_RESULTS), DATASET, MODELS)
    counts = coverage(data, run.measure_all(data), args.splits)
    print(f"{args.stylized.name}: halves of {len(data.ids) // 2} faces, {args.splits} splits, {params.bootstrap} draws")
    for name, (covered, counted) in counts.items():
        print(f"{name:32s} {covered:4d} of {counted}")


if __name__ == "__main__":
    main()
