"""The training loop of all methods: device, seed, progress, logs and resuming. The methods define the loss terms."""

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
from portraitist.learning.checkpoint import save_checkpoint
from portraitist.learning.dataset import DatasetPaths
from portraitist.learning.distributed import DistributedError
from portraitist.learning.method import Losses, Trainable, UpstreamModels
from portraitist.learning.optim import DivergedError, mean_losses
from portraitist.learning.registry import build
from portraitist.train.batches import EpochBatches, prefetch, validation_samples
from portraitist.train.import_closure import import_closure, module_file
from portraitist.train.monitor import LiveLog, SampleStrip
from portraitist.train.params import ScheduleParams
from portraitist.train.resume import Checkpointer, fingerprint

NUM_SAMPLES = 4  # selfies of the sample strip
PACKAGE = Path(__file__).parents[1]


def get_device() -> torch.device:
    """Return this process's GPU, or the CPU if there is no GPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global generator (initial weights, dropout) inside the context, and restore it afterwards."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


@dataclass(frozen=True)
class TrainingTask:
    """One training of the pipeline and everything that its result depends on."""

    method: str
    settings: dict[str, Any]
    schedule: ScheduleParams
    augment: AugmentParams
    diverse: bool  # composite portraits with backgrounds, too
    paths: DatasetPaths
    upstream: UpstreamModels
    upstream_files: tuple[Path, ...]  # the weights of `upstream`
    pairs: dict[str, str] | None = None  # portrait id of each selfie id, for methods that need pairs

    def fingerprint(self) -> str:
        """Return a hash of everything that the result depends on: parameters, data, upstream models and code."""
        schedule, augment = self.schedule.model_dump(), self.augment.model_dump()
        settings = [self.method, self.settings, schedule, augment, self.diverse, self.pairs]
        data = [self.paths.crops, self.paths.masks, self.paths.split, self.paths.recipes]
        return fingerprint(settings, [*self.code_files(), *data, *self.upstream_files])

    def code_files(self) -> list[Path]:
        """Return all source files that the training runs: loop, method, upstream networks, and what they import."""
        packages = {PACKAGE.name: PACKAGE}
        networks = (self.upstream.features, self.upstream.generator, self.upstream.segmenter)
        modules = {type(layer).__module__ for network in networks if network for layer in network.modules()}
        upstream = [file for name in modules if (file := module_file(name, packages))]
        entry_points = [PACKAGE / "train" / "loop.py", PACKAGE / "methods" / f"{self.method}.py", *upstream]
        return sorted(import_closure(entry_points, packages))


def train_or_exit(
    task: TrainingTask, metadata: dict[str, Any], dest: Path, log: Path, sample_strip: Path | None = None
) -> None:
    """Run a training, or resume an interrupted one; write the model, its log and a sample strip.

    Errors that a user can fix end the process with one line and exit code 1. Of several processes, only rank 0 writes.
    """
    schedule = task.schedule
    try:
        with distributed.process_group():
            batches = EpochBatches(
                task.paths,
                task.augment,
                batch_size=schedule.batch_size,
                seed=schedule.seed,
                diverse=task.diverse,
                pairs=task.pairs,
            )
            samples = SampleStrip(*validation_samples(task.paths, NUM_SAMPLES), schedule.epochs)
            live_log = log.with_suffix(LIVE_SUFFIX)
            is_main = distributed.rank() == 0
            with Checkpointer(dest.stem, task.fingerprint()) if is_main else nullcontext() as checkpointer:
                trainable, epoch_losses = train(
                    task.method, task.settings, batches, task.upstream, schedule, checkpointer, samples, live_log
                )
                if checkpointer:
                    metadata = metadata | {"epochs": schedule.epochs, "seed": schedule.seed}
                    save_checkpoint(dest, task.method, task.settings, trainable, metadata)
                    write_log(epoch_losses, log)
                    if sample_strip:
                        samples.write(sample_strip)
    except (LockedError, DivergedError, ParamsError, DistributedError) as error:
        sys.exit(f"{dest.stem}: {error}")


def train(
    method: str,
    params: dict[str, Any],
    batches: EpochBatches,
    upstream: UpstreamModels,
    schedule: ScheduleParams,
    checkpointer: Checkpointer | None = None,
    samples: SampleStrip | None = None,
    live_log: Path | None = None,
) -> tuple[Trainable, list[Losses]]:
    """Train a method; return it with the mean losses of each epoch. On a CPU, equal seeds give equal bits.

    With a `checkpointer`, training resumes from the saved state, if there is one, and ends with the same bits as an
    uninterrupted run. A column is added to `samples` every few epochs, and a row to the file `live_log` after each
    step.

    Raises:
        ParamsError: the method does not exist, or does not accept `params`.
        DivergedError: a loss is not finite.
        DistributedError: a process is lost.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    # filling uninitialized memory costs time, and uninitialized memory is never read
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.set_num_threads(schedule.num_threads)
    torch.set_flush_denormal(True)  # Adam's moments decay to denormal numbers, with which CPUs are slow
    device = get_device()
    is_main = distributed.rank() == 0
    with seeded(schedule.seed):
        trainable = build(method, params, upstream)
        trainable.to(device)
        epoch_losses: list[Losses] = []
        step_losses: list[Losses] = []  # of the current epoch
        if state := distributed.broadcast(checkpointer.load() if checkpointer else None):
            epoch_losses, step_losses = state["epoch_losses"], state["step_losses"]
            _restore(trainable, upstream, state)
            if samples:
                samples.columns = state["samples"]
        if schedule.compile:
            for network in trainable.children():
                network.compile()
        steps_done = len(epoch_losses) * len(batches) + len(step_losses)
        live = LiveLog(live_log, steps_done) if live_log and is_main else None
        autocast = torch.autocast(device.type, torch.bfloat16, enabled=schedule.precision == "bfloat16")
        for epoch in range(len(epoch_losses), schedule.epochs):
            batches.start(epoch)
            trainable.start_epoch(epoch, schedule.epochs)
            upcoming = prefetch(batches, schedule.num_workers, first=len(step_losses))
            title = f"{method} {epoch + 1}/{schedule.epochs}"
            disable = None if is_main else True  # None: show the bar only on a terminal
            for batch in tqdm(upcoming, title, len(batches), initial=len(step_losses), disable=disable, leave=False):
                torch.manual_seed(step_seed(schedule.seed, epoch, len(step_losses)))
                with autocast:
                    step_losses.append(trainable.step(batch.to(device)))
                if live:
                    live.add(epoch + 1, step_losses[-1], schedule.batch_size)
                if checkpointer and checkpointer.due():
                    state = _state(trainable, upstream)
                    state |= {"epoch_losses": epoch_losses, "step_losses": step_losses}
                    checkpointer.save(state | {"samples": samples.columns if samples else {}})
            epoch_losses.append(mean_losses(step_losses))
            step_losses = []
            if samples and (
                epoch_losses[-1] or epoch + 1 == schedule.epochs
            ):  # a method without losses does not change
                samples.paint(trainable, epoch + 1)
    return trainable.to("cpu"), epoch_losses


def step_seed(seed: int, epoch: int, step: int) -> int:
    """Return the seed of one step's random draws in this process; it makes saving the generators' state unnecessary."""
    return int(np.random.SeedSequence([seed, epoch, step, distributed.rank()]).generate_state(1, np.uint64)[0])


def write_log(epoch_losses: list[Losses], path: Path) -> None:
    """Write the mean losses as CSV: one row per epoch, one column per term."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["epoch", *epoch_losses[0]])
        for epoch, losses in enumerate(epoch_losses, start=1):
            writer.writerow([epoch, *(f"{value:.6f}" for value in losses.values())])


def _trained_networks(trainable: Trainable, upstream: UpstreamModels) -> dict[str, nn.Module]:
    """Return the networks that training changes, without the upstream networks."""
    fixed = [network for network in (upstream.features, upstream.generator, upstream.segmenter) if network is not None]
    children = trainable.named_children()
    return {name: child for name, child in children if not any(child is network for network in fixed)}


def _optimizers(trainable: Trainable) -> dict[str, torch.optim.Optimizer]:
    return {name: value for name, value in vars(trainable).items() if isinstance(value, torch.optim.Optimizer)}


def _state(trainable: Trainable, upstream: UpstreamModels) -> dict[str, Any]:
    """Return all state that the next step depends on: networks and optimizers (the batch depends on the seed only)."""
    networks, optimizers = _trained_networks(trainable, upstream), _optimizers(trainable)
    return {
        "networks": {name: network.state_dict() for name, network in networks.items()},
        "optimizers": {name: optimizer.state_dict() for name, optimizer in optimizers.items()},
    }


def _restore(trainable: Trainable, upstream: UpstreamModels, state: dict[str, Any]) -> None:
    for name, network in _trained_networks(trainable, upstream).items():
        network.load_state_dict(state["networks"][name])
    for name, optimizer in _optimizers(trainable).items():
        optimizer.load_state_dict(state["optimizers"][name])
