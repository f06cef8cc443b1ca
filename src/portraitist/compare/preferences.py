"""Read and write the CSV of people's preferences between the avatars of two methods, with one row per answer.

Columns: `id` of the selfie; `left` and `right`, the methods shown on each side; `preferred`, one of these methods. The
file contains no pictures or personal data, so it can be committed to git.
"""

import csv
from pathlib import Path

import pandas as pd

from portraitist.core import manifest

COLUMNS = ["id", "left", "right", "preferred"]


def read_answers(path: Path) -> pd.DataFrame:
    """Read and validate all answers.

    Raises:
        ValueError: the file is not a CSV, has unexpected columns, or contains a preferred method that was not shown.
    """
    try:
        frame = manifest.read(path)
    except ValueError as error:  # pandas' parser errors and UnicodeDecodeError
        raise ValueError(f"{path}: not a CSV of answers: {' '.join(str(error).split())}") from error
    if list(frame.columns) != COLUMNS:
        raise ValueError(
            f"{path}: expected the columns {', '.join(COLUMNS)}; found {', '.join(frame.columns)}; correct the first "
            "line, or use another file"
        )
    wrong = frame[(frame["preferred"] != frame["left"]) & (frame["preferred"] != frame["right"])]
    if len(wrong):
        line, row = wrong.index[0] + 2, wrong.iloc[0]
        raise ValueError(
            f"{path}, line {line}: preferred is {row['preferred']!r}; expected {row['left']!r} or {row['right']!r}, "
            "the methods on the left and on the right"
        )
    return frame


def ensure_file(path: Path) -> None:
    """Create the CSV with its header if it does not exist, and check that it can be written.

    Raises:
        OSError: the file cannot be created or written.
    """
    with path.open("a", newline="", encoding="utf-8") as file:
        if not file.tell():
            csv.writer(file, lineterminator="\n").writerow(COLUMNS)


def append_answer(path: Path, face: str, left: str, right: str, preferred: str) -> None:
    """Append one answer to the CSV; create the file if it does not exist.

    Args:
        path: the CSV.
        face: id of the selfie.
        left: method whose avatar was shown on the left.
        right: method whose avatar was shown on the right.
        preferred: one of these two methods.

    Raises:
        OSError: the file cannot be written.
    """
    ensure_file(path)
    ends_with_newline = path.read_bytes().endswith(b"\n")  # an editor may have removed the last newline
    with path.open("a", newline="", encoding="utf-8") as file:
        file.write("" if ends_with_newline else "\n")
        csv.writer(file, lineterminator="\n").writerow([face, left, right, preferred])
