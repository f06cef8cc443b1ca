"""Report the progress of a training: its log, a few selfies that are stylized repeatedly, and validation."""

import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from portraitist.core.files import write_file
from portraitist.core.image_io import encode_jpeg
from portraitist.core.training_log import SAMPLES_FILE, TrainingLog
from portraitist.learning.method import Losses, Method, Trainable
from portraitist.learning.optim import mean_losses
from portraitist.learning.tensors import Images, Masks, to_pictures
from portraitist.train.validation import Validator

MAX_ROWS = 200  # largest number of rows in the log for each loss term
NUM_COLUMNS = 8  # number of times that the sample selfies are stylized; the last time is after the last epoch


def memory_mb() -> float:
    """Return the peak memory of this process in MB.

    With a GPU, this is the memory that torch allocated on the GPU; one MB is 1,000,000 bytes.

    Without a GPU, it is the resident memory of the process; one MB is 1,000,000 bytes on macOS, and 1,024,000 bytes
    (1000 KiB) on Linux.
    """
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)  # in bytes on macOS, in KiB on Linux


class SampleStrip:
    """A few selfies that the method stylizes at several points of its training.

    Args:
        selfies: the selfies, in [-1, 1].
        masks: masks of the persons, in [0, 1].
        epochs: number of epochs of the training.
    """

    def __init__(self, selfies: Images, masks: Masks, epochs: int) -> None:
        self.selfies, self.masks = selfies, masks
        self.due = {epochs * (column + 1) // NUM_COLUMNS for column in range(NUM_COLUMNS)}
        self.columns = {0: _to_bytes(selfies)}  # uint8 images by epoch; epoch 0 has the unchanged selfies

    def paint(self, method: Method, epoch: int) -> None:
        """Stylize and store the selfies after an epoch, unless they are already stored for this epoch."""
        if epoch not in self.columns:
            device = next(method.parameters()).device
            self.columns[epoch] = _to_bytes(method.paint(self.selfies.to(device), self.masks.to(device)))

    def write(self, path: Path) -> None:
        """Write a JPEG grid with one row per selfie: first the unchanged selfie, then one column per stored epoch."""
        columns = [np.concatenate(list(self.columns[epoch].numpy())) for epoch in sorted(self.columns)]
        write_file(path, encode_jpeg(np.concatenate(columns, axis=1)))


class Monitor:
    """Write the log and the samples of a running training to a folder; used by the process with rank 0 only.

    Args:
        folder: folder of the log and of the stylized samples.
        num_steps: number of training steps in total. The log has at most 200 rows of losses; each is a mean over
            consecutive steps.
        samples: selfies that are stylized every few epochs; ignored if the trained model is no `Method`.
        validator: measures the method every few epochs, and selects its weights.

    Attributes:
        epoch: number of the last finished epoch, from 1; after `finish`, the epoch whose weights were selected.
        stop: whether the training must end after this epoch.
    """

    def __init__(
        self, folder: Path, num_steps: int, samples: SampleStrip | None = None, validator: Validator | None = None
    ) -> None:
        self.folder, self.samples, self.validator = folder, samples, validator
        self.steps_per_row = -(-num_steps // MAX_ROWS)
        self.step = self.epoch = 0
        self.pending: list[Losses] = []  # losses of the steps after the last row
        self.stop = False  # whether the training must end after this epoch

    def start(self, state: dict[str, Any] | None) -> None:
        """Start an empty log, or continue the log of an interrupted training.

        Args:
            state: None starts an empty log. To continue the log of an interrupted training, pass the dictionary that
                `Monitor.state` returned when the training was last saved. Rows that were added to the log after that
                time are then removed.
        """
        if state:
            self.step, self.pending = state["step"], state["pending"]
            if self.samples:
                self.samples.columns = state["samples"]
            if self.validator:
                self.validator.best = state["best"]
        self.log = TrainingLog(self.folder, state["rows"] if state else None)
        self._write_samples()
        self.first_step, self.start_time = self.step, time.monotonic()

    def state(self) -> dict[str, Any]:
        """Return the state from which `start` continues the log."""
        return {
            "step": self.step,
            "pending": self.pending,
            "rows": self.log.rows,
            "samples": self.samples.columns if self.samples else {},
            "best": self.validator.best if self.validator else None,
        }

    def after_step(self, losses: Losses) -> None:
        """Count a step, and add a row of mean losses to the log if one is due.

        Methods that train no weights have no losses, and their logs have no rows.
        """
        self.step += 1
        if losses:
            self.pending.append(losses)
        if self.step % self.steps_per_row == 0:
            self._add_row()

    def after_epoch(self, trainable: Trainable, epoch: int) -> None:
        """Stylize the samples, and validate the method, each only in the epochs in which it is due.

        Set `stop` if the kernel distance has not improved for `train.patience` epochs.
        """
        self.epoch = epoch
        if not isinstance(trainable, Method) or not (self.pending or self.log.rows):  # without losses, nothing changes
            return
        if self.samples and epoch in self.samples.due:
            self.samples.paint(trainable, epoch)
            self._write_samples()
        if self.validator and self.validator.due(epoch):
            self.log.add(self.step, self.validator.measure(trainable, epoch))
            self.stop = self.validator.is_stalled(epoch)

    def finish(self, trainable: Trainable) -> None:
        """Write the rest of the log. Load the weights that the validator selected, and set `epoch` to their epoch."""
        self._add_row()
        if self.validator:
            self.epoch = self.validator.load_selected(trainable) or self.epoch
        if self.samples and isinstance(trainable, Method):
            self.samples.paint(trainable, self.epoch)
            self._write_samples()

    def summary(self, batch_size: int) -> str:
        """Return a line with speed and peak memory. The log has neither, so that equal trainings write equal logs."""
        seconds, steps = time.monotonic() - self.start_time, self.step - self.first_step
        rate = steps * batch_size / max(seconds, 1e-9)
        return f"{steps} steps in {seconds:.0f} s, {rate:.3g} images/s, peak memory {memory_mb():.0f} MB"

    def _add_row(self) -> None:
        if self.pending:
            self.log.add(self.step, mean_losses(self.pending))
            self.pending = []

    def _write_samples(self) -> None:
        if self.samples and len(self.samples.columns) > 1:
            self.samples.write(self.folder / SAMPLES_FILE)


def _to_bytes(images: Images) -> torch.Tensor:
    return torch.from_numpy(np.stack(to_pictures(images)))
