"""What a stage reports: how many pictures met which status, and a sheet of them; too few kept stops the run."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from portraitist.core import manifest
from portraitist.core.image_io import encode_jpeg
from portraitist.core.manifest import KINDS
from portraitist.core.outcome import Status
from portraitist.core.types import ContactSheet
from portraitist.reporting.contact_sheet import contact_sheet, split_rows

SHOWN = 96  # tiles of kept pictures, and as many of refused ones
COLUMNS = 12


class OutcomeSheet:
    """The first tiles of what a stage kept and of what it refused, for a person to look at."""

    def __init__(self) -> None:
        self.kept: list[ContactSheet] = []
        self.refused: list[ContactSheet] = []

    def add(self, tiles: list[ContactSheet], kept: bool) -> None:
        """The tiles of one picture, while there is room."""
        group = self.kept if kept else self.refused
        if len(group) < SHOWN:
            group += tiles

    def write(self, path: Path) -> None:
        """The kept ones, then the refused ones, as a JPEG; nothing shown is an empty file."""
        rows = split_rows(self.kept, COLUMNS) + split_rows(self.refused, COLUMNS)
        path.write_bytes(encode_jpeg(contact_sheet(rows)) if rows else b"")


def write_stage_metrics(frame: pd.DataFrame, stage: str, path: Path) -> None:
    """The stage's counts as JSON, {kind: {status: n}}; exits with a message when no picture of a kind was kept.

    Of rows that name their source, too: {"sources": {source: {status: n}}}.
    """
    table = manifest.count_outcomes(frame)
    sources = sorted(set(frame.get("source", ())))
    written = table | ({"sources": manifest.count_outcomes(frame, "source", sources)} if sources else {})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    for kind in KINDS:
        if not table[kind].get(Status.KEPT.value):
            sys.exit(f"{stage}: no {kind} left; what became of them: {table[kind] or 'there were none'}")


def write_collect_metrics(folders: Iterable[Path], path: Path) -> None:
    """What became of each source's candidates as JSON, {source: {kind: {status: n}}}, but for sources left out."""
    found = {folder.name: manifest.read(folder / "manifest.csv") for folder in sorted(folders)}
    table = {name: manifest.count_outcomes(frame) for name, frame in found.items() if len(frame)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
