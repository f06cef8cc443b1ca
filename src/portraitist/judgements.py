"""What people answered when two avatars of one face were shown blind: a CSV with a row an answer, safe in git.

A row holds the selfie's id, the two methods, and the one that was preferred; no picture, no name of a person.
"""

import csv
from pathlib import Path

import pandas as pd

from portraitist.manifest import read

COLUMNS = ["id", "left", "right", "preferred"]


def answers(path: Path) -> pd.DataFrame:
    """The answers given so far.

    Raises:
        ValueError: The file has other columns, or a preference for neither of the two.
    """
    frame = read(path)
    if list(frame.columns) != COLUMNS:
        raise ValueError(f"{path}: columns {', '.join(COLUMNS)} expected, found {', '.join(frame.columns)}")
    wrong = frame[(frame["preferred"] != frame["left"]) & (frame["preferred"] != frame["right"])]
    if len(wrong):
        raise ValueError(
            f"{path}, line {wrong.index[0] + 2}: {wrong['preferred'].iloc[0]!r} is preferred, but not shown"
        )
    return frame


def record(path: Path, face: str, left: str, right: str, preferred: str) -> None:
    """One more answer; the file is begun if it is not there."""
    begin = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        if begin:
            rows.writerow(COLUMNS)
        rows.writerow([face, left, right, preferred])
