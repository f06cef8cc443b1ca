"""Seconds and memory for one avatar, from a selfie's bytes to the finished file's.

    python -m benchmarks.avatar [MODEL] [SELFIES]

Seconds depend on the machine, so they are no metric of the pipeline; operations and weights are (cost_gflop,
cost_megabytes).
"""

import argparse
import resource
import time
from pathlib import Path

import numpy as np

from portraitist.avatar import MODEL, Portraitist, RefusedError
from portraitist.look import Look, dressed, encoded

ROUNDS = 30


def main() -> None:
    """Median and 95th percentile of CPU seconds an avatar, and the process's peak memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, nargs="?", default=MODEL)
    parser.add_argument("selfies", type=Path, nargs="?", default=Path("data/sample/selfies"))
    told = parser.parse_args()
    portraitist, seconds = Portraitist.open(told.model, threads=1), []
    selfies = [path.read_bytes() for path in sorted(told.selfies.glob("*.jpg"))[: ROUNDS + 1]]
    for selfie in selfies:
        start = time.process_time()
        try:
            encoded(dressed(portraitist.paint(selfie), Look()), "PNG")
        except RefusedError:
            continue
        seconds.append(time.process_time() - start)
    middle, most = np.percentile(seconds[1:], [50, 95])  # the first one loads things
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{len(seconds) - 1} avatars: {middle:.3f} CPU s (95 % below {most:.3f}), {peak:.0f} MB at most")


if __name__ == "__main__":
    main()
