"""Show the progress of a training: a log with one row per step, and sample selfies that are stylized repeatedly."""

import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch

from portraitist.core.image_io import encode_jpeg
from portraitist.learning.method import Losses, Method, Trainable
from portraitist.learning.tensors import Images, Masks, to_pictures

NUM_COLUMNS = 8  # number of times that the samples are stylized; the last time is after the last epoch


def memory_mb() -> float:
    """Return the peak memory of this process in MB: of the GPU if there is one, else of the CPU."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)  # macOS counts bytes, Linux kilobytes


class LiveLog:
    """A CSV file with one row per step. It is not an output of the pipeline, because timings differ in every run."""

    def __init__(self, path: Path, first: int) -> None:
        """Open or create the log; rows of an interrupted run are kept up to step `first`, exclusive."""
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() and first else []
        path.write_text("".join(rows[: first + 1]), encoding="utf-8")
        self.path, self.step, self.last_time = path, first, time.monotonic()

    def add(self, epoch: int, losses: Losses, batch_size: int) -> None:
        """Append the row of a step that has just ended."""
        now = time.monotonic()
        row = {"step": self.step, "epoch": epoch, **losses}
        row |= {"images_per_s": batch_size / (now - self.last_time), "memory_mb": memory_mb()}
        with self.path.open("a", encoding="utf-8") as file:
            if file.tell() == 0:
                file.write(",".join(row) + "\n")
            file.write(",".join(f"{value:.6g}" if isinstance(value, float) else str(value) for value in row.values()))
            file.write("\n")
        self.step, self.last_time = self.step + 1, now


class SampleStrip:
    """A few selfies, stylized by the method at several points of its training."""

    def __init__(self, selfies: Images, masks: Masks, epochs: int) -> None:
        self.selfies, self.masks = selfies, masks
        self.due = {epochs * (column + 1) // NUM_COLUMNS for column in range(NUM_COLUMNS)}
        self.columns = {0: _to_bytes(selfies)}  # by epoch; 0 are the selfies

    def paint(self, trainable: Trainable, epoch: int) -> None:
        """Add a column if one is due after this epoch and the trainable can paint."""
        if epoch in self.due and isinstance(trainable, Method):
            device = next(trainable.parameters()).device
            self.columns[epoch] = _to_bytes(trainable.paint(self.selfies.to(device), self.masks.to(device)))

    def write(self, path: Path) -> None:
        """Write a JPEG grid: one row per selfie, one column per epoch, the unchanged selfies in the first one."""
        columns = [np.concatenate(list(column.numpy())) for column in self.columns.values()]
        path.write_bytes(encode_jpeg(np.concatenate(columns, axis=1)))


def _to_bytes(images: Images) -> torch.Tensor:
    return torch.from_numpy(np.stack(to_pictures(images)))
