import numpy as np
import pytest
from drawn import smooth

from portraitist.reporting.contact_sheet import (
    GAP_PX,
    LABEL_PX,
    LINE_PX,
    add_column_labels,
    contact_sheet,
    labelled_tile,
    split_rows,
)


@pytest.mark.parametrize("labels", [[], ["one", "two", "three"]])
def test_contact_sheet_places_each_picture_in_its_cell(labels: list[str]):
    red, green = np.zeros((2, 5, 7, 3), np.uint8)
    red[..., 0], green[..., 1] = 250, 240
    grey = np.full((9, 4), 70, np.uint8)
    canvas = contact_sheet([[red, green], [grey], [green, grey, red]], labels, size_px=20)
    pitch, top = 20 + GAP_PX, LABEL_PX if labels else 0
    assert canvas.shape == (3 * pitch + GAP_PX + top, 3 * pitch + GAP_PX, 3)

    def cell(row: int, column: int) -> list[int]:
        y, x = top + GAP_PX + row * pitch, GAP_PX + column * pitch
        colours = np.unique(canvas[y : y + 20, x : x + 20].reshape(-1, 3), axis=0)
        assert len(colours) == 1
        return colours[0].tolist()

    assert cell(0, 0) == cell(2, 2) == [250, 0, 0]
    assert cell(0, 1) == cell(2, 0) == [0, 240, 0]
    assert cell(1, 0) == cell(2, 1) == [70, 70, 70]
    assert cell(0, 2) == cell(1, 1) == [255, 255, 255]
    assert bool((canvas[:top] < 128).any()) == bool(labels)


def test_long_labels_are_broken_and_stay_in_their_column():
    sheet = np.full((30, 240, 3), 255, np.uint8)
    labelled = add_column_labels(sheet, ["arbitrary_style_with_background", ""], pitch_px=120)
    header = labelled[: len(labelled) - len(sheet)]
    assert len(header) == LABEL_PX + LINE_PX
    assert all((header[top : top + LINE_PX, :120] < 128).any() for top in (2, 2 + LINE_PX))
    assert (header[:, 120:] == 255).all()


def test_contact_sheet_needs_rows_and_enough_labels():
    with pytest.raises(ValueError, match="at least one row"):
        contact_sheet([])
    with pytest.raises(ValueError, match="1 labels for 2 columns"):
        contact_sheet([[smooth(1), smooth(2)]], ["one"])


def test_split_rows_keeps_order_and_shortens_last_row():
    pictures = [smooth(seed) for seed in range(5)]
    index_of = {id(picture): number for number, picture in enumerate(pictures)}
    rows = split_rows(pictures, 2)
    assert [[index_of[id(picture)] for picture in row] for row in rows] == [[0, 1], [2, 3], [4]]


def test_labelled_tile_shows_whole_picture_above_its_label():
    wide = np.full((10, 40, 3), (200, 20, 20), np.uint8)
    plain, labelled = labelled_tile(wide, size_px=96), labelled_tile(wide, "no_face", 96)
    assert plain.shape == labelled.shape == (96, 96, 3)
    red = (plain == (200, 20, 20)).all(axis=-1)
    assert red.sum() == 96 * 24
    assert red[36:60].all()
    assert np.array_equal(plain[:80], labelled[:80])
    label = labelled[80:].reshape(-1, 3)
    assert (label == 255).all(axis=-1).mean() > 0.5
    assert (label < 100).all(axis=-1).sum() > 20
