"""What a Frechet distance says of few pictures where the truth is known: two Gaussians in many dimensions.

python -m benchmarks.bias --features 1280 --pictures 34 311 3000
"""

import argparse

import numpy as np

from portraitist.evaluate._frechet import extrapolated, frechet
from portraitist.evaluate._kernel import kernel

ROUNDS = 5


def spectrum(features: int) -> np.ndarray:
    """Deviations that fall as those of real features do, so that their squares sum to one."""
    falling = 1 / np.arange(1, features + 1)
    return falling / np.linalg.norm(falling)


def main() -> None:
    """A line for each number of pictures: the truth, the distance as it is, and as extrapolated."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=int, default=1280)
    parser.add_argument("--pictures", type=int, nargs="+", default=[34, 311, 3000])
    told = parser.parse_args()
    deviations = spectrum(told.features)
    moved = 0.2 * deviations  # of the second set's mean; its deviations are a tenth larger
    truth = float((moved**2).sum() + ((0.1 * deviations) ** 2).sum())
    for count in told.pictures:
        rng, found = np.random.default_rng(count), []
        for _ in range(ROUNDS):
            one = rng.normal(0, deviations, (count, told.features))
            other = rng.normal(moved, 1.1 * deviations, (count, told.features))
            found.append((frechet(one, other), extrapolated(one, other), kernel(one, other)))
        raw, without_end, distance = np.mean(found, axis=0)
        print(
            f"{count:5d} pictures, {told.features} features: truth {truth:.4f}, Frechet {raw:.4f}, "
            f"extrapolated {without_end:.4f}, kernel {distance:.3g}",
            flush=True,
        )


if __name__ == "__main__":
    main()
