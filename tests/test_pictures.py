import numpy as np
import pytest
from drawn import smooth

from portraitist.pictures import SHEET_GAP_PX, SHEET_LABEL_PX, decode, encode, in_rows, jpeg, over, sheet, tile


def test_what_is_encoded_comes_back_to_the_bit():
    picture = np.random.default_rng(1).integers(0, 256, (17, 23, 3), dtype=np.uint8)
    for array in (picture, picture[..., 1]):
        back = decode(encode(array))
        assert back.dtype == np.uint8
        assert np.array_equal(back, array)


def test_equal_arrays_give_equal_bytes_however_they_lie_in_memory():
    picture = smooth(1)
    turned = np.asfortranarray(picture)
    assert not turned.flags["C_CONTIGUOUS"]
    assert encode(turned) == encode(picture)
    assert encode(picture[:, ::-1]) != encode(picture)


def test_over_mixes_by_alpha_with_a_picture_and_with_a_colour():
    picture, alpha = np.full((1, 3, 3), 200, np.uint8), np.array([[0, 51, 255]], np.uint8)
    assert over(picture, alpha, np.full((1, 3, 3), 100, np.uint8))[0, :, 0].tolist() == [100, 120, 200]
    assert over(picture, alpha, (0, 10, 250))[0].tolist() == [[0, 10, 250], [40, 48, 240], [200, 200, 200]]


@pytest.mark.parametrize("labels", [[], ["one", "two", "three"]])
def test_a_sheet_sets_each_picture_in_its_row_and_column(labels: list[str]):
    red, green = np.zeros((2, 5, 7, 3), np.uint8)
    red[..., 0], green[..., 1] = 250, 240
    plane = np.full((9, 4), 70, np.uint8)
    canvas = sheet([[red, green], [plane], [green, plane, red]], labels, size_px=20)
    pitch, top = 20 + SHEET_GAP_PX, SHEET_LABEL_PX if labels else 0
    assert canvas.shape == (3 * pitch + SHEET_GAP_PX + top, 3 * pitch + SHEET_GAP_PX, 3)

    def tile(row: int, column: int) -> list[int]:
        corner = top + SHEET_GAP_PX + row * pitch, SHEET_GAP_PX + column * pitch
        colours = np.unique(canvas[corner[0] : corner[0] + 20, corner[1] : corner[1] + 20].reshape(-1, 3), axis=0)
        assert len(colours) == 1
        return colours[0].tolist()

    assert tile(0, 0) == tile(2, 2) == [250, 0, 0]
    assert tile(0, 1) == tile(2, 0) == [0, 240, 0]
    assert tile(1, 0) == tile(2, 1) == [70, 70, 70]
    assert tile(0, 2) == tile(1, 1) == [255, 255, 255]
    assert bool((canvas[:top] < 128).any()) == bool(labels)


def test_a_sheet_refuses_no_rows_and_too_few_labels():
    with pytest.raises(ValueError, match="at least one row"):
        sheet([])
    with pytest.raises(ValueError, match="1 labels for 2 columns"):
        sheet([[smooth(1), smooth(2)]], ["one"])


def test_rows_are_cut_in_order_and_the_last_is_short():
    pictures = [smooth(seed) for seed in range(5)]
    rows = in_rows(pictures, 2)
    assert [[next(n for n, one in enumerate(pictures) if one is shown) for shown in row] for row in rows] == [
        [0, 1],
        [2, 3],
        [4],
    ]


def test_a_jpeg_looks_like_its_picture():
    picture = smooth(4)
    data = jpeg(picture)
    assert data[:2] == b"\xff\xd8"
    assert abs(decode(data).astype(int) - picture).mean() < 6


def test_a_tile_shows_the_whole_picture_whatever_its_shape_and_its_text_at_the_foot():
    wide = np.full((10, 40, 3), (200, 20, 20), np.uint8)
    plain, told = tile(wide, size_px=96), tile(wide, "no_face", 96)
    assert plain.shape == told.shape == (96, 96, 3)
    red = (plain == (200, 20, 20)).all(axis=-1)
    assert red.sum() == 96 * 24
    assert red[36:60].all()
    assert np.array_equal(plain[:80], told[:80])
    foot = told[80:].reshape(-1, 3)
    assert (foot == 255).all(axis=-1).mean() > 0.5
    assert (foot < 100).all(axis=-1).sum() > 20
