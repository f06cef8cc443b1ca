import numpy as np
import pytest

from portraitist.app.enlargement import SELFIE_BLUR, blur_enlarged


def noise(side):
    return np.random.default_rng(2).integers(0, 256, (side, side, 3)).astype(np.uint8)


@pytest.mark.parametrize("scale", [0.3, 1.0])
def test_picture_that_was_not_enlarged_is_unchanged(scale):
    assert np.array_equal(blur_enlarged(noise(64), scale, SELFIE_BLUR), noise(64))


def test_blur_grows_with_the_enlargement_from_nothing():
    deviations = [float(blur_enlarged(noise(64), scale, SELFIE_BLUR).std()) for scale in (1.001, 1.5, 2.0, 4.0)]
    assert deviations[0] > 0.98 * noise(64).std()
    assert deviations == sorted(deviations, reverse=True)
    assert deviations[-1] < 0.3 * noise(64).std()


def test_blur_is_measured_in_pixels_of_the_selfie():
    bar = np.zeros((129, 129, 3), np.uint8)
    bar[60:69, 60:69] = 255
    profile = blur_enlarged(bar, 8.0, 0.5)[64, :, 0].astype(float)
    positions = np.arange(129) - 64
    variance = (profile * positions**2).sum() / profile.sum()
    square = (9**2 - 1) / 12  # variance of the bar itself
    assert np.sqrt(variance - square) == pytest.approx(0.5 * 8, rel=0.05)
