import numpy as np
import pytest
import torch
from evaluation_toys import (
    CROP_PARAMS,
    PERSONS,
    PORTRAIT_PERSONS,
    SIDE,
    boxes,
    evaluation_data,
    lightness,
    noise,
    uniform,
    value,
)

from portraitist.evaluate.skin import background_colours, mean_colours, skin_mask, skin_masks
from portraitist.stats.bootstrap import TooFewSamplesError

DARK_ON_LIGHT = uniform(60, 60, masks=PORTRAIT_PERSONS, background=200)


def bleed(level):
    return value("background_bleed", portraits=DARK_ON_LIGHT, stylized=uniform(level, level, level))


def test_bleed_is_0_at_portrait_skin_and_1_at_background():
    assert bleed(60) == pytest.approx(0, abs=1e-6)
    assert bleed(200) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("level", [100, 20, 230])
def test_bleed_is_linear_in_lightness(level):
    share = (lightness(level) - lightness(60)) / (lightness(200) - lightness(60))
    assert bleed(level) == pytest.approx(share, abs=0.01)


def test_bleed_needs_a_portrait_with_a_background():
    with pytest.raises(TooFewSamplesError, match="no test portrait shows any background"):
        value("background_bleed", portrait_masks=torch.ones(2, 1, SIDE, SIDE))


def test_bleed_is_measured_on_skin_only():
    stylized = uniform(60, 60, 60, masks=PERSONS, background=200)
    assert value("background_bleed", portraits=DARK_ON_LIGHT, stylized=stylized) == pytest.approx(0, abs=1e-6)


def test_bleed_is_measured_at_the_skin_of_the_selfie():
    stylized = uniform(60, 60, 60)
    for image, skin in zip(stylized, skin_masks(evaluation_data().selfies, PERSONS, CROP_PARAMS), strict=True):
        image[:, torch.from_numpy(skin)] = 200 / 127.5 - 1
    assert value("background_bleed", portraits=DARK_ON_LIGHT, stylized=stylized) == pytest.approx(1, abs=1e-6)


def test_repainted_is_the_mean_change_outside_the_person():
    selfies = uniform(100, 100, 100)
    same_background = uniform(250, 30, 100, masks=PERSONS, background=100)
    assert value("background_repainted", selfies=selfies, stylized=same_background) == pytest.approx(0, abs=1e-4)
    changed = uniform(100, 112, 97)
    assert value("background_repainted", selfies=selfies, stylized=changed) == pytest.approx((12 + 3) / 3, abs=1e-3)


def test_repainted_weights_soft_mask_edges():
    masks = torch.ones(2, 1, SIDE, SIDE)
    masks[..., :8, :] = 0
    masks[..., 8:16, :] = 0.75
    selfies, stylized = uniform(100, 100), uniform(100, 100)
    stylized[..., :8, :] += 4 / 127.5
    stylized[..., 8:16, :] += 14 / 127.5
    change = value("background_repainted", selfies=selfies, stylized=stylized, masks=masks)
    assert change == pytest.approx((4 * 1 + 14 * 0.25) / 1.25, abs=1e-3)


def test_sensitivity_of_equal_outputs_is_0():
    same = [evaluation_data().stylized] * 8
    assert value("background_sensitivity", on_backgrounds=same) == pytest.approx(0, abs=1e-9)


def test_sensitivity_is_the_mean_distance_from_the_mean_colour():
    alternating = [uniform(60, 120, 90), uniform(100, 120, 90)] * 4
    expected = (lightness(100) - lightness(60)) / 2 / 3
    assert value("background_sensitivity", on_backgrounds=alternating) == pytest.approx(expected, abs=0.02)


def test_skin_excludes_glasses():
    picture = np.full((SIDE, SIDE, 3), (200, 150, 120), np.uint8)
    picture[13:16, 10:20] = 10  # glasses
    skin = skin_mask(picture, np.ones((SIDE, SIDE), bool), CROP_PARAMS)
    assert 10 < skin.sum() < 200
    assert not skin[13:16, 10:20].any()
    rows, columns = np.nonzero(skin)
    assert abs(columns.mean() - 15.5) < 1
    assert 0.44 * SIDE < rows.mean() < 0.70 * SIDE


def test_skin_is_inside_the_person():
    mask = boxes((0, SIDE, 16, SIDE), height=SIDE, width=SIDE)
    (skin,) = skin_masks(noise(1, 3, SIDE, SIDE, seed=1), mask, CROP_PARAMS)
    assert skin.any()
    assert not skin[:, :16].any()


def test_colours_of_person_and_background():
    images = uniform(60, 120, masks=PORTRAIT_PERSONS, background=200)
    persons = [mask > 0 for mask in PORTRAIT_PERSONS[:, 0].numpy()]
    expected = [lightness(60), lightness(120)]
    assert mean_colours(images, persons)[:, 0].tolist() == pytest.approx(expected, abs=0.3)  # OpenCV interpolates
    assert background_colours(images, PORTRAIT_PERSONS)[:, 0] == pytest.approx([lightness(200)] * 2, abs=0.3)
    assert np.isnan(background_colours(images, torch.ones_like(PORTRAIT_PERSONS))).all()
