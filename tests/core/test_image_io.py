import numpy as np
import pytest
from drawn import smooth

from portraitist.core.blend import alpha_composite
from portraitist.core.image_io import decode_png, encode_jpeg, encode_png
from portraitist.reporting.contact_sheet import GAP_PX, LABEL_PX, contact_sheet, labelled_tile, split_rows


def test_what_is_encoded_comes_back_to_the_bit():
    picture = np.random.default_rng(1).integers(0, 256, (17, 23, 3), dtype=np.uint8)
    for array in (picture, picture[..., 1]):
        back = decode_png(encode_png(array))
        assert back.dtype == np.uint8
        assert np.array_equal(back, array)


def test_equal_arrays_give_equal_bytes_however_they_lie_in_memory():
    picture = smooth(1)
    turned = np.asfortranarray(picture)
    assert not turned.flags["C_CONTIGUOUS"]
    assert encode_png(turned) == encode_png(picture)
    assert encode_png(picture[:, ::-1]) != encode_png(picture)


def test_over_mixes_by_alpha_with_a_picture_and_with_a_colour():
    picture, alpha = np.full((1, 3, 3), 200, np.uint8), np.array([[0, 51, 255]], np.uint8)
    assert alpha_composite(picture, alpha, np.full((1, 3, 3), 100, np.uint8))[0, :, 0].tolist() == [100, 120, 200]
    assert alpha_composite(picture, alpha, (0, 10, 250))[0].tolist() == [[0, 10, 250], [40, 48, 240], [200, 200, 200]]


@pytest.mark.parametrize("labels", [[], ["one", "two", "three"]])
def test_a_sheet_sets_each_picture_in_its_row_and_column(labels: list[str]):
    red, green = np.zeros((2, 5, 7, 3), np.uint8)
    red[..., 0], green[..., 1] = 250, 240
    plane = np.full((9, 4), 70, np.uint8)
    canvas = contact_sheet([[red, green], [plane], [green, plane, red]], labels, size_px=20)
    pitch, top = 20 + GAP_PX, LABEL_PX if labels else 0
    assert canvas.shape == (3 * pitch + GAP_PX + top, 3 * pitch + GAP_PX, 3)

    def tile(row: int, column: int) -> list[int]:
        corner = top + GAP_PX + row * pitch, GAP_PX + column * pitch
        colours = np.unique(canvas[corner[0] : corner[0] + 20, corner[1] : corner[1] + 20].reshape(-1, 3), axis=0)
        assert len(colours) == 1
        return colours[0].tolist()

    assert labelled_tile(0, 0) == labelled_tile(2, 2) == [250, 0, 0]
    assert labelled_tile(0, 1) == labelled_tile(2, 0) == [0, 240, 0]
    assert labelled_tile(1, 0) == labelled_tile(2, 1) == [70, 70, 70]
    assert labelled_tile(0, 2) == labelled_tile(1, 1) == [255, 255, 255]
    assert bool((canvas[:top] < 128).any()) == bool(labels)


def test_a_sheet_refuses_no_rows_and_too_few_labels():
    with pytest.raises(ValueError, match="at least one row"):
        contact_sheet([])
    with pytest.raises(ValueError, match="1 labels for 2 columns"):
        contact_sheet([[smooth(1), smooth(2)]], ["one"])


def test_rows_are_cut_in_order_and_the_last_is_short():
    pictures = [smooth(seed) for seed in range(5)]
    rows = split_rows(pictures, 2)
    assert [[next(n for n, one in enumerate(pictures) if one is shown) for shown in row] for row in rows] == [
        [0, 1],
        [2, 3],
        [4],
    ]


def test_a_jpeg_looks_like_its_picture():
    picture = smooth(4)
    data = encode_jpeg(picture)
    assert data[:2] == b"\xff\xd8"
    assert abs(decode_png(data).astype(int) - picture).mean() < 6


def test_a_tile_shows_the_whole_picture_whatever_its_shape_and_its_text_at_the_foot():
    wide = np.full((10, 40, 3), (200, 20, 20), np.uint8)
    plain, told = labelled_tile(wide, size_px=96), labelled_tile(wide, "no_face", 96)
    assert plain.shape == told.shape == (96, 96, 3)
    red = (plain == (200, 20, 20)).all(axis=-1)
    assert red.sum() == 96 * 24
    assert red[36:60].all()
    assert np.array_equal(plain[:80], told[:80])
    foot = told[80:].reshape(-1, 3)
    assert (foot == 255).all(axis=-1).mean() > 0.5
    assert (foot < 100).all(axis=-1).sum() > 20
