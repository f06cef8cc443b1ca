"""Workers' reports of single shards, and their merging into a stage's index, manifest and contact sheet."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from portraitist.core import manifest
from portraitist.core.shards import write_index
from portraitist.reporting.stage_report import OutcomeSheet


@dataclass
class ShardReport:
    """The rows of a shard's pictures in the manifest and in the index, and its part of the contact sheet."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    sheet: OutcomeSheet = field(default_factory=OutcomeSheet)
    index: str = ""


def merge_reports(
    reports: Iterable[ShardReport], folder: Path, columns: list[str], key: str, sheet: Path
) -> pd.DataFrame:
    """Write the index and the manifest of a folder of shards, and the contact sheet; return the manifest.

    Args:
        reports: one report per shard, in order.
        folder: folder of the shards.
        columns: columns of the manifest.
        key: the column by which the rows of the manifest are sorted.
        sheet: path of the contact sheet.
    """
    frames, tiles = [manifest.to_frame([], columns)], OutcomeSheet()

    def index() -> Iterator[str]:
        for report in reports:
            frames.append(manifest.to_frame(report.rows, columns))
            tiles.extend(report.sheet)
            yield report.index

    write_index(folder, index())
    tiles.write(sheet)
    frame = pd.concat(frames, ignore_index=True).sort_values(key, kind="stable", ignore_index=True)
    manifest.write_frame(frame, folder / "manifest.csv")
    return frame
