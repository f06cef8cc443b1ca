"""The one training loop: device, seed, progress, log, going on after a kill. It never names a loss term."""

import csv
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from portraitist.augment.params import AugmentParams
from portraitist.core.files import LockedError
from portraitist.core.params import ParamsError
from portraitist.core.training_log import LIVE_SUFFIX
from portraitist.learning import distributed
from portraitist.learning.distributed import DistributedError
from portraitist.learning.optim import DivergedError, mean_losses
from portraitist.methods.base import Losses, Trainable, UpstreamModels
from portraitist.methods.registry import build
from portraitist.train.batches import DatasetPaths, EpochBatches, prefetch, validation_samples
from portraitist.train.checkpoint import save_checkpoint
from portraitist.train.monitor import LiveLog, SampleStrip
from portraitist.train.params import ScheduleParams
from portraitist.train.resume import Checkpointer, code_files, fingerprint

SAMPLES = 4  # selfies that are painted while a method learns


def device() -> torch.device:
    """The GPU if there is one; of several, torchrun's processes take one each."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's own draws (weights, dropout) start from the seed inside, and go on as before outside."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


@dataclass(frozen=True)
class TrainingTask:
    """One training of the pipeline: who learns, what it is told, how long, and from which files."""

    learner: str
    settings: dict[str, Any]
    schedule: ScheduleParams
    augment: AugmentParams
    diverse: bool  # portraits too stand on many backgrounds
    folders: DatasetPaths
    parts: tuple[Path, ...]  # the files that `given` was read from
    pairs: dict[str, str] | None = None  # each selfie's own portrait, for those who learn from pairs

    def fingerprint(self) -> str:
        """Of all that the result depends on: params, data, earlier models, code."""
        schedule, augment = self.schedule.model_dump(), self.augment.model_dump()
        told = [self.learner, self.settings, schedule, augment, self.diverse, self.pairs]
        read = [self.folders.crops, self.folders.masks, self.folders.split, self.folders.recipes]
        return fingerprint(told, [*code_files(), *read, *self.parts])


def train_or_exit(
    task: TrainingTask, given: UpstreamModels, about: dict[str, Any], dest: Path, log: Path, shown: Path | None = None
) -> None:
    """Train, or go on where a killed run was; save the model with what is said about it, its log, what it painted.

    What cannot be done, or is another run's, is one line and exit code 1. Of several processes, rank 0 alone writes.
    """
    schedule = task.schedule
    try:
        with distributed.process_group():
            order = {"batch": schedule.batch, "seed": schedule.seed}
            steps = EpochBatches(task.folders, task.augment, **order, diverse=task.diverse, pairs=task.pairs)
            samples = SampleStrip(*validation_samples(task.folders, SAMPLES), schedule.epochs)
            live = log.with_suffix(LIVE_SUFFIX)
            with Checkpointer(dest.stem, task.fingerprint()) if distributed.rank() == 0 else nullcontext() as resume:
                learner, terms = train(task.learner, task.settings, steps, given, schedule, resume, samples, live)
                if resume:
                    told = about | {"epochs": schedule.epochs, "seed": schedule.seed}
                    save_checkpoint(dest, task.learner, task.settings, learner, told)
                    write_log(terms, log)
                    if shown:
                        samples.write(shown)
    except (LockedError, DivergedError, ParamsError, DistributedError) as error:
        sys.exit(f"{dest.stem}: {error}")


def train(
    name: str,
    params: dict[str, Any],
    steps: EpochBatches,
    given: UpstreamModels,
    schedule: ScheduleParams,
    resume: Checkpointer | None = None,
    samples: SampleStrip | None = None,
    live: Path | None = None,
) -> tuple[Trainable, list[Losses]]:
    """The learner `name` after the schedule's epochs, and each epoch's mean terms. On a CPU, equal seeds, equal bits.

    With `resume` it goes on from the state that was kept last, and ends with the bits of a run that was never killed.
    Meanwhile it paints `samples`, and writes a row a step to `live`.

    Raises:
        ParamsError: As `build`.
        DivergedError: As `descend`.
        RanksError: A process is lost.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # none of it is read
    torch.set_num_threads(schedule.threads)
    torch.set_flush_denormal(True)  # a GAN's moments fade into numbers that a CPU is slow at
    where = device()
    with seeded(schedule.seed):
        learner = build(name, params)
        learner.setup(given)
        learner.to(where)
        log: list[Losses] = []
        rows: list[Losses] = []  # of the epoch's steps
        if state := distributed.broadcast(resume.last() if resume else None):
            log, rows = state["log"], state["rows"]
            _restore(learner, given, state)
            if samples:
                samples.columns = state["samples"]
        if schedule.compile:
            for net in learner.children():
                net.compile()
        rowwise = LiveLog(live, len(log) * len(steps) + len(rows)) if live and distributed.rank() == 0 else None
        reckoning = torch.autocast(where.type, torch.bfloat16, enabled=schedule.precision == "bfloat16")
        for epoch in range(len(log), schedule.epochs):
            steps.start(epoch)
            learner.start_epoch(epoch, schedule.epochs)
            coming = prefetch(steps, schedule.loader_workers, first=len(rows))
            title = f"{name} {epoch + 1}/{schedule.epochs}"
            unseen = None if distributed.rank() == 0 else True  # none: on a terminal only
            for batch in tqdm(coming, title, len(steps), initial=len(rows), disable=unseen, leave=False):
                torch.manual_seed(step_seed(schedule.seed, epoch, len(rows)))
                with reckoning:
                    rows.append(learner.step(batch.to(where)))
                if rowwise:
                    rowwise.add(epoch + 1, rows[-1], steps.batch)
                if resume and resume.due():
                    shown = samples.columns if samples else {}
                    resume.keep(_state(learner, given) | {"log": log, "rows": rows, "samples": shown})
            log.append(mean_losses(rows))
            rows = []
            if samples and (log[-1] or epoch + 1 == schedule.epochs):  # what learns nothing paints the same all along
                samples.paint(learner, epoch + 1)
    return learner.to("cpu"), log


def step_seed(seed: int, epoch: int, step: int) -> int:
    """A seed of this step's own draws, so that no state of chance is ever kept; each process draws otherwise."""
    return int(np.random.SeedSequence([seed, epoch, step, distributed.rank()]).generate_state(1, np.uint64)[0])


def _own(learner: Trainable, given: UpstreamModels) -> dict[str, nn.Module]:
    """The networks that change while the learner learns: not those that earlier stages made."""
    made = [part for part in (given.features, given.generator, given.segmenter) if part is not None]
    return {name: net for name, net in learner.named_children() if not any(net is part for part in made)}


def _optimizers(learner: Trainable) -> dict[str, torch.optim.Optimizer]:
    return {name: each for name, each in vars(learner).items() if isinstance(each, torch.optim.Optimizer)}


def _state(learner: Trainable, given: UpstreamModels) -> dict[str, Any]:
    """All that the next step depends on beside its batch and its own chance: networks and optimizers."""
    return {
        "networks": {name: net.state_dict() for name, net in _own(learner, given).items()},
        "optimizers": {name: each.state_dict() for name, each in _optimizers(learner).items()},
    }


def _restore(learner: Trainable, given: UpstreamModels, state: dict[str, Any]) -> None:
    for name, net in _own(learner, given).items():
        net.load_state_dict(state["networks"][name])
    for name, each in _optimizers(learner).items():
        each.load_state_dict(state["optimizers"][name])


def write_log(log: list[Losses], path: Path) -> None:
    """The log as CSV: a row an epoch, a column a term."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["epoch", *log[0]])
        rows.writerows([epoch + 1, *(f"{value:.6f}" for value in terms.values())] for epoch, terms in enumerate(log))
