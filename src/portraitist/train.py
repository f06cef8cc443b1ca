"""The one training loop: device, seed, progress, log, going on after a kill. It never names a loss term."""

import csv
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn
from tqdm import tqdm

from portraitist.checkpoint import save
from portraitist.dataset import Folders, Steps, batches
from portraitist.methods import Given, Learner, Terms, build, mean_terms
from portraitist.params import AugmentParams
from portraitist.resume import Resume, code, fingerprint


def device() -> torch.device:
    """The GPU if there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Torch's own draws (weights, dropout) start from the seed inside, and go on as before outside."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


@runtime_checkable
class Schedule(Protocol):
    """What the loop has to know of a stage's params."""

    @property
    def epochs(self) -> int: ...  # noqa: D102
    @property
    def batch(self) -> int: ...  # noqa: D102
    @property
    def seed(self) -> int: ...  # noqa: D102
    @property
    def loader_workers(self) -> int: ...  # noqa: D102
    @property
    def threads(self) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class Task:
    """One training of the pipeline: who learns, what it is told, how long, and from which files."""

    learner: str
    settings: dict[str, Any]
    schedule: Schedule
    augment: AugmentParams
    diverse: bool  # portraits too stand on many backgrounds
    folders: Folders
    parts: tuple[Path, ...]  # the files that `given` was read from

    def fingerprint(self) -> str:
        """Of all that the result depends on: params, data, earlier models, code."""
        schedule, augment = vars(self.schedule), self.augment.model_dump()
        told = [self.learner, self.settings, schedule, augment, self.diverse]
        read = [self.folders.crops, self.folders.masks, self.folders.split, self.folders.recipes]
        return fingerprint(told, [*code(), *read, *self.parts])


def learn(task: Task, given: Given, about: dict[str, Any], dest: Path, log: Path) -> None:
    """Train, or go on where a killed run was; save the model with what is said about it; write the log.

    Raises:
        BusyError: Another process is at the same training.
        ParamsError, DivergedError: As `train`.
    """
    schedule = task.schedule
    steps = Steps(task.folders, task.augment, batch=schedule.batch, seed=schedule.seed, diverse=task.diverse)
    with Resume(dest.stem, task.fingerprint()) as resume:
        learner, terms = train(task.learner, task.settings, steps, given, schedule, resume)
        save(dest, task.learner, task.settings, learner, about | {"epochs": schedule.epochs, "seed": schedule.seed})
        write_log(terms, log)


def train(
    name: str,
    params: dict[str, Any],
    steps: Steps,
    given: Given,
    schedule: Schedule,
    resume: Resume | None = None,
) -> tuple[Learner, list[Terms]]:
    """The learner `name` after the schedule's epochs, and each epoch's mean terms. On a CPU, equal seeds, equal bits.

    With `resume` it goes on from the state that was kept last, and ends with the bits of a run that was never killed.

    Raises:
        ParamsError: As `build`.
        DivergedError: As `descend`.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.set_num_threads(schedule.threads)
    torch.set_flush_denormal(True)  # a GAN's moments fade into numbers that a CPU is slow at
    where = device()
    with seeded(schedule.seed):
        learner = build(name, params)
        learner.begin(given)
        learner.to(where)
        log: list[Terms] = []
        rows: list[Terms] = []  # of the epoch's steps
        if resume and (state := resume.last()):
            log, rows = state["log"], state["rows"]
            _restore(learner, given, state)
        for epoch in range(len(log), schedule.epochs):
            steps.start(epoch)
            coming = batches(steps, schedule.loader_workers, first=len(rows))
            title = f"{name} {epoch + 1}/{schedule.epochs}"
            for batch in tqdm(coming, title, len(steps), initial=len(rows), disable=None, leave=False):
                rows.append(learner.step(batch.to(where)))
                if resume and resume.due():
                    resume.keep(_state(learner, given) | {"log": log, "rows": rows})
            log.append(mean_terms(rows))
            rows = []
    return learner.to("cpu"), log


def _own(learner: Learner, given: Given) -> dict[str, nn.Module]:
    """The networks that change while the learner learns: not those that earlier stages made."""
    made = [part for part in (given.features, given.generator, given.masker) if part is not None]
    return {name: net for name, net in learner.named_children() if not any(net is part for part in made)}


def _optimizers(learner: Learner) -> dict[str, torch.optim.Optimizer]:
    return {name: each for name, each in vars(learner).items() if isinstance(each, torch.optim.Optimizer)}


def _state(learner: Learner, given: Given) -> dict[str, Any]:
    """All that the next step depends on beside its batch: networks, optimizers, torch's own chance."""
    return {
        "networks": {name: net.state_dict() for name, net in _own(learner, given).items()},
        "optimizers": {name: each.state_dict() for name, each in _optimizers(learner).items()},
        "chance": torch.get_rng_state(),
        "chance_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def _restore(learner: Learner, given: Given, state: dict[str, Any]) -> None:
    for name, net in _own(learner, given).items():
        net.load_state_dict(state["networks"][name])
    for name, each in _optimizers(learner).items():
        each.load_state_dict(state["optimizers"][name])
    torch.set_rng_state(state["chance"])
    if state["chance_cuda"]:
        torch.cuda.set_rng_state_all(state["chance_cuda"])


def write_log(log: list[Terms], path: Path) -> None:
    """The log as CSV: a row an epoch, a column a term."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["epoch", *log[0]])
        rows.writerows([epoch + 1, *(f"{value:.6f}" for value in terms.values())] for epoch, terms in enumerate(log))
