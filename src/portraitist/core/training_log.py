"""Training logs in DVCLive's file layout, which `dvc plots` and DVC's VS Code extension show while a training runs.

Each metric has a file plots/metrics/<name>.tsv with the columns `step` (optimizer steps) and <name>; metrics.json has
the latest value of each. The files contain no times, so equal trainings write equal files.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from portraitist.core.files import write_file

LATEST_FILE = "metrics.json"
PLOTS_FOLDER = Path("plots", "metrics")
SAMPLES_FILE = "samples.jpg"
Rows = dict[str, list[tuple[int, float]]]  # by metric: pairs of step and value


class TrainingLog:
    """The log of one training. Its files are complete after each row, even if the process is then killed."""

    def __init__(self, folder: Path, rows: Rows | None = None) -> None:
        """Start a log with the rows of an interrupted run, if any; files of earlier runs are replaced."""
        self.folder, self.rows = folder, rows or {}
        (folder / PLOTS_FOLDER).mkdir(parents=True, exist_ok=True)
        for path in (folder / PLOTS_FOLDER).iterdir():
            path.unlink()
        for name, values in self.rows.items():
            write_file(self._path(name), _header(name) + "".join(_line(*row) for row in values))
        self._write_latest()

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Append a row to the file of each metric."""
        for name, value in values.items():
            self.rows.setdefault(name, []).append((step, value))
            with self._path(name).open("a", encoding="utf-8") as file:  # one write, which a kill cannot interrupt
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
