"""What a stage reports: how many pictures met which verdict, and a sheet of them; too few kept stops the run."""

import json
import sys
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from portraitist import manifest
from portraitist.manifest import KINDS
from portraitist.pictures import Sheet, in_rows, jpeg, sheet
from portraitist.verdict import Verdict

SHOWN = 96  # tiles of kept pictures, and as many of refused ones
COLUMNS = 12


class Shown:
    """The first tiles of what a stage kept and of what it refused, for a person to look at."""

    def __init__(self) -> None:
        self.kept: list[Sheet] = []
        self.refused: list[Sheet] = []

    def add(self, tiles: list[Sheet], kept: bool) -> None:
        """The tiles of one picture, while there is room."""
        group = self.kept if kept else self.refused
        if len(group) < SHOWN:
            group += tiles

    def write(self, path: Path) -> None:
        """The kept ones, then the refused ones, as a JPEG; nothing shown is an empty file."""
        rows = in_rows(self.kept, COLUMNS) + in_rows(self.refused, COLUMNS)
        path.write_bytes(jpeg(sheet(rows)) if rows else b"")


def write_report(frame: pd.DataFrame, stage: str, path: Path) -> None:
    """The stage's counts as JSON, {kind: {verdict: n}}; exits with a message when no picture of a kind was kept.

    Of rows that name their source, too: {"sources": {source: {verdict: n}}}.
    """
    table = manifest.counts(frame)
    sources = sorted(set(frame.get("source", ())))
    written = table | ({"sources": manifest.counts(frame, "source", sources)} if sources else {})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    for kind in KINDS:
        if not table[kind].get(Verdict.KEPT.value):
            sys.exit(f"{stage}: no {kind} left; what became of them: {table[kind] or 'there were none'}")


def write_collected(folders: Iterable[Path], path: Path) -> None:
    """What became of each source's candidates as JSON, {source: {kind: {verdict: n}}}, but for sources left out."""
    found = {folder.name: manifest.read(folder / "manifest.csv") for folder in sorted(folders)}
    table = {name: manifest.counts(frame) for name, frame in found.items() if len(frame)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
