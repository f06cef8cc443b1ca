"""The report that a worker process returns for each shard. `merge_reports` merges these reports for a whole stage."""

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
    """What a worker reports about the pictures of one shard."""

    rows: list[dict[str, Any]] = field(default_factory=list)  # for the manifest
    sheet: OutcomeSheet = field(default_factory=OutcomeSheet)  # tiles for the contact sheet
    index: str = ""  # for the index of the shards: the rows that `write_shard` returned


def merge_reports(
    reports: Iterable[ShardReport], folder: Path, columns: list[str], key: str, sheet: Path
) -> pd.DataFrame:
    """Merge the reports on a folder of shards into index.csv, manifest.csv and a contact sheet; return the manifest.

    A shard is a tar file. index.csv has a row for each file in the shards: the face's id, the ending of the file's
    name, the name of the shard, and the file's offset and size in bytes. manifest.csv has a row for every face, also
    for rejected ones. In stage `crop`, it also has a row for every picture without a face.

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
