import cv2
import numpy as np
import pytest

from portraitist.app.shadows import BLACK, DARK, MARGIN, with_shadows

SIDE = 300
EVERYWHERE = np.full((SIDE, SIDE), 255, np.uint8)


def halves(left, right):
    picture = np.full((SIDE, SIDE, 3), left, np.uint8)
    picture[:, SIDE // 2 :] = right
    return picture


def test_black_area_is_darkened_and_the_rest_is_unchanged():
    selfie, painting = halves((8, 8, 8), (180, 150, 130)), halves((60, 70, 90), (200, 170, 140))
    result = with_shadows(painting, selfie, EVERYWHERE)
    dark = result[:, : SIDE // 2 - 30].reshape(-1, 3).astype(float)
    assert np.abs(dark @ (0.299, 0.587, 0.114) - (8 + MARGIN)).max() < 1.5
    assert np.abs(dark / dark.sum(axis=1, keepdims=True) - np.array((60, 70, 90)) / 220).max() < 0.03
    assert np.array_equal(result[:, SIDE // 2 + 30 :], painting[:, SIDE // 2 + 30 :])


def test_area_between_black_and_dark_is_darkened_less():
    brightness = (BLACK + DARK) / 2
    result = with_shadows(halves(100, 100), halves(brightness, brightness), EVERYWHERE)
    assert np.abs(result - (100 + brightness + MARGIN) / 2).max() <= 1


def test_strokes_in_a_dark_area_remain():
    selfie, painting = halves(8, 8), halves(60, 60)
    painting[::10] = 120
    result = with_shadows(painting, selfie, EVERYWHERE).astype(float)
    assert result[150].mean() == pytest.approx(2 * result[155].mean(), rel=0.1)


@pytest.mark.parametrize(("original", "painted"), [(DARK, 200), (10, 10 + MARGIN), (10, 2)])
def test_painting_is_unchanged_if_nothing_is_too_bright(original, painted):
    painting = halves(painted, painted)
    assert with_shadows(painting, halves(original, original), EVERYWHERE) is painting


def test_only_the_person_is_darkened():
    mask = np.zeros_like(EVERYWHERE)
    cv2.circle(mask, (150, 150), 80, 255, -1)
    painting = halves(90, 90)
    result = with_shadows(painting, halves(5, 5), mask)
    assert np.array_equal(result[mask == 0], painting[mask == 0])
    assert (result[mask == 255] < 40).all()
