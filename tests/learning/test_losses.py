from inspect import unwrap
from math import exp, log

import pytest
import torch
from toys import drawn

from portraitist.learning.losses import (
    adversarial_loss,
    content_loss,
    gram_loss,
    hinge_generator_loss,
    hinge_loss,
    l1_loss,
    least_squares_loss,
    mask_loss,
    patch_nce_loss,
    relative_content_loss,
    total_variation_loss,
    weighted_l1_loss,
    weighted_least_squares_loss,
)


def test_an_undecided_judge_costs_ln_2_either_way():
    undecided = torch.zeros(2, 1, 3, 5)
    assert adversarial_loss(undecided, real=True).item() == pytest.approx(log(2))
    assert adversarial_loss(undecided, real=False).item() == pytest.approx(log(2))


def test_calling_it_real_is_cheap_for_the_real_and_dear_for_the_painted():
    sure = torch.full((1, 1, 2, 3), 2.0)
    assert adversarial_loss(sure, real=True).item() == pytest.approx(log(1 + exp(-2)))
    assert adversarial_loss(sure, real=False).item() == pytest.approx(log(1 + exp(2)))


def test_hinge_asks_for_1_of_the_real_and_minus_1_of_the_painted_and_no_more():
    whole, judgement = torch.ones(1, 1, 2, 4), torch.tensor([3.0, 0.5]).reshape(1, 1, 1, 2)
    assert hinge_loss([judgement], whole, real=True).item() == pytest.approx((0 + 0.5) / 2)
    assert hinge_loss([judgement], whole, real=False).item() == pytest.approx((4 + 1.5) / 2)
    assert hinge_loss([-judgement, judgement], whole, real=True).item() == pytest.approx((4 + 1.5 + 0 + 0.5) / 4)
    assert hinge_generator_loss([judgement], whole).item() == pytest.approx(-(3 + 0.5) / 2)


def test_hinge_and_rejection_hear_of_persons_only_and_of_every_picture_alike():
    judgement = torch.tensor([[3.0, 0.5, -2.0, 9.0], [0.0, 0.0, -7.0, 9.0]]).reshape(2, 1, 2, 2)
    masks = torch.zeros(2, 1, 4, 4)
    masks[0, :, :2] = masks[1, :, 2:, :2] = 1  # the upper half; the lower left quarter
    assert hinge_generator_loss([judgement], masks).item() == pytest.approx((-(3 + 0.5) / 2 + 7) / 2)
    assert hinge_loss([judgement], masks, real=True).item() == pytest.approx((0.5 / 2 + 8) / 2)
    assert hinge_generator_loss([judgement], torch.zeros(2, 1, 4, 4)).item() == 0


def test_mask_loss_is_the_cross_entropy_of_soft_masks():
    logits = torch.tensor([1.0, -2.0]).reshape(1, 1, 1, 2)
    target = torch.tensor([0.25, 1.0]).reshape(1, 1, 1, 2)
    first = 0.25 * log(1 + exp(-1)) + 0.75 * log(1 + exp(1))
    assert mask_loss(logits, target).item() == pytest.approx((first + log(1 + exp(2))) / 2)


def test_content_is_the_mean_of_each_layers_mean_however_large_the_layer():
    small, large = torch.zeros(1, 2, 1, 1), torch.zeros(1, 1, 4, 8)
    assert content_loss([small + 3, large - 1], [small, large]).item() == pytest.approx((3 + 1) / 2)


def test_content_under_masks_is_the_mean_over_the_person_only():
    features, masks = torch.zeros(1, 2, 2, 3), torch.zeros(1, 1, 4, 6)
    features[0, 0, 0, 0], features[0, 1, 1, 2] = 3.0, 8.0  # the first is person, the second is none
    masks[0, 0, :2, :4] = 1
    found = content_loss([features, features * 2], [torch.zeros_like(features)] * 2, masks)
    assert found.item() == pytest.approx((3 / 4 + 6 / 4) / 2)  # two channels of two places


def test_content_without_a_person_is_nothing():
    features = torch.ones(1, 2, 2, 3)
    assert content_loss([features], [features * 4], torch.zeros(1, 1, 4, 6)).item() == 0


def test_content_of_equal_features_is_zero_and_it_counts_both_directions():
    one, other = drawn(2, 3, 4, 5, seed=1), drawn(2, 3, 4, 5, seed=2)
    assert content_loss([one], [one]).item() == 0
    assert content_loss([one], [other]).item() == pytest.approx((one - other).abs().mean().item())


@pytest.mark.parametrize("target", [torch.zeros(1, 3, 4, 4), torch.zeros(2, 3, 4, 1)])
def test_content_refuses_features_that_would_broadcast(target):
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 4\).* against .*"):
        content_loss([torch.zeros(2, 3, 4, 4)], [target])


def test_content_refuses_another_number_of_layers():
    with pytest.raises(ValueError, match="longer"):
        content_loss([torch.zeros(1, 3, 4, 4)], [torch.zeros(1, 3, 4, 4)] * 2)


def test_content_under_masks_counts_every_picture_alike_however_large_its_person_is():
    features = torch.stack([torch.ones(2, 4, 6), torch.full((2, 4, 6), 3.0)])
    masks = torch.zeros(2, 1, 4, 6)
    masks[0, :, :, :] = masks[1, :, 1:3, 2:4] = 1
    assert content_loss([features], [torch.zeros_like(features)], masks).item() == pytest.approx(2)


def test_mask_loss_refuses_masks_that_would_broadcast():
    with pytest.raises(ValueError, match=r"\(2, 1, 4, 4\) against \(1, 1, 4, 4\)"):
        unwrap(mask_loss)(torch.zeros(2, 1, 4, 4), torch.zeros(1, 1, 4, 4))  # as a user runs it, without the hook


def test_least_squares_is_the_mean_square_from_one_or_from_zero():
    judgement = torch.tensor([[[[0.5, 2.0]]]])
    assert least_squares_loss(judgement, real=True).item() == pytest.approx((0.25 + 1) / 2)
    assert least_squares_loss(judgement, real=False).item() == pytest.approx((0.25 + 4) / 2)


def test_weighted_squares_count_a_patch_by_its_weight():
    judgement = torch.tensor([[[[0.5, 2.0]]]])
    weights = torch.tensor([[[[3.0, 3.0, 1.0, 1.0], [3.0, 3.0, 1.0, 1.0]]]])
    assert weighted_least_squares_loss(judgement, weights, real=True).item() == pytest.approx((3 * 0.25 + 1) / 4)
    assert weighted_least_squares_loss(judgement, weights, real=False).item() == pytest.approx((3 * 0.25 + 4) / 4)


def test_distances_of_images_are_means_and_weights_weigh():
    one, other = torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)
    other[0, :, 0, 0], other[0, :, 1, 1] = 0.6, -0.2
    weights = torch.tensor([[[[2.0, 1.0], [1.0, 0.0]]]])
    assert l1_loss(one, other).item() == pytest.approx(0.8 / 4)
    assert weighted_l1_loss(one, other, weights).item() == pytest.approx(2 * 0.6 / 4)
    for distance in (unwrap(l1_loss), lambda *pair: unwrap(weighted_l1_loss)(*pair, weights)):
        with pytest.raises(ValueError, match=r"\(1, 3, 2, 2\) against \(1, 3, 1, 2\)"):
            distance(one, other[:, :, :1])


def test_the_contrast_is_the_cross_entropy_of_each_points_own_target():
    points = torch.eye(3)[None]
    assert patch_nce_loss(points, points, 0.5).item() == pytest.approx(log(1 + 2 * exp(-2)))
    assert patch_nce_loss(points, points.roll(1, 1), 0.5).item() == pytest.approx(log(1 + 2 * exp(-2)) + 2)
    assert patch_nce_loss(points, 0 * points, 0.5).item() == pytest.approx(log(3))
    two = torch.cat([points, points.roll(1, 1)])  # another picture's points are no rivals
    assert patch_nce_loss(two, two, 0.5).item() == pytest.approx(log(1 + 2 * exp(-2)))
    with pytest.raises(ValueError, match=r"\(1, 3, 3\) against \(1, 2, 3\)"):
        patch_nce_loss(points, points[:, :2], 0.5)


def test_total_variation_is_the_mean_step_beside_and_below():
    image = torch.zeros(1, 3, 3, 4)
    image[..., 2:] = 0.9
    image[:, :, 1:] += 0.1
    assert total_variation_loss(image).item() == pytest.approx(0.9 / 3 + 0.1 / 2)


def test_the_gram_distance_is_none_for_what_is_shuffled_and_one_for_what_is_black():
    features = torch.randn(2, 5, 4, 6, generator=torch.Generator().manual_seed(1))
    ones = torch.ones(2, 1, 8, 12)
    shuffled = features.flatten(2)[..., torch.randperm(24, generator=torch.Generator().manual_seed(2))].view_as(
        features
    )
    assert gram_loss(shuffled, ones, features, ones).tolist() == pytest.approx([0, 0], abs=1e-6)
    assert gram_loss(0 * features, ones, features, ones).tolist() == pytest.approx([1, 1])
    assert gram_loss(2**0.5 * features, ones, features, ones).tolist() == pytest.approx([1, 1], abs=1e-5)


def test_the_gram_distance_knows_only_what_is_in_the_masks():
    features = torch.randn(2, 5, 4, 6, generator=torch.Generator().manual_seed(1))
    masks = torch.zeros(2, 1, 4, 6)
    masks[:, :, 1:3, 2:5] = 1
    beyond = torch.where(masks > 0, features, 7.0)
    moved = torch.where(masks.roll(1, 3) > 0, features.roll(1, 3), -5.0)
    found = gram_loss(beyond, masks, moved, masks.roll(1, 3))
    assert found.tolist() == pytest.approx([0, 0], abs=1e-6)


def test_the_gradient_of_a_gram_distance_through_a_norm_is_that_of_its_difference_for_one_picture_too():
    norm = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU6()).double().eval()
    draw = torch.Generator().manual_seed(1)
    image, target = (torch.rand(1, 3, 12, 12, generator=draw).double() for _ in range(2))
    ones = torch.ones(1, 1, 12, 12).double()
    assert torch.autograd.gradcheck(
        lambda seen: gram_loss(norm(seen), ones, norm(target), ones), image.requires_grad_()
    )


def test_the_relative_distance_is_one_from_nothing():
    features = torch.randn(2, 5, 4, 6, generator=torch.Generator().manual_seed(1))
    assert relative_content_loss(0 * features, features).tolist() == pytest.approx([1, 1])
    assert relative_content_loss(1.5 * features, features).tolist() == pytest.approx([0.25, 0.25])
    with pytest.raises(ValueError, match="against"):
        relative_content_loss(features, features[:1])
