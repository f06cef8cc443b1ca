"""What preparing a training's pictures costs, with 0, 1 and 2 worker processes.

    dvc repro augment && python -m benchmarks.loader

CPU milliseconds a picture, of the training process and of its workers; pictures a second by the clock.
"""

import resource
import time
from pathlib import Path

import torch

from portraitist.augment.params import AugmentParams
from portraitist.core.params import load
from portraitist.crop.params import CropParams
from portraitist.train.batches import DatasetPaths, EpochBatches, prefetch

EPOCHS = 3


def children_s() -> float:
    """CPU seconds of the processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """A line for each stage's way of loading and each number of workers."""
    torch.set_num_threads(1)
    folders = DatasetPaths(*map(Path, ("data/crop", "data/mask", "data/split.csv", "data/augment/recipes.csv")))
    augment, side = load(AugmentParams, "augment"), load(CropParams, "crop").size_px
    print(f"| {side} px | workers | ms here | ms in workers | pictures/s |\n|:--|--:|--:|--:|--:|")
    for title, batch, diverse in (("stage 3, batch 1", 1, False), ("stage 2, batch 4", 4, True)):
        for workers in range(3):
            steps = EpochBatches(folders, augment, batch=batch, seed=1, diverse=diverse)
            own, others, clock, pictures = time.process_time(), children_s(), time.monotonic(), 0
            for epoch in range(EPOCHS):
                steps.start(epoch)
                pictures += sum(2 * len(each.selfies) for each in prefetch(steps, workers))
            here, there = time.process_time() - own, children_s() - others
            rate = pictures / (time.monotonic() - clock)
            print(f"| {title} | {workers} | {here / pictures * 1e3:.1f} | {there / pictures * 1e3:.1f} | {rate:.0f} |")


if __name__ == "__main__":
    main()
