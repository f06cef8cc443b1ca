"""Report of a data stage: counts of outcomes as JSON, and a contact sheet; exits if nothing was kept."""

import sys
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from portraitist.core import manifest
from portraitist.core.files import write_file, write_json
from portraitist.core.image_io import encode_jpeg
from portraitist.core.manifest import KINDS
from portraitist.core.outcome import Status
from portraitist.core.types import ContactSheet
from portraitist.reporting.contact_sheet import contact_sheet, split_rows

MAX_TILES = 96  # for kept pictures, and as many for rejected ones
COLUMNS = 12
MAX_REASONS = 3  # number of reasons for rejection that are printed


class OutcomeSheet:
    """A contact sheet of the first pictures that a stage kept and of the first that it rejected."""

    def __init__(self) -> None:
        self.kept: list[ContactSheet] = []
        self.rejected: list[ContactSheet] = []

    def add(self, tiles: list[ContactSheet], kept: bool) -> None:
        """Add the tiles of one picture, unless the group is full."""
        group = self.kept if kept else self.rejected
        if len(group) < MAX_TILES:
            group += tiles

    def extend(self, other: "OutcomeSheet") -> None:
        """Add the pictures of another sheet, up to the limits."""
        self.kept += other.kept[: max(0, MAX_TILES - len(self.kept))]
        self.rejected += other.rejected[: max(0, MAX_TILES - len(self.rejected))]

    def write(self, path: Path) -> None:
        """Write the tiles as JPEG, kept ones first; if there are none, the file is empty."""
        rows = split_rows(self.kept, COLUMNS) + split_rows(self.rejected, COLUMNS)
        write_file(path, encode_jpeg(contact_sheet(rows)) if rows else b"")


def write_stage_metrics(frame: pd.DataFrame, stage: str, path: Path) -> None:
    """Write a stage's outcome counts as JSON, {kind: {status: count}}; exit if no picture of a kind was kept.

    If the manifest has a column "source", the counts per source are added: {"sources": {source: {status: count}}}.
    Also prints one line with the counts and the most frequent reasons of rejection.
    """
    counts = manifest.count_outcomes(frame)
    sources = sorted(set(frame.get("source", ())))
    _write_json(counts | ({"sources": manifest.count_outcomes(frame, "source", sources)} if sources else {}), path)
    outcomes = [_describe_outcomes(kind, frame[frame["kind"] == kind]) for kind in KINDS]
    print(f"{stage}: {'; '.join(outcomes)}", file=sys.stderr)
    for kind in KINDS:
        if not counts[kind].get(Status.KEPT.value):
            advice = f"add {kind} to collect.folder.path, raise limits.<source>, or add a source of {kind} to `sources`"
            sys.exit(f"{stage}: no {kind} are left; the reasons are above and in {path}; {advice}")


def _describe_outcomes(kind: str, rows: pd.DataFrame) -> str:
    """Return a summary such as "57 of 60 selfies kept, rejected: 2 duplicate, 1 blurred (sharpness 3.1; ...)"."""
    rejected = rows[rows["status"] != Status.KEPT.value]
    reasons = []
    for status, count in rejected["status"].value_counts().head(MAX_REASONS).items():
        texts = [text for text in rejected.loc[rejected["status"] == status, "reason"].dropna() if text]
        reasons.append(f"{count} {status}" + (f" ({texts[0]})" if texts else ""))
    more = f", rejected: {', '.join(reasons)}" if reasons else ""
    return f"{len(rows) - len(rejected)} of {len(rows)} {kind} kept{more}"


def write_collect_metrics(folders: Iterable[Path], path: Path) -> None:
    """Write the outcome counts of every source with candidates as JSON, {source: {kind: {status: count}}}."""
    frames = {folder.name: manifest.read(folder / "manifest.csv") for folder in sorted(folders)}
    _write_json({name: manifest.count_outcomes(frame) for name, frame in frames.items() if len(frame)}, path)


def _write_json(content: object, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, content)
