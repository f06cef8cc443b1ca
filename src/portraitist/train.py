"""The one training loop: device, seed, progress, log. It never names a loss term."""

import csv
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from tqdm import tqdm

from portraitist.dataset import Steps, batches
from portraitist.methods import Given, Learner, Terms, build, mean_terms


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
    def seed(self) -> int: ...  # noqa: D102
    @property
    def loader_workers(self) -> int: ...  # noqa: D102
    @property
    def threads(self) -> int: ...  # noqa: D102


def train(
    name: str, params: dict[str, Any], steps: Steps, given: Given, schedule: Schedule
) -> tuple[Learner, list[Terms]]:
    """The learner `name` after the schedule's epochs, and each epoch's mean terms. On a CPU, equal seeds, equal bits.

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
        log = []
        for epoch in range(schedule.epochs):
            steps.start(epoch)
            title = f"{name} {epoch + 1}/{schedule.epochs}"
            bar = tqdm(batches(steps, schedule.loader_workers), title, len(steps), disable=None, leave=False)
            log.append(mean_terms(learner.step(batch.to(where)) for batch in bar))
    return learner.to("cpu"), log


def write_log(log: list[Terms], path: Path) -> None:
    """The log as CSV: a row an epoch, a column a term."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(["epoch", *log[0]])
        rows.writerows([epoch + 1, *(f"{value:.6f}" for value in terms.values())] for epoch, terms in enumerate(log))
