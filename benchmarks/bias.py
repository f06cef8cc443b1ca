"""Measure how much the Frechet distance is overestimated if there are few pictures.

The features are drawn from two Gaussians in many dimensions, whose true distance is known.

python -m benchmarks.bias --features 1280 --pictures 34 311 3000
"""

import argparse

import numpy as np

from portraitist.evaluate.distances import extrapolated_frechet_distance, frechet_distance
from portraitist.learning.realism import kernel_distance

ROUNDS = 5


def feature_deviations(features: int) -> np.ndarray:
    """Return standard deviations that decrease as 1/k, like those of real features; their squares sum to one."""
    deviations = 1 / np.arange(1, features + 1)
    return deviations / np.linalg.norm(deviations)


def main() -> None:
    """Print the true distance and the estimates for each number of pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=1280)
    parser.add_argument("--pictures", type=int, nargs="+", default=[34, 311, 3000])
    args = parser.parse_args()
    deviations = feature_deviations(args.features)
    shift = 0.2 * deviations  # of the second set's mean; its standard deviations are larger by a tenth
    truth = float((shift**2).sum() + ((0.1 * deviations) ** 2).sum())
    for count in args.pictures:
        rng, rows = np.random.default_rng(count), []
        for _ in range(ROUNDS):
            a = rng.normal(0, deviations, (count, args.features))
            b = rng.normal(shift, 1.1 * deviations, (count, args.features))
            rows.append((frechet_distance(a, b), extrapolated_frechet_distance(a, b), kernel_distance(a, b)))
        frechet, extrapolated, kernel = np.mean(rows, axis=0)
        print(
            f"{count:5d} pictures, {args.features} features: truth {truth:.4f}, Frechet {frechet:.4f}, "
            f"extrapolated {extrapolated:.4f}, kernel {kernel:.3g}",
            flush=True,
        )


if __name__ == "__main__":
    main()
