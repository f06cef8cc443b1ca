import io

import numpy as np
from PIL import Image

from portraitist.reporting.stage_report import COLUMNS, SHOWN, OutcomeSheet


def painted(red: int) -> np.ndarray:
    return np.full((96, 96, 3), (red, 20, 90), np.uint8)


def test_a_sheet_shows_the_first_kept_ones_and_below_them_the_first_refused(tmp_path):
    shown = OutcomeSheet()
    for number in range(SHOWN + 5):
        shown.add([painted(200)], kept=True)
        shown.add([painted(40 if number < SHOWN else 250)], kept=False)
    assert (len(shown.kept), len(shown.refused)) == (SHOWN, SHOWN)
    shown.write(tmp_path / "sheet.jpg")
    sheet = np.array(Image.open(io.BytesIO((tmp_path / "sheet.jpg").read_bytes()))).astype(int)
    height = sheet.shape[0]
    rows = 2 * SHOWN // COLUMNS
    middles = [round((row + 0.5) * height / rows) for row in range(rows)]
    assert [round(sheet[middle, 50, 0], -1) for middle in middles] == [200] * (rows // 2) + [40] * (rows // 2)


def test_nothing_shown_is_an_empty_file(tmp_path):
    OutcomeSheet().write(tmp_path / "sheet.jpg")
    assert (tmp_path / "sheet.jpg").read_bytes() == b""


def test_equal_tiles_give_equal_bytes(tmp_path):
    for name in ("one.jpg", "two.jpg"):
        shown = OutcomeSheet()
        shown.add([painted(7), painted(90)], kept=True)
        shown.write(tmp_path / name)
    assert (tmp_path / "one.jpg").read_bytes() == (tmp_path / "two.jpg").read_bytes()
