"""Measure the cost of loading training batches with 0, 1 and 2 worker processes.

    dvc repro augment && python -m benchmarks.loader

Prints the CPU time per picture in milliseconds, of the training process and of its workers, and the number of pictures
per second of wall time.
"""

import resource
import time

import torch

from benchmarks.paths import DATASET
from portraitist.augment.params import AugmentParams
from portraitist.core.params import load
from portraitist.crop.params import CropParams
from portraitist.train.batches import EpochBatches, prefetch

EPOCHS = 3


def children_cpu_s() -> float:
    """Return the CPU seconds of all child processes that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Print one row per training stage and number of workers."""
    torch.set_num_threads(1)
    augment, side = load(AugmentParams, "augment"), load(CropParams, "crop").size_px
    print(f"| {side} px | workers | ms here | ms in workers | pictures/s |\n|:--|--:|--:|--:|--:|")
    for title, batch_size, diverse in (("stage 3, batch 1", 1, False), ("stage 2, batch 4", 4, True)):
        for num_workers in range(3):
            batches = EpochBatches(DATASET, augment, batch_size=batch_size, seed=1, diverse=diverse)
            own_start, children_start = time.process_time(), children_cpu_s()
            wall_start, pictures = time.monotonic(), 0
            for epoch in range(EPOCHS):
                batches.start(epoch)
                pictures += sum(2 * len(batch.selfies) for batch in prefetch(batches, num_workers))
            own = (time.process_time() - own_start) / pictures * 1e3
            children = (children_cpu_s() - children_start) / pictures * 1e3
            rate = pictures / (time.monotonic() - wall_start)
            print(f"| {title} | {num_workers} | {own:.1f} | {children:.1f} | {rate:.0f} |")


if __name__ == "__main__":
    main()
