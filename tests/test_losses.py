from inspect import unwrap
from math import exp, log

import pytest
import torch
from toys import drawn

from portraitist.losses import adversarial, content, hinge, mask, rejection


def test_an_undecided_judge_costs_ln_2_either_way():
    undecided = torch.zeros(2, 1, 3, 5)
    assert adversarial(undecided, real=True).item() == pytest.approx(log(2))
    assert adversarial(undecided, real=False).item() == pytest.approx(log(2))


def test_calling_it_real_is_cheap_for_the_real_and_dear_for_the_painted():
    sure = torch.full((1, 1, 2, 3), 2.0)
    assert adversarial(sure, real=True).item() == pytest.approx(log(1 + exp(-2)))
    assert adversarial(sure, real=False).item() == pytest.approx(log(1 + exp(2)))


def test_hinge_asks_for_1_of_the_real_and_minus_1_of_the_painted_and_no_more():
    whole, judgement = torch.ones(1, 1, 2, 4), torch.tensor([3.0, 0.5]).reshape(1, 1, 1, 2)
    assert hinge([judgement], whole, real=True).item() == pytest.approx((0 + 0.5) / 2)
    assert hinge([judgement], whole, real=False).item() == pytest.approx((4 + 1.5) / 2)
    assert hinge([-judgement, judgement], whole, real=True).item() == pytest.approx((4 + 1.5 + 0 + 0.5) / 4)
    assert rejection([judgement], whole).item() == pytest.approx(-(3 + 0.5) / 2)


def test_hinge_and_rejection_hear_of_persons_only_and_of_every_picture_alike():
    judgement = torch.tensor([[3.0, 0.5, -2.0, 9.0], [0.0, 0.0, -7.0, 9.0]]).reshape(2, 1, 2, 2)
    masks = torch.zeros(2, 1, 4, 4)
    masks[0, :, :2] = masks[1, :, 2:, :2] = 1  # the upper half; the lower left quarter
    assert rejection([judgement], masks).item() == pytest.approx((-(3 + 0.5) / 2 + 7) / 2)
    assert hinge([judgement], masks, real=True).item() == pytest.approx((0.5 / 2 + 8) / 2)
    assert rejection([judgement], torch.zeros(2, 1, 4, 4)).item() == 0


def test_mask_loss_is_the_cross_entropy_of_soft_masks():
    logits = torch.tensor([1.0, -2.0]).reshape(1, 1, 1, 2)
    target = torch.tensor([0.25, 1.0]).reshape(1, 1, 1, 2)
    first = 0.25 * log(1 + exp(-1)) + 0.75 * log(1 + exp(1))
    assert mask(logits, target).item() == pytest.approx((first + log(1 + exp(2))) / 2)


def test_content_is_the_mean_of_each_layers_mean_however_large_the_layer():
    small, large = torch.zeros(1, 2, 1, 1), torch.zeros(1, 1, 4, 8)
    assert content([small + 3, large - 1], [small, large]).item() == pytest.approx((3 + 1) / 2)


def test_content_under_masks_is_the_mean_over_the_person_only():
    features, masks = torch.zeros(1, 2, 2, 3), torch.zeros(1, 1, 4, 6)
    features[0, 0, 0, 0], features[0, 1, 1, 2] = 3.0, 8.0  # the first is person, the second is none
    masks[0, 0, :2, :4] = 1
    found = content([features, features * 2], [torch.zeros_like(features)] * 2, masks)
    assert found.item() == pytest.approx((3 / 4 + 6 / 4) / 2)  # two channels of two places


def test_content_without_a_person_is_nothing():
    features = torch.ones(1, 2, 2, 3)
    assert content([features], [features * 4], torch.zeros(1, 1, 4, 6)).item() == 0


def test_content_of_equal_features_is_zero_and_it_counts_both_directions():
    one, other = drawn(2, 3, 4, 5, seed=1), drawn(2, 3, 4, 5, seed=2)
    assert content([one], [one]).item() == 0
    assert content([one], [other]).item() == pytest.approx((one - other).abs().mean().item())


@pytest.mark.parametrize("target", [torch.zeros(1, 3, 4, 4), torch.zeros(2, 3, 4, 1)])
def test_content_refuses_features_that_would_broadcast(target):
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 4\).* against .*"):
        content([torch.zeros(2, 3, 4, 4)], [target])


def test_content_refuses_another_number_of_layers():
    with pytest.raises(ValueError, match="against"):
        content([torch.zeros(1, 3, 4, 4)], [torch.zeros(1, 3, 4, 4)] * 2)


def test_content_under_masks_counts_every_picture_alike_however_large_its_person_is():
    features = torch.stack([torch.ones(2, 4, 6), torch.full((2, 4, 6), 3.0)])
    masks = torch.zeros(2, 1, 4, 6)
    masks[0, :, :, :] = masks[1, :, 1:3, 2:4] = 1
    assert content([features], [torch.zeros_like(features)], masks).item() == pytest.approx(2)


def test_mask_loss_refuses_masks_that_would_broadcast():
    with pytest.raises(ValueError, match=r"\(2, 1, 4, 4\) against masks \(1, 1, 4, 4\)"):
        unwrap(mask)(torch.zeros(2, 1, 4, 4), torch.zeros(1, 1, 4, 4))  # as a user runs it, without the hook
