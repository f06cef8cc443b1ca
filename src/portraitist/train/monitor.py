"""What a person sees of a training: a row a step while it runs, and the same few selfies, painted every so often."""

import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch

from portraitist.core.image_io import encode_jpeg
from portraitist.learning.tensors import Images, Masks, to_pictures
from portraitist.methods.base import Losses, Method, Trainable
from portraitist.reporting.contact_sheet import contact_sheet

LIVE_SUFFIX = ".live.csv"  # how the name of a log ends that is written while a training runs
WIDEST_PX = 128
PAINTED = 8  # times that the selfies are painted, the last one when the training ends


def memory_mb() -> float:
    """The most that this process has taken so far: of the GPU's memory, if there is one."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return taken / (1e6 if sys.platform == "darwin" else 1e3)  # bytes there, kilobytes elsewhere


class LiveLog:
    """A CSV with a row a step, to be watched. No out of the pipeline: its seconds are never the same again."""

    def __init__(self, path: Path, first: int) -> None:
        """The rows from step `first` on are yet to come; those of a run that was killed are kept up to there."""
        path.parent.mkdir(parents=True, exist_ok=True)
        known = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() and first else []
        path.write_text("".join(known[: first + 1]), encoding="utf-8")
        self.path, self.step, self.at = path, first, time.monotonic()

    def add(self, epoch: int, terms: Losses, pictures: int) -> None:
        """One step is done."""
        now = time.monotonic()
        row = {"step": self.step, "epoch": epoch, **terms}
        row |= {"images_per_s": pictures / (now - self.at), "memory_mb": memory_mb()}
        with self.path.open("a", encoding="utf-8") as file:
            if file.tell() == 0:
                file.write(",".join(row) + "\n")
            file.write(",".join(f"{value:.6g}" if isinstance(value, float) else str(value) for value in row.values()))
            file.write("\n")
        self.step, self.at = self.step + 1, now


class SampleStrip:
    """A few selfies and what a training has painted of them so far: how it came to paint as it does."""

    def __init__(self, selfies: Images, masks: Masks, epochs: int) -> None:
        self.selfies, self.masks = selfies, masks
        self.due = {epochs * (turn + 1) // PAINTED for turn in range(PAINTED)}
        self.columns = {0: _bytes(selfies)}  # by epoch

    def paint(self, learner: Trainable, epoch: int) -> None:
        """Add a column, if this epoch's is to be shown and the learner is one that paints."""
        if epoch in self.due and isinstance(learner, Method):
            where = next(learner.parameters()).device
            self.columns[epoch] = _bytes(learner.paint(self.selfies.to(where), self.masks.to(where)))

    def write(self, path: Path) -> None:
        """A row a selfie, a column an epoch, as a JPEG."""
        labels = ["selfie", *(f"epoch {epoch}" for epoch in list(self.columns)[1:])]
        rows = [[column[row].numpy() for column in self.columns.values()] for row in range(len(self.selfies))]
        path.write_bytes(encode_jpeg(contact_sheet(rows, labels, min(rows[0][0].shape[0], WIDEST_PX))))


def _bytes(images: Images) -> torch.Tensor:
    return torch.from_numpy(np.stack(to_pictures(images)))
