import cv2
import numpy as np
import pytest

from portraitist.app.mesh import OUTLINE, without_mesh

SIDE = 128
ROWS, COLUMNS = np.mgrid[0:SIDE, 0:SIDE]
EVERYWHERE = np.full((SIDE, SIDE), 255, np.uint8)
PATTERN = np.sin(2 * np.pi * COLUMNS / 6) * np.sin(2 * np.pi * ROWS / 6)
GRAIN = np.random.default_rng(5).choice([-1.0, 1.0], (SIDE, SIDE))


def picture(base, pattern, channels=(1, 1, 1)):
    """Return a picture of a base colour, with a pattern that is added to some channels."""
    return np.clip(np.round(base + pattern[..., None] * np.array(channels)), 0, 255).astype(np.uint8)


def contrast(pixels, area=np.s_[20:-20, 20:-20]):
    """Return the standard deviation of structures finer than about 6 pixels, mean over the channels."""
    grain = pixels.astype(float) - cv2.GaussianBlur(pixels.astype(float), (0, 0), 2.5)
    return np.sqrt((grain[area] ** 2).mean())


@pytest.mark.parametrize(
    ("ratio", "expected", "channels"),
    [
        (2, 2, (1, 1, 1)),  # within the limit: unchanged
        (5, 2.5, (1, 1, 1)),
        (8, 2.5, (1, 1, 1)),
        (8, 2.5, (1, 0, 0)),  # a pattern of colour
    ],
)
def test_contrast_is_at_most_two_and_a_half_times_the_selfies(ratio, expected, channels):
    selfie = picture(110, 3 * GRAIN)
    scale = 3 * GRAIN.std() * ratio / (PATTERN.std() * np.sqrt(np.mean(channels)))
    painting = picture(140, scale * PATTERN, channels)
    result = without_mesh(painting, selfie, EVERYWHERE, 1.0)
    # A Gaussian blur leaves more of the fine grain than of the pattern.
    factor = contrast(picture(110, 20 * GRAIN)) / 20 / (contrast(picture(110, 20 * PATTERN)) / 20 / PATTERN.std())
    wanted = contrast(painting) if ratio == expected else expected * contrast(selfie)
    assert contrast(painting) / contrast(selfie) == pytest.approx(ratio / factor, rel=0.05)
    assert contrast(result) == pytest.approx(wanted, rel=0.06)
    assert np.abs(result.mean(axis=(0, 1)) - painting.mean(axis=(0, 1))).max() < 0.3


def test_weight_sets_the_strength():
    selfie, painting = picture(110, 0 * PATTERN), picture(140, 20 * PATTERN)
    contrasts = [contrast(without_mesh(painting, selfie, EVERYWHERE, weight)) for weight in (0.0, 0.5, 1.0)]
    assert contrasts[0] == contrast(painting)
    assert contrasts[1] == pytest.approx(contrasts[0] / 2, rel=0.1)
    assert contrasts[2] < 0.5


def test_strokes_along_details_stay_and_areas_farther_away_are_smoothed():
    selfie, strand = picture(110, 0 * PATTERN), np.s_[:, 62:66]
    selfie[strand] = 30
    painting = picture(140, 10 * PATTERN)
    painting[strand] = 0
    result = without_mesh(painting, selfie, EVERYWHERE, 1.0)
    near, far = np.s_[20:-20, 59:69], np.s_[20:-20, 82:110]
    assert np.abs(result[near].astype(int) - painting[near]).max() <= 1
    assert contrast(result, far) < 0.1 * contrast(painting, far)


@pytest.mark.parametrize("ramp", [1, 4, 8])
@pytest.mark.parametrize("background", [60, 240])
def test_soft_edge_and_background_do_not_count(ramp, background):
    alpha = np.clip((80 - COLUMNS) / ramp, 0, 1)
    light = (1 - alpha) * background
    selfie, painting = picture(0, alpha * 20 + light), picture(0, alpha * (150 + 10 * PATTERN) + light)
    result = without_mesh(painting, selfie, (255 * alpha).astype(np.uint8), 1.0)
    outline = 80 - ramp - OUTLINE + 1  # its first column
    assert np.array_equal(result[:, outline:], painting[:, outline:])
    assert np.abs(result[20:-20, 20:outline].astype(int) - 150).max() <= 3


def test_pictures_without_a_person_or_without_contrast_stay():
    flat, painting = picture(90, 0 * PATTERN), picture(90, 9 * PATTERN)
    assert np.array_equal(without_mesh(flat, flat, EVERYWHERE, 1.0), flat)
    assert np.array_equal(without_mesh(painting, flat, 0 * EVERYWHERE, 1.0), painting)
