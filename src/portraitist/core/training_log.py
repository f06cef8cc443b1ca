"""Training logs in DVCLive's file layout.

`dvc plots` and DVC's extension for VS Code show such logs while a training runs. Each metric has a file
plots/metrics/<name>.tsv with the columns `step` (number of optimizer steps) and <name>. metrics.json contains the
latest value of each metric. The files contain no times, so equal trainings write equal files.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from portraitist.core.files import write_file

LATEST_FILE = "metrics.json"
PLOTS_FOLDER = Path("plots", "metrics")
SAMPLES_FILE = "samples.jpg"
Rows = dict[str, list[tuple[int, float]]]  # (step, value) pairs of each metric, by its name


class TrainingLog:
    """The log of one training; its files are complete after each call, even if the process is killed later."""

    def __init__(self, folder: Path, rows: Rows | None = None) -> None:
        """Start a log in `folder`, and replace the log of an earlier run.

        Args:
            folder: the folder to write to.
            rows: the rows that an interrupted run logged before, to continue its log.
        """
        self.folder, self.rows = folder, rows or {}
        (folder / PLOTS_FOLDER).mkdir(parents=True, exist_ok=True)
        for path in (folder / PLOTS_FOLDER).iterdir():
            path.unlink()
        for name, values in self.rows.items():
            write_file(self._path(name), _header(name) + "".join(_line(*row) for row in values))
        self._write_latest()

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Append the values at an optimizer step to the files of their metrics."""
        for name, value in values.items():
            self.rows.setdefault(name, []).append((step, value))
            with self._path(name).open("a", encoding="utf-8") as file:  # one write, so that a kill leaves whole rows
                file.write(_line(step, value) if file.tell() else _header(name) + _line(step, value))
        self._write_latest()

    def _write_latest(self) -> None:
        latest = {name: float(_number(values[-1][1])) for name, values in self.rows.items()}
        step = max((values[-1][0] for values in self.rows.values()), default=0)
        write_file(self.folder / LATEST_FILE, json.dumps(latest | {"step": step}, indent=4) + "\n")

    def _path(self, name: str) -> Path:
        return self.folder / PLOTS_FOLDER / f"{name}.tsv"


def _header(name: str) -> str:
    return f"step\t{name}\n"


def _line(step: int, value: float) -> str:
    return f"{step}\t{_number(value)}\n"


def _number(value: float) -> str:
    return f"{value:.6g}"
