"""The logs of trainings as TensorBoard's event files: a run a log, a scalar a column, the painted selfies an image."""

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

LIVE_SUFFIX = ".live.csv"  # as in watch.py, which loads torch
OURS = ".portraitist"  # how the names of these event files end; others in the same folder are let be


class LogFormatError(ValueError):
    """A file is no log of a training."""


class TensorboardWriter:
    """The logs in and below a folder, each with an event file in the folder out."""

    def __init__(self, logs: Path, out: Path) -> None:
        self.logs, self.out = logs, out
        self.known: dict[Path, Run] = {}

    def catch_up(self) -> int:
        """Write what the logs have more than before; how many logs there are.

        Raises:
            EventsError: As `Run.catch_up`.
        """
        for log in sorted(self.logs.rglob(f"*{LIVE_SUFFIX}")):
            if log not in self.known:
                self.known[log] = Run(log, self.out / log.relative_to(self.logs).as_posix().removesuffix(LIVE_SUFFIX))
            self.known[log].catch_up()
        return len(self.known)


class Run:
    """The event file of one log, in place of those that earlier commands left."""

    def __init__(self, log: Path, folder: Path) -> None:
        for old in folder.glob(f"events.out.tfevents.*{OURS}"):
            old.unlink()
        self.log, self.sheet = log, log.with_name(log.name.removesuffix(LIVE_SUFFIX) + ".jpg")
        self.file = EventFileWriter(str(folder), filename_suffix=OURS)
        self.lines: list[str] = []
        self.shown = 0
        self._begin(0)

    def catch_up(self) -> None:
        """Write the rows that are new, and the sheet of samples, which comes when the training ends.

        Raises:
            EventsError: A row has no number for each column.
        """
        text = self.log.read_text(encoding="utf-8")
        lines = text[: text.rfind("\n") + 1].splitlines()  # the last one may be half written
        kept = sum(takewhile(bool, map(eq, self.lines, lines)))
        if kept < len(self.lines):  # a killed training goes on, or another began: what came later is to be forgotten
            self._begin(max(0, kept - 1))
        for line in lines[max(1, kept) :]:
            try:
                row = dict(zip(lines[0].split(","), map(float, line.split(",")), strict=True))
                step = int(row.pop("step"))
            except (KeyError, ValueError):
                raise LogFormatError(f"{self.log}: {line!r} is no step of a training") from None
            self._write(step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=row[tag]) for tag in row]))
        self.lines = lines
        with suppress(OSError):  # not there yet, or not whole
            if (written := self.sheet.stat().st_mtime_ns) != self.shown:
                self._write(max(0, len(lines) - 2), summary=Summary(value=[_image(self.sheet.read_bytes())]))
                self.shown = written
        self.file.flush()

    def _begin(self, step: int) -> None:
        self._write(step, session_log=SessionLog(status=SessionLog.START))

    def _write(self, step: int, **what: Any) -> None:
        self.file.add_event(Event(wall_time=self.log.stat().st_mtime, step=step, **what))


def _image(data: bytes) -> Summary.Value:
    with Image.open(io.BytesIO(data)) as picture:
        image = Summary.Image(width=picture.width, height=picture.height, colorspace=3, encoded_image_string=data)
    return Summary.Value(tag="painted", image=image)
