import cv2
import numpy as np
import pytest

from portraitist.app.stains import detail, grey_weight, stain_weight, with_one_tint, without_stains
from portraitist.crop.align import Crop, CropImage
from portraitist.crop.geometry import Face

SIDE = 256
POINTS = np.array([[108, 112], [148, 112], [128, 140], [128, 163], [90, 115], [166, 115]], np.float32)


def texture(sigma):
    grain = np.random.default_rng(3).normal(0, 1, (SIDE, SIDE, 1)).astype(np.float32)
    lowpass = cv2.GaussianBlur(grain, (0, 0), sigma)[..., None] if sigma else grain
    picture = np.array([190, 140, 110]) + 30 * lowpass / lowpass.std()
    return picture.clip(0, 255).astype(np.uint8)


def crop(picture):
    inside = np.full((SIDE, SIDE), 255, np.uint8)
    identity = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
    return Crop(CropImage(picture, None, inside), Face(1.0, (0.0, 0.0, 1.0, 1.0), POINTS), identity)


def person():
    return cv2.ellipse(np.zeros((SIDE, SIDE), np.uint8), (128, 130), (80, 100), 0, 0, 360, 255, -1)


def test_detail_falls_with_blur():
    assert detail(texture(0)) > detail(texture(1.5)) > detail(texture(4))


@pytest.mark.parametrize(("sigma", "weight"), [(0, 0), (5, 1)])
def test_only_blurred_faces_are_corrected(sigma, weight):
    assert stain_weight(crop(texture(sigma))) == weight


def two_colours():
    """A selfie of a person with light hair above, and dark clothes below."""
    selfie = np.full((SIDE, SIDE, 3), (200, 180, 140), np.uint8)
    selfie[SIDE // 2 :] = (60, 50, 70)
    return selfie


def test_recoloured_person_is_not_changed():
    painting = cv2.add(two_colours() // 2, np.array([40, 70, 20], np.uint8))  # another hue, and less contrast
    result = without_stains(painting, two_colours(), person(), 0.0)
    assert np.abs(result.astype(int) - painting).max() <= 1


def test_stain_of_a_sharp_selfie_is_limited():
    stained = two_colours()
    stained[150:190, 110:150] = (150, 40, 30)
    stain = np.s_[162:178, 122:138]
    result = without_stains(stained, two_colours(), person(), 0.0)
    before, after = (
        np.linalg.norm(
            np.subtract(*(cv2.cvtColor(np.float32(each[stain]) / 255, cv2.COLOR_RGB2LAB) for each in pair)), axis=2
        )
        for pair in ((stained, two_colours()), (result, two_colours()))
    )
    assert before.min() > 40
    assert after.max() < 7
    elsewhere = np.s_[60:120, 100:150]
    assert np.abs(result[elsewhere].astype(int) - stained[elsewhere]).max() <= 2


def test_small_deviations_and_fine_strokes_stay():
    painting = two_colours()
    painting[150:190, 110:150] += 5  # a deviation below the limit
    painting[60:100:2, 100:150] += 40  # strokes
    result = without_stains(painting, two_colours(), person(), 0.0).astype(int)
    assert np.abs(result - painting)[155:185, 115:145].max() <= 1
    assert np.abs(result - painting)[60:100].std() < 2


def test_colours_of_the_selfie_are_not_limited():
    selfie = two_colours()
    selfie[150:190, 110:150] = (190, 60, 70)  # a rare colour, such as that of lips
    painting = cv2.add(selfie // 2, np.array([10, 60, 90], np.uint8))
    painting[150:190, 110:150] = selfie[150:190, 110:150]
    result = without_stains(painting, selfie, person(), 0.0).astype(int)
    assert np.abs(result - painting)[158:182, 118:142].max() <= 1


@pytest.mark.parametrize("value", [1, 255])
def test_mask_of_a_pixel_changes_nothing_else(value):
    side = 1024
    selfie, painting = (np.full((side, side, 3), colour, np.uint8) for colour in ((200, 180, 140), (90, 90, 160)))
    mask = np.zeros((side, side), np.uint8)
    mask[500, 501] = value
    result = without_stains(painting, selfie, mask, 0.0)
    assert np.abs(result.astype(int) - painting).max() <= 1


def test_empty_mask_changes_nothing():
    result = without_stains(texture(0), texture(5), np.zeros((SIDE, SIDE), np.uint8), 1.0)
    assert np.array_equal(result, texture(0))


def test_stain_is_removed_and_tint_and_strokes_stay():
    selfie = np.full((SIDE, SIDE, 3), (190, 140, 110), np.uint8)
    strokes = np.where(np.indices((SIDE, SIDE)).sum(axis=0) % 4 < 2, 12, -12)[..., None]
    clean = (np.array([150, 150, 170]) + strokes).astype(np.uint8)  # the painting is bluish
    stained = clean.copy()
    stained[110:140, 120:150] = np.array([220, 60, 40]) + strokes[110:140, 120:150]
    result = without_stains(stained, selfie, person(), 1.0).astype(float)
    inner = np.s_[118:132, 128:142]
    colours = [each[inner].mean(axis=(0, 1)) for each in (stained.astype(float), result, clean.astype(float))]
    assert np.abs(colours[1] - colours[2]).max() < 0.35 * np.abs(colours[0] - colours[2]).max()
    assert result[inner].std(axis=(0, 1)).min() > 6  # the strokes are still there
    elsewhere = np.s_[60:90, 100:150]
    assert np.abs(result[elsewhere] - clean[elsewhere]).mean() < 8


def test_background_is_not_corrected():
    result = without_stains(texture(0), texture(5), person(), 1.0)
    assert np.array_equal(result[person() == 0], texture(0)[person() == 0])


def test_only_grey_persons_have_a_grey_weight():
    grey = np.repeat(texture(2)[..., :1], 3, axis=2)
    grey[person() == 0] = (200, 30, 30)  # the colours of the background do not count
    assert grey_weight(grey, person()) == 1
    grey[person() > 0, 0] -= 8
    assert 0 < grey_weight(grey, person()) < 1
    assert grey_weight(texture(2), person()) == 0
    assert grey_weight(grey, np.zeros_like(person())) == 0


def test_one_tint_keeps_lightness_and_mean_colour_but_no_other_hue():
    painting = np.full((SIDE, SIDE, 3), (120, 110, 100), np.uint8)
    painting[110:140, 120:150] = (60, 140, 150)  # a stain
    inside = person() > 127

    def lab(weight):
        result = with_one_tint(painting, person(), weight)
        assert np.array_equal(result[~inside], painting[~inside])
        return cv2.cvtColor(result.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[inside]

    before, half, after = lab(0.0), lab(0.5), lab(1.0)
    assert np.abs(after - before)[:, 0].max() < 0.6
    assert np.abs(after.mean(axis=0) - before.mean(axis=0)).max() < 0.3
    spreads = [each[:, 1:].std(axis=0) for each in (before, half, after)]
    assert (spreads[2] < 0.3).all()
    assert np.allclose(spreads[1], spreads[0] / 2, rtol=0.1)
    assert spreads[0].min() > 1
