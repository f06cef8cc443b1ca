import numpy as np
import pytest

from portraitist.core.blend import alpha_composite, extend_foreground


def test_alpha_composite_over_picture_and_over_colour():
    picture, alpha = np.full((1, 3, 3), 200, np.uint8), np.array([[0, 51, 255]], np.uint8)
    assert alpha_composite(picture, alpha, np.full((1, 3, 3), 100, np.uint8))[0, :, 0].tolist() == [100, 120, 200]
    assert alpha_composite(picture, alpha, (0, 10, 250))[0].tolist() == [[0, 10, 250], [40, 48, 240], [200, 200, 200]]


@pytest.mark.parametrize("foreground", [np.s_[:, :10], np.s_[40:41, 99:]])
def test_foreground_is_extended_to_the_whole_picture(foreground: tuple):
    picture, mask = np.full((100, 100, 3), 9, np.uint8), np.full((100, 100), 254, np.uint8)
    mask[foreground] = 255
    picture[foreground] = (200, 100, 50)
    assert np.array_equal(extend_foreground(picture, mask), np.broadcast_to((200, 100, 50), (100, 100, 3)))
