import io
import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from portraitist.reporting.stage_report import COLUMNS, MAX_TILES, OutcomeSheet, write_stage_metrics


def plain_tile(red: int) -> np.ndarray:
    return np.full((96, 96, 3), (red, 20, 90), np.uint8)


def test_sheet_shows_first_kept_then_first_rejected(tmp_path):
    sheet = OutcomeSheet()
    for number in range(MAX_TILES + 5):
        sheet.add([plain_tile(200)], kept=True)
        sheet.add([plain_tile(40 if number < MAX_TILES else 250)], kept=False)
    assert (len(sheet.kept), len(sheet.rejected)) == (MAX_TILES, MAX_TILES)
    sheet.write(tmp_path / "sheet.jpg")
    pixels = np.array(Image.open(io.BytesIO((tmp_path / "sheet.jpg").read_bytes()))).astype(int)
    height = pixels.shape[0]
    rows = 2 * MAX_TILES // COLUMNS
    centres = [round((row + 0.5) * height / rows) for row in range(rows)]
    assert [round(pixels[centre, 50, 0], -1) for centre in centres] == [200] * (rows // 2) + [40] * (rows // 2)


def test_sheet_without_tiles_is_empty_file(tmp_path):
    OutcomeSheet().write(tmp_path / "sheet.jpg")
    assert (tmp_path / "sheet.jpg").read_bytes() == b""


def test_equal_tiles_give_equal_bytes(tmp_path):
    for name in ("one.jpg", "two.jpg"):
        sheet = OutcomeSheet()
        sheet.add([plain_tile(7), plain_tile(90)], kept=True)
        sheet.write(tmp_path / name)
    assert (tmp_path / "one.jpg").read_bytes() == (tmp_path / "two.jpg").read_bytes()


def test_stage_without_kept_pictures_of_a_kind_exits(tmp_path, capsys):
    rows = [("selfies", "kept", "web", ""), *(("portraits", "blank", source, "1.2 bits") for source in ("web", "own"))]
    frame = pd.DataFrame(rows, columns=["kind", "status", "source", "reason"])
    with pytest.raises(SystemExit, match=r"clean: no portraits are left.*clean\.json.*collect\.folder\.path.*limits"):
        write_stage_metrics(frame, "clean", tmp_path / "metrics" / "clean.json")
    assert json.loads((tmp_path / "metrics" / "clean.json").read_text(encoding="utf-8")) == {
        "selfies": {"kept": 1},
        "portraits": {"blank": 2},
        "sources": {"own": {"blank": 1}, "web": {"blank": 1, "kept": 1}},
    }
    expected = "clean: 1 of 1 selfies kept; 0 of 2 portraits kept, rejected: 2 blank (1.2 bits)\n"
    assert capsys.readouterr().err == expected


def test_printed_reasons_are_the_most_frequent(tmp_path, capsys):
    statuses = ["kept"] * 2 + ["no_face"] * 5 + ["face_too_small"] * 3 + ["face_cut_off"] * 2 + ["too_small"]
    rows = [{"kind": "selfies", "status": status, "reason": ""} for status in statuses]
    rows.append({"kind": "portraits", "status": "kept", "reason": ""})
    write_stage_metrics(pd.DataFrame(rows), "crop", tmp_path / "crop.json")
    rejected = "5 no_face, 3 face_too_small, 2 face_cut_off, 1 for other reasons"
    assert capsys.readouterr().err == f"crop: 2 of 13 selfies kept, rejected: {rejected}; 1 of 1 portraits kept\n"
