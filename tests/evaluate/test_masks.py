import pytest
from evaluation_toys import PERSONS, PORTRAIT_PERSONS, boxes, evaluation_data, uniform, value

from portraitist.evaluate.masks import HELD_OUT, mask_ious


def test_mask_iou_is_intersection_over_union():
    masks = boxes((0, 4, 0, 6), (0, 4, 0, 6), (2, 5, 2, 5))
    references = boxes((2, 8, 0, 6), (0, 4, 0, 6), (9, 9, 9, 9))
    assert mask_ious(masks, references).tolist() == pytest.approx([12 / (24 + 36 - 12), 1, 0])


def test_mask_iou_thresholds_at_one_half():
    box = boxes((0, 4, 0, 6))
    assert mask_ious(0.6 * box, 0.9 * box).tolist() == [1]
    assert mask_ious(0.4 * box, 0.9 * box).tolist() == [0]
    assert mask_ious(0.5 * box, 0.9 * box).tolist() == [0]


def test_masks_of_avatars_are_compared_with_selfie_masks():
    stylized = uniform(255, 255, 255, masks=PERSONS)
    assert value("mask_iou_stylized", stylized=stylized) == 1
    half = stylized.clone()
    half[0, :, :, 14:] = -1  # ten of the person's twenty columns
    assert value("mask_iou_stylized", stylized=half) == pytest.approx((0.5 + 1 + 1) / 3)


def test_held_out_masks_are_of_selfies_and_portraits():
    selfies = uniform(255, 255, 255, masks=PERSONS)
    portraits = uniform(255, 255, masks=PORTRAIT_PERSONS)
    portraits[1] = -1
    measurement = HELD_OUT.measure(evaluation_data(selfies=selfies, portraits=portraits))
    assert (measurement.value, measurement.n) == (pytest.approx(4 / 5), 5)
    assert measurement.details == {"selfies": 1.0, "portraits": 0.5}
    assert measurement.low < measurement.value < measurement.high
