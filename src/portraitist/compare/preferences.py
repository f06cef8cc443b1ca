"""What people answered when two avatars of one face were shown blind: a CSV with a row an answer, safe in git.

A row holds the selfie's id, the two methods, and the one that was preferred; no picture, no name of a person.
"""

import csv
from pathlib import Path

import pandas as pd

from portraitist.core.manifest import read

COLUMNS = ["id", "left", "right", "preferred"]


def read_answers(path: Path) -> pd.DataFrame:
    """The answers given so far.

    Raises:
        ValueError: The file is no CSV, has other columns, or a preference for neither of the two.
    """
    try:
        frame = read(path)
    except ValueError as error:  # pandas' own kinds, and bytes that are no text
        raise ValueError(f"{path}: not a CSV of answers: {' '.join(str(error).split())}") from error
    if list(frame.columns) != COLUMNS:
        raise ValueError(f"{path}: columns {', '.join(COLUMNS)} expected, found {', '.join(frame.columns)}")
    wrong = frame[(frame["preferred"] != frame["left"]) & (frame["preferred"] != frame["right"])]
    if len(wrong):
        raise ValueError(
            f"{path}, line {wrong.index[0] + 2}: {wrong['preferred'].iloc[0]!r} is preferred, but not shown"
        )
    return frame


def ensure_file(path: Path) -> None:
    """The file is there with its heads, and can be written to.

    Raises:
        OSError: It cannot.
    """
    with path.open("a", newline="", encoding="utf-8") as file:
        if not file.tell():
            csv.writer(file, lineterminator="\n").writerow(COLUMNS)


def append_answer(path: Path, face: str, left: str, right: str, preferred: str) -> None:
    """One more answer; the file is begun if it is not there.

    Raises:
        OSError: It could not be written.
    """
    ensure_file(path)
    whole = path.read_bytes().endswith(b"\n")  # an editor may have left the last answer without an end
    with path.open("a", newline="", encoding="utf-8") as file:
        file.write("" if whole else "\n")
        csv.writer(file, lineterminator="\n").writerow([face, left, right, preferred])
