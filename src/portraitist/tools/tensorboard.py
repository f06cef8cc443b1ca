"""Convert training logs to TensorBoard event files: one run per log, one scalar per column, the samples as an image."""

import io
from contextlib import suppress
from itertools import takewhile
from operator import eq
from pathlib import Path
from typing import Any

from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from portraitist.core.training_log import LIVE_SUFFIX

FILE_SUFFIX = ".portraitist"  # marks the event files of this module; other files in the same folder stay untouched
SAMPLES_TAG = "painted"


class LogFormatError(ValueError):
    """A file is not a training log."""


class TensorboardWriter:
    """Writes an event file below `out` for each training log below `logs`."""

    def __init__(self, logs: Path, out: Path) -> None:
        self.logs, self.out = logs, out
        self.runs: dict[Path, Run] = {}

    def catch_up(self) -> int:
        """Write everything that is new in the logs, and return the number of logs.

        Raises:
            LogFormatError: as `Run.catch_up`.
        """
        for log in sorted(self.logs.rglob(f"*{LIVE_SUFFIX}")):
            if log not in self.runs:
                self.runs[log] = Run(log, self.out / log.relative_to(self.logs).as_posix().removesuffix(LIVE_SUFFIX))
            self.runs[log].catch_up()
        return len(self.runs)


class Run:
    """The event file of one log; it replaces those that earlier runs of the command wrote."""

    def __init__(self, log: Path, folder: Path) -> None:
        for old in folder.glob(f"events.out.tfevents.*{FILE_SUFFIX}"):
            old.unlink()
        self.log, self.sample_strip = log, log.with_name(log.name.removesuffix(LIVE_SUFFIX) + ".jpg")
        self.file = EventFileWriter(str(folder), filename_suffix=FILE_SUFFIX)
        self.lines: list[str] = []  # the part of the log that has been written
        self.strip_time = 0  # modification time of the sample strip that has been written, ns
        self._start_session(0)

    def catch_up(self) -> None:
        """Write the new rows, and the sample strip, which appears when the training ends.

        Raises:
            LogFormatError: a row does not have one number for each column.
        """
        text = self.log.read_text(encoding="utf-8")
        lines = text[: text.rfind("\n") + 1].splitlines()  # without a last line that is still being written
        unchanged = sum(takewhile(bool, map(eq, self.lines, lines)))
        if unchanged < len(self.lines):  # the training resumed at an earlier step, or started again: discard the rest
            self._start_session(max(0, unchanged - 1))
        for line in lines[max(1, unchanged) :]:
            try:
                row = dict(zip(lines[0].split(","), map(float, line.split(",")), strict=True))
                step = int(row.pop("step"))
            except (KeyError, ValueError):
                raise LogFormatError(f"{self.log}: not a row of a training log: {line!r}") from None
            self._write(step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=row[tag]) for tag in row]))
        self.lines = lines
        with suppress(OSError):  # the strip does not exist yet, or is incomplete
            if (modified := self.sample_strip.stat().st_mtime_ns) != self.strip_time:
                image = _image_value(self.sample_strip.read_bytes())
                self._write(max(0, len(lines) - 2), summary=Summary(value=[image]))
                self.strip_time = modified
        self.file.flush()

    def _start_session(self, step: int) -> None:
        """Make TensorBoard discard all events from a step onwards."""
        self._write(step, session_log=SessionLog(status=SessionLog.START))

    def _write(self, step: int, **content: Any) -> None:
        self.file.add_event(Event(wall_time=self.log.stat().st_mtime, step=step, **content))


def _image_value(jpeg: bytes) -> Summary.Value:
    with Image.open(io.BytesIO(jpeg)) as picture:
        image = Summary.Image(width=picture.width, height=picture.height, colorspace=3, encoded_image_string=jpeg)
    return Summary.Value(tag=SAMPLES_TAG, image=image)
