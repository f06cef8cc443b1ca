import numpy as np

from portraitist.core.blend import alpha_composite


def test_alpha_composite_over_picture_and_over_colour():
    picture, alpha = np.full((1, 3, 3), 200, np.uint8), np.array([[0, 51, 255]], np.uint8)
    assert alpha_composite(picture, alpha, np.full((1, 3, 3), 100, np.uint8))[0, :, 0].tolist() == [100, 120, 200]
    assert alpha_composite(picture, alpha, (0, 10, 250))[0].tolist() == [[0, 10, 250], [40, 48, 240], [200, 200, 200]]
