import numpy as np
from drawn import smooth

from portraitist.core.image_io import decode_png, encode_jpeg, encode_png


def test_png_round_trip_is_lossless():
    picture = np.random.default_rng(1).integers(0, 256, (17, 23, 3), dtype=np.uint8)
    for array in (picture, picture[..., 1]):
        decoded = decode_png(encode_png(array))
        assert decoded.dtype == np.uint8
        assert np.array_equal(decoded, array)


def test_png_bytes_do_not_depend_on_memory_layout():
    picture = smooth(1)
    column_major = np.asfortranarray(picture)
    assert not column_major.flags["C_CONTIGUOUS"]
    assert encode_png(column_major) == encode_png(picture)
    assert encode_png(picture[:, ::-1]) != encode_png(picture)


def test_jpeg_is_close_to_its_picture():
    picture = smooth(4)
    data = encode_jpeg(picture)
    assert data[:2] == b"\xff\xd8"
    assert abs(decode_png(data).astype(int) - picture).mean() < 6
