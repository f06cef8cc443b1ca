"""Manifests: CSV tables with one row per picture, written by each stage and joined by the picture's id."""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from portraitist.core.files import write_file
from portraitist.core.outcome import Status

Kind = Literal["selfies", "portraits"]
KINDS: tuple[Kind, Kind] = ("selfies", "portraits")
ID_DIGITS = 16
TEXT_COLUMNS = (
    "id",
    "picture",
    "group",
    "pair",
    "same_as",
    "dhash",
)  # pandas would parse some of their values as numbers


def picture_id(data: bytes) -> str:
    """Return a picture's id: the first 16 hex digits of the SHA-256 of the collected file."""
    return hashlib.sha256(data).hexdigest()[:ID_DIGITS]


def face_id(picture: str, number: int) -> str:
    """Return the id of face `number` of a picture. The largest face, number 0, has the id of the picture."""
    return picture_id(f"{picture}/{number}".encode()) if number else picture


def write(rows: Iterable[Mapping[str, object]], path: Path, columns: list[str]) -> pd.DataFrame:
    """Write the given columns of the rows as CSV, and return them; without rows, only the header is written."""
    frame = to_frame(rows, columns)
    write_frame(frame, path)
    return frame


def to_frame(rows: Iterable[Mapping[str, object]], columns: list[str]) -> pd.DataFrame:
    """Return the rows as a table with the given columns. Integers stay integers even in columns with empty cells."""
    return pd.DataFrame([dict(row) for row in rows], columns=columns, dtype=object)


def write_frame(frame: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV."""
    write_file(path, frame.to_csv(index=False, lineterminator="\n"))


def read(path: Path) -> pd.DataFrame:
    """Read a manifest; ids and hashes are strings, and empty cells are empty strings.

    Raises:
        FileNotFoundError: there is no such file.
    """
    return pd.read_csv(path, dtype=dict.fromkeys(TEXT_COLUMNS, str), keep_default_na=False)


def to_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows as dictionaries with string keys."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def kept_rows(path: Path) -> pd.DataFrame:
    """Read the rows of a manifest with status "kept", sorted by id."""
    frame = read(path)
    return frame[frame["status"] == Status.KEPT.value].sort_values("id").reset_index(drop=True)


def split_ids(split: Path, kind: Kind, part: str) -> list[str]:
    """Return the sorted ids of the faces of one kind in one part of data/split.csv."""
    frame = read(split)
    return sorted(frame.loc[(frame["kind"] == kind) & (frame["part"] == part), "id"])


def source_folders(raw: Path, sources: Path) -> list[Path]:
    """Return the folder in `raw` of each source in use, sorted by name.

    Args:
        raw: output of stage collect, which may contain folders of sources that are no longer in use.
        sources: output of stage sources: a file for each source in use.
    """
    return sorted(raw / path.name for path in sources.iterdir())


def count_outcomes(
    frame: pd.DataFrame, column: str = "kind", names: Iterable[str] = KINDS
) -> dict[str, dict[str, int]]:
    """Count the rows by kind (or another column) and status: {kind: {status: count}}."""
    counts: dict[str, dict[str, int]] = {}
    for name in names:
        statuses = frame.loc[frame[column] == name, "status"].value_counts().sort_index()
        counts[name] = {str(status): int(count) for status, count in statuses.items()}
    return counts
