"""Reports of the stages that prepare the data: counts of kept and rejected pictures, and a contact sheet."""

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

MAX_TILES = 96  # of kept pictures on a contact sheet, and as many of rejected pictures
COLUMNS = 12
MAX_REASONS = 3  # the most frequent reasons for rejection, which are printed


class OutcomeSheet:
    """A contact sheet of the first pictures that a stage kept, and of the first pictures that it rejected."""

    def __init__(self) -> None:
        self.kept: list[ContactSheet] = []
        self.rejected: list[ContactSheet] = []

    def add(self, tiles: list[ContactSheet], kept: bool) -> None:
        """Add the tiles of one picture, unless the sheet already has `MAX_TILES` tiles of the same outcome.

        The two outcomes, kept and rejected, are counted separately.
        """
        group = self.kept if kept else self.rejected
        if len(group) < MAX_TILES:
            group += tiles

    def extend(self, other: "OutcomeSheet") -> None:
        """Add the tiles of another sheet, as far as there is space for them."""
        self.kept += other.kept[: max(0, MAX_TILES - len(self.kept))]
        self.rejected += other.rejected[: max(0, MAX_TILES - len(self.rejected))]

    def write(self, path: Path) -> None:
        """Write the contact sheet as JPEG, kept pictures first; without tiles, the file is empty."""
        rows = split_rows(self.kept, COLUMNS) + split_rows(self.rejected, COLUMNS)
        write_file(path, encode_jpeg(contact_sheet(rows)) if rows else b"")


def write_stage_metrics(frame: pd.DataFrame, stage: str, path: Path) -> None:
    """Count the pictures of each kind and status, and exit if no selfie or no portrait was kept.

    The counts are written as JSON, {kind: {status: count}}. If the manifest has a column "source", the JSON also
    contains {"sources": {source: {status: count}}}. A line with the counts and the most frequent reasons for rejection
    is printed to stderr.

    Args:
        frame: the manifest of the stage.
        stage: name of the stage, for the printed texts.
        path: the JSON file to write.
    """
    counts = manifest.count_outcomes(frame)
    sources = sorted(set(frame.get("source", ())))
    _write_json(counts | ({"sources": manifest.count_outcomes(frame, "source", sources)} if sources else {}), path)
    outcomes = [_describe_outcomes(kind, frame[frame["kind"] == kind]) for kind in KINDS]
    print(f"{stage}: {'; '.join(outcomes)}", file=sys.stderr)
    for kind in KINDS:
        if not counts[kind].get(Status.KEPT.value):
            advice = f"add {kind} to collect.folder.path, raise limits.<source>, or add a source of {kind} to `sources`"
            sys.exit(f"{stage}: no {kind} are left; the counts of the reasons are above and in {path}; {advice}")


def _describe_outcomes(kind: str, rows: pd.DataFrame) -> str:
    """Return a text such as "57 of 60 selfies kept, rejected: 2 duplicate, 1 blurred (sharpness 3.1; ...)"."""
    rejected = rows[rows["status"] != Status.KEPT.value]
    counts = rejected["status"].value_counts()
    reasons = []
    for status, count in counts.head(MAX_REASONS).items():
        texts = [text for text in rejected.loc[rejected["status"] == status, "reason"].dropna() if text]
        reasons.append(f"{count} {status}" + (f" ({texts[0]})" if texts else ""))
    if len(counts) > MAX_REASONS:
        reasons.append(f"{counts.iloc[MAX_REASONS:].sum()} for other reasons")
    more = f", rejected: {', '.join(reasons)}" if reasons else ""
    return f"{len(rows) - len(rejected)} of {len(rows)} {kind} kept{more}"


def write_collect_metrics(folders: Iterable[Path], path: Path) -> None:
    """Count the pictures of each source, kind and status, and write the counts as JSON.

    Args:
        folders: output folder of each source.
        path: the file to write, with the content {source: {kind: {status: count}}}; sources with an empty manifest are
            left out.
    """
    frames = {folder.name: manifest.read(folder / "manifest.csv") for folder in sorted(folders)}
    _write_json({name: manifest.count_outcomes(frame) for name, frame in frames.items() if len(frame)}, path)


def _write_json(content: object, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, content)
