"""Manifests: CSV tables that a stage writes, with one row per picture or face, identified by column `id`."""

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
)  # read as strings, because pandas would parse some of their values as numbers


def picture_id(data: bytes) -> str:
    """Return a picture's id: the first 16 hexadecimal digits of the SHA-256 of the collected file's bytes."""
    return hashlib.sha256(data).hexdigest()[:ID_DIGITS]


def face_id(picture: str, number: int) -> str:
    """Return the id of one face of a picture; face number 0, the largest, has the id of the picture itself."""
    return picture_id(f"{picture}/{number}".encode()) if number else picture


def write(rows: Iterable[Mapping[str, object]], path: Path, columns: list[str]) -> pd.DataFrame:
    """Write the given columns of the rows as CSV, and return them as a table; without rows, write only a header."""
    frame = to_frame(rows, columns)
    write_frame(frame, path)
    return frame


def to_frame(rows: Iterable[Mapping[str, object]], columns: list[str]) -> pd.DataFrame:
    """Return the rows as a table with the given columns. Integers stay integers even in columns with empty cells."""
    return pd.DataFrame([dict(row) for row in rows], columns=columns, dtype=object)


def write_frame(frame: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV. Carriage returns in cells become spaces, because `read` would take them for line ends."""
    write_file(path, frame.to_csv(index=False, lineterminator="\n").replace("\r", " "))


def read(path: Path) -> pd.DataFrame:
    """Read a manifest; ids and hashes are read as strings, empty cells as empty strings.

    Raises:
        FileNotFoundError: the file does not exist.
    """
    return pd.read_csv(path, dtype=dict.fromkeys(TEXT_COLUMNS, str), keep_default_na=False)


def to_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows of a table as dictionaries; keys are the names of the columns."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def kept_rows(path: Path) -> pd.DataFrame:
    """Read the rows of the pictures that a stage kept (status "kept"), sorted by id."""
    frame = read(path)
    return frame[frame["status"] == Status.KEPT.value].sort_values("id").reset_index(drop=True)


def split_ids(split: Path, kind: Kind, part: str) -> list[str]:
    """Return the ids of all faces of one kind in one part of the split, sorted.

    Args:
        split: the file data/split.csv.
        kind: "selfies" or "portraits".
        part: "train", "validation" or "test"; or "aside", for faces that are not used because a near-duplicate is in
            another part.
    """
    frame = read(split)
    return sorted(frame.loc[(frame["kind"] == kind) & (frame["part"] == part), "id"])


def source_folders(raw: Path, sources: Path) -> list[Path]:
    """Return the folders of all sources that params.yaml lists; these are subfolders of `raw`, sorted by name.

    Args:
        raw: output of stage collect; it may also contain folders of sources that are no longer listed.
        sources: output of stage sources: a folder with one file per listed source.
    """
    return sorted(raw / path.name for path in sources.iterdir())


def count_outcomes(
    frame: pd.DataFrame, column: str = "kind", names: Iterable[str] = KINDS
) -> dict[str, dict[str, int]]:
    """Count the rows by status, separately for each value of a column; return {value: {status: count}}.

    Args:
        frame: a manifest.
        column: name of the column, such as "kind" or "source".
        names: values of `column`. Rows with other values are not counted.
    """
    counts: dict[str, dict[str, int]] = {}
    for name in names:
        statuses = frame.loc[frame[column] == name, "status"].value_counts().sort_index()
        counts[name] = {str(status): int(count) for status, count in statuses.items()}
    return counts
