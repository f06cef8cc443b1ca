from pathlib import Path

import pandas as pd
import pytest

from portraitist.core import manifest
from portraitist.core.outcome import Status


def test_picture_id_is_start_of_sha256():
    assert manifest.picture_id(b"abc") == "ba7816bf8f01cfea"  # FIPS 180-2, appendix B.1


def test_text_that_looks_like_a_number_is_read_as_text(tmp_path: Path):
    row = {"id": "0000000000001234", "group": "007", "same_as": "00000000000012e5", "dhash": "1234567812345678"}
    manifest.write([row], tmp_path / "manifest.csv", list(row))
    assert manifest.read(tmp_path / "manifest.csv").to_dict("records") == [row]


def test_empty_cells_and_the_word_na_are_read_as_text(tmp_path: Path):
    rows = [{"id": "a", "name": "NA", "group": ""}, {"id": "b", "name": "null"}]
    manifest.write(rows, tmp_path / "manifest.csv", ["id", "name", "group"])
    frame = manifest.read(tmp_path / "manifest.csv")
    assert frame["name"].tolist() == ["NA", "null"]
    assert frame["group"].tolist() == ["", ""]


@pytest.mark.parametrize("text", ['a, "b"', "a\nb", "\n", '"', "a b"])
def test_separators_in_cells_are_read_back(tmp_path: Path, text: str):
    row = {"id": "a", "name": text, "group": "anna"}
    manifest.write([row, row], tmp_path / "manifest.csv", list(row))
    assert manifest.read(tmp_path / "manifest.csv").to_dict("records") == [row, row]


def test_carriage_returns_become_spaces(tmp_path: Path):
    rows = [{"id": "a", "name": "Anna\rBerg", "width": 5, "status": "kept"}, {"id": "b", "name": "", "status": "kept"}]
    manifest.write(rows, tmp_path / "manifest.csv", list(rows[0]))
    assert (tmp_path / "manifest.csv").read_text() == "id,name,width,status\na,Anna Berg,5,kept\nb,,,kept\n"


def test_only_named_columns_are_written_in_their_order(tmp_path: Path):
    manifest.write([{"kind": "selfies", "path": "/home/me", "id": "a"}], tmp_path / "m.csv", ["id", "kind"])
    assert (tmp_path / "m.csv").read_bytes() == b"id,kind\na,selfies\n"
    assert [path.name for path in tmp_path.iterdir()] == ["m.csv"]


def test_integers_stay_integers_beside_empty_cells(tmp_path: Path):
    manifest.write(
        [{"id": "a", "width": 256, "colour": 0.5}, {"id": "b"}], tmp_path / "m.csv", ["id", "width", "colour"]
    )
    assert (tmp_path / "m.csv").read_bytes() == b"id,width,colour\na,256,0.5\nb,,\n"


def test_manifest_without_rows_is_a_header(tmp_path: Path):
    manifest.write([], tmp_path / "m.csv", ["id", "status"])
    assert (tmp_path / "m.csv").read_bytes() == b"id,status\n"
    assert list(manifest.kept_rows(tmp_path / "m.csv")["id"]) == []


def test_missing_manifest_raises(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        manifest.read(tmp_path / "manifest.csv")


def test_kept_rows_are_sorted_by_id(tmp_path: Path):
    statuses = {"c": "kept", "d": "no_face", "a": "kept", "b": "duplicate"}
    rows = [{"id": picture, "status": status} for picture, status in statuses.items()]
    manifest.write(rows, tmp_path / "m.csv", ["id", "status"])
    frame = manifest.kept_rows(tmp_path / "m.csv")
    assert list(frame["id"]) == ["a", "c"]
    assert list(frame.index) == [0, 1]


def test_outcome_counts_have_both_kinds_and_found_statuses():
    outcomes = [("selfies", Status.KEPT), ("selfies", Status.KEPT), ("selfies", Status.NO_FACE)]
    frame = pd.DataFrame([{"kind": kind, "status": status.value} for kind, status in outcomes])
    assert manifest.count_outcomes(frame) == {"selfies": {"kept": 2, "no_face": 1}, "portraits": {}}
