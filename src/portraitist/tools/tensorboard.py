"""Convert training logs to TensorBoard event files.

Each log becomes a run. Each metric becomes a scalar. The log's picture of stylized sample selfies becomes an image.
"""

import io
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from portraitist.core.training_log import PLOTS_FOLDER, SAMPLES_FILE

FILE_SUFFIX = ".portraitist"  # suffix of event files that this module writes, and may therefore delete
SAMPLES_TAG = "painted"  # TensorBoard's name of the image
Row = tuple[int, str, float]  # step, metric, value


class LogFormatError(ValueError):
    """A file is not a training log."""


class TensorboardWriter:
    """Write an event file for each training log.

    Args:
        logs: folder that contains the logs at any depth.
        out: folder of the event files, with the same subfolders.
    """

    def __init__(self, logs: Path, out: Path) -> None:
        self.logs, self.out = logs, out
        self.runs: dict[Path, Run] = {}

    def catch_up(self) -> int:
        """Write everything that was added to the logs since the last call; return the number of logs.

        Raises:
            LogFormatError: a file is not a training log.
        """
        for plots in sorted(self.logs.rglob(str(PLOTS_FOLDER))):
            log = plots.parents[len(PLOTS_FOLDER.parts) - 1]
            if log not in self.runs:
                self.runs[log] = Run(log, self.out / log.relative_to(self.logs))
            self.runs[log].catch_up()
        return len(self.runs)


class Run:
    """The event file of one log. Event files that this module wrote for the log earlier are deleted.

    Args:
        log: folder of the log.
        folder: folder of the event file.
    """

    def __init__(self, log: Path, folder: Path) -> None:
        for old in folder.glob(f"events.out.tfevents.*{FILE_SUFFIX}"):
            old.unlink()
        self.plots, self.samples = log / PLOTS_FOLDER, log / SAMPLES_FILE
        self.file = EventFileWriter(str(folder), filename_suffix=FILE_SUFFIX)
        self.written: set[Row] = set()
        self.samples_time = 0  # modification time of the samples that have been written, ns
        self._start_session(0)

    def catch_up(self) -> None:
        """Write the rows that were added to the log since the last call, and the samples if they have changed.

        Raises:
            LogFormatError: a row does not consist of a step and a value.
        """
        rows = {row for path in self.plots.glob("*.tsv") for row in _read(path)}
        if removed := self.written - rows:  # the training resumed at an earlier step, or started again
            first = min(step for step, _, _ in removed)
            self._start_session(first)
            self.written = {row for row in self.written if row[0] < first}
        for step, tag, value in sorted(rows - self.written):
            self._write(step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=value)]))
        self.written = rows
        with suppress(OSError):  # there are no samples yet
            if (modified := self.samples.stat().st_mtime_ns) != self.samples_time:
                image = _image_value(self.samples.read_bytes())
                self._write(max((step for step, _, _ in rows), default=0), summary=Summary(value=[image]))
                self.samples_time = modified
        self.file.flush()

    def _start_session(self, step: int) -> None:
        """Write an event that makes TensorBoard discard the earlier events of step `step` and of all later steps."""
        self._write(step, session_log=SessionLog(status=SessionLog.START))
        self.samples_time = 0

    def _write(self, step: int, **content: Any) -> None:
        self.file.add_event(Event(wall_time=time.time(), step=step, **content))


def _read(path: Path) -> Iterator[Row]:
    """Yield the rows of one metric's file; a last line without a newline is skipped, because it is incomplete."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:  # the training has started again since the folder was listed
        return
    for line in text[: text.rfind("\n") + 1].splitlines()[1:]:
        try:
            step, value = line.split("\t")
            yield int(step), path.stem, float(value)
        except ValueError:
            raise LogFormatError(
                f"{path}: not a row of a training log: {line!r}; expected a step and a value, separated by a tab"
            ) from None


def _image_value(jpeg: bytes) -> Summary.Value:
    with Image.open(io.BytesIO(jpeg)) as picture:
        image = Summary.Image(width=picture.width, height=picture.height, colorspace=3, encoded_image_string=jpeg)
    return Summary.Value(tag=SAMPLES_TAG, image=image)
