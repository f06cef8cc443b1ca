"""The training loop of all methods: device, seed, progress, logs and resuming. A method's `step` defines the losses."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from portraitist.augment.library import LIBRARY_FOLDER
from portraitist.augment.params import AugmentParams
from portraitist.core.files import LockedError
from portraitist.core.params import ParamsError
from portraitist.learning import distributed
from portraitist.learning.checkpoint import save_checkpoint
from portraitist.learning.dataset import DatasetPaths
from portraitist.learning.distributed import DistributedError
from portraitist.learning.method import Trainable, UpstreamModels
from portraitist.learning.optim import DivergedError
from portraitist.learning.registry import build
from portraitist.train.batches import EpochBatches, prefetch, validation_samples
from portraitist.train.import_closure import import_closure, module_file
from portraitist.train.monitor import Monitor, SampleStrip
from portraitist.train.params import ScheduleParams, TrainParams
from portraitist.train.resume import Checkpointer, fingerprint
from portraitist.train.validation import Validator, make_validator

NUM_SAMPLES = 4  # validation selfies that are stylized repeatedly during a training
PACKAGE = Path(__file__).parents[1]


def get_device() -> torch.device:
    """Return this process's GPU, or the CPU if there is no GPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's global random generators within the context; restore those of the CPU and of this process's GPU."""
    # without `devices`, fork_rng would initialize all GPUs in each process
    with torch.random.fork_rng([torch.cuda.current_device()] if torch.cuda.is_available() else []):
        torch.manual_seed(seed)
        yield


@dataclass(frozen=True)
class TrainingTask:
    """One training of the pipeline and everything that its result depends on."""

    method: str  # name of the method
    settings: dict[str, Any]  # values of all parameters of the method
    schedule: ScheduleParams
    augment: AugmentParams
    diverse: bool  # put portraits on other backgrounds, not only selfies
    paths: DatasetPaths
    upstream: UpstreamModels
    upstream_files: tuple[Path, ...]  # files and folders from which `upstream` was loaded
    pairs: dict[str, str] | None = None  # dictionary from selfie id to portrait id, for methods that need pairs

    def fingerprint(self) -> str:
        """Return a hash of everything that the result depends on: parameters, data, upstream models and source code."""
        schedule, augment = self.schedule.model_dump(), self.augment.model_dump()
        settings = [self.method, self.settings, schedule, augment, self.diverse, self.pairs]
        data = [self.paths.crops, self.paths.masks, self.paths.split, self.paths.recipes]
        library = self.paths.recipes.parent / LIBRARY_FOLDER
        backgrounds = [library] if library.is_dir() else []
        return fingerprint(settings, [*self.code_files(), *data, *backgrounds, *self.upstream_files])

    def code_files(self) -> list[Path]:
        """Return all source files that the training uses: loop, method, upstream networks, and what they import."""
        packages = {PACKAGE.name: PACKAGE}
        networks = (self.upstream.features, self.upstream.generator, self.upstream.segmenter)
        modules = {type(layer).__module__ for network in networks if network for layer in network.modules()}
        upstream = [file for name in modules if (file := module_file(name, packages))]
        entry_points = [PACKAGE / "train" / "loop.py", PACKAGE / "methods" / f"{self.method}.py", *upstream]
        return sorted(import_closure(entry_points, packages))

    def make_validator(self) -> Validator | None:
        """Return the validator of a method's training; None for stages `train_generator` and `train_mask`."""
        if not isinstance(self.schedule, TrainParams):
            return None
        return make_validator(self.paths, self.upstream.require_pretrained(), self.schedule, get_device())


def train_or_exit(task: TrainingTask, metadata: dict[str, Any], dest: Path, log: Path) -> None:
    """Run a training, or resume an interrupted one; write the model and the log.

    Errors that a user can fix end the process with one line and exit code 1. If there are several processes, only
    rank 0 writes files.

    Args:
        task: the training.
        metadata: values to store in the model file, such as the size of the face crops.
        dest: model file to write; its name without suffix identifies the training in messages.
        log: folder of the log.
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
            if distributed.rank() > 0:
                train(task.method, task.settings, batches, task.upstream, schedule)
                return
            with Checkpointer(dest.stem, task.fingerprint()) as checkpointer:
                samples = SampleStrip(*validation_samples(task.paths, NUM_SAMPLES), schedule.epochs)
                monitor = Monitor(log, schedule.epochs * len(batches), samples, task.make_validator())
                trainable = train(task.method, task.settings, batches, task.upstream, schedule, checkpointer, monitor)
                metadata = metadata | {"epochs": monitor.epoch, "seed": schedule.seed}
                save_checkpoint(dest, task.method, task.settings, trainable, metadata)
            print(f"{dest.stem}: {monitor.summary(schedule.batch_size)}")
    except (LockedError, DivergedError, ParamsError, DistributedError) as error:
        sys.exit(f"{dest.stem}: {error}")


def train(
    method: str,
    params: dict[str, Any],
    batches: EpochBatches,
    upstream: UpstreamModels,
    schedule: ScheduleParams,
    checkpointer: Checkpointer | None = None,
    monitor: Monitor | None = None,
) -> Trainable:
    """Train a method, and return it with all weights on the CPU.

    When a method is trained on a CPU, equal seeds give identical weights.

    Args:
        method: name of the method.
        params: values of all parameters of the method.
        batches: the training batches.
        upstream: outputs of earlier stages that the method needs.
        schedule: length of the training, and use of CPU and GPU.
        checkpointer: saves the state about once a minute. If there is a saved state, training resumes from it, and ends
            with the same weights and the same log as an uninterrupted run. Pass it in the process with rank 0 only.
        monitor: writes the log. It may also end the training early and select the weights of an earlier epoch. Pass
            it in the process with rank 0 only.

    Raises:
        ParamsError: the method does not exist, or does not accept `params`.
        DivergedError: a loss term is NaN or infinite.
        DistributedError: another process has stopped, or did not answer in time.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    # deterministic algorithms would fill new tensors with NaN; this takes time, and no tensor is read before it is set
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.set_num_threads(schedule.num_threads)
    torch.set_flush_denormal(True)  # Adam's moments decay to denormal numbers, which slow CPUs down
    device = get_device()
    with seeded(schedule.seed):
        trainable = build(method, params, upstream)
        trainable.to(device)
        steps_done = 0
        state = distributed.broadcast(checkpointer.load() if checkpointer else None)
        if state:
            steps_done = state["steps"]
            _restore(trainable, upstream, state)
        if monitor:
            monitor.start(state["monitor"] if state else None)
        if schedule.compile:
            for network in trainable.children():
                network.compile()
        autocast = torch.autocast(device.type, torch.bfloat16, enabled=schedule.precision == "bfloat16")
        # a state that was saved after the last step of an epoch resumes at the end of that epoch
        for epoch in range(max(0, steps_done - 1) // len(batches), schedule.epochs):
            batches.start(epoch)
            trainable.start_epoch(epoch, schedule.epochs)
            first = steps_done - epoch * len(batches)
            upcoming = prefetch(batches, schedule.num_workers, first)
            title = f"{method} {epoch + 1}/{schedule.epochs}"
            disable = None if distributed.rank() == 0 else True  # None: show the bar only on a terminal
            for batch in tqdm(upcoming, title, len(batches), initial=first, disable=disable, leave=False):
                torch.manual_seed(step_seed(schedule.seed, epoch, steps_done - epoch * len(batches)))
                with autocast:
                    losses = trainable.step(batch.to(device))
                steps_done += 1
                if monitor:
                    monitor.after_step(losses)
                if checkpointer and checkpointer.due():
                    state = _state(trainable, upstream) | {"steps": steps_done}
                    checkpointer.save(state | {"monitor": monitor.state() if monitor else None})
            if monitor:
                monitor.after_epoch(trainable, epoch + 1)
            if distributed.broadcast(monitor.stop if monitor else False):
                break
        if monitor:
            monitor.finish(trainable)
    return trainable.to("cpu")


def step_seed(seed: int, epoch: int, step: int) -> int:
    """Return the seed of one step's random draws in this process.

    Each step has its own seed, so that a saved training needs no state of the random generator.
    """
    return int(np.random.SeedSequence([seed, epoch, step, distributed.rank()]).generate_state(1, np.uint64)[0])


def _trained_networks(trainable: Trainable, upstream: UpstreamModels) -> dict[str, nn.Module]:
    """Return the networks that the training changes, by name; upstream networks are not among them."""
    fixed = [network for network in (upstream.features, upstream.generator, upstream.segmenter) if network is not None]
    children = trainable.named_children()
    return {name: child for name, child in children if not any(child is network for network in fixed)}


def _optimizers(trainable: Trainable) -> dict[str, torch.optim.Optimizer]:
    return {name: value for name, value in vars(trainable).items() if isinstance(value, torch.optim.Optimizer)}


def _state(trainable: Trainable, upstream: UpstreamModels) -> dict[str, Any]:
    """Return the state of networks and optimizers. Batches have no state: they depend only on seed, epoch and step."""
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
