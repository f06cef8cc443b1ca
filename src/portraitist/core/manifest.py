"""The row that follows a picture, from where it was found to what became of it at each stage.

Each stage writes its own rows; the picture's id joins them, and nothing is copied from one to the next.
"""

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from portraitist.core.outcome import Status

Kind = Literal["selfies", "portraits"]
KINDS: tuple[Kind, Kind] = ("selfies", "portraits")
TEXT = ("id", "picture", "group", "pair", "same_as", "dhash")  # columns that could be taken for numbers


def picture_id(data: bytes) -> str:
    """A picture's name all the way: 16 hex digits of the SHA-256 of its bytes as they were found."""
    return hashlib.sha256(data).hexdigest()[:16]


def face_id(picture: str, number: int) -> str:
    """The name of a picture's face, 0 is the largest: the first has the picture's, each other one of its own."""
    return picture_id(f"{picture}/{number}".encode()) if number else picture


def write(rows: Iterable[Mapping[str, object]], path: Path, columns: list[str]) -> pd.DataFrame:
    """The rows as CSV at path, with just these columns in this order; no rows leave a header.

    Whole numbers stay whole beside empty cells.
    """
    frame = pd.DataFrame([dict(row) for row in rows], columns=columns, dtype=object)
    frame.to_csv(path, index=False, lineterminator="\n")
    return frame


def read(path: Path) -> pd.DataFrame:
    """A manifest; ids, hashes and empty cells stay text.

    Raises:
        FileNotFoundError: There is none at path.
    """
    return pd.read_csv(path, dtype=dict.fromkeys(TEXT, str), keep_default_na=False)


def to_records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    """The rows, each by its columns."""
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def kept_rows(path: Path) -> pd.DataFrame:
    """The rows of a manifest whose pictures went on, by id."""
    frame = read(path)
    return frame[frame["status"] == Status.KEPT.value].sort_values("id").reset_index(drop=True)


def split_ids(split: Path, kind: Kind, part: str) -> list[str]:
    """The faces of one kind in one part of the split, sorted."""
    frame = read(split)
    return sorted(frame.loc[(frame["kind"] == kind) & (frame["part"] == part), "id"])


def source_folders(raw: Path) -> list[Path]:
    """The folders that stage collect left in one, by name."""
    return sorted(path.parent for path in raw.glob("*/manifest.csv"))


def count_outcomes(
    frame: pd.DataFrame, column: str = "kind", names: Iterable[str] = KINDS
) -> dict[str, dict[str, int]]:
    """How many pictures of each kind met each status: {kind: {status: n}}, for a stage's report."""
    table: dict[str, dict[str, int]] = {}
    for name in names:
        statuses = frame.loc[frame[column] == name, "status"].value_counts().sort_index()
        table[name] = {str(status): int(n) for status, n in statuses.items()}
    return table
