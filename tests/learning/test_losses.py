from inspect import unwrap
from math import exp, log

import pytest
import torch
from toys import noise

from portraitist.learning.losses import (
    adversarial_loss,
    color_loss,
    content_loss,
    gram_loss,
    hinge_generator_loss,
    hinge_loss,
    l1_loss,
    least_squares_loss,
    mask_loss,
    normalized_content_loss,
    patch_nce_loss,
    relative_content_loss,
    total_variation_loss,
    weighted_l1_loss,
    weighted_least_squares_loss,
)


def test_adversarial_loss_of_zero_logits_is_ln_2():
    undecided = torch.zeros(2, 1, 3, 5)
    assert adversarial_loss(undecided, target_is_real=True).item() == pytest.approx(log(2))
    assert adversarial_loss(undecided, target_is_real=False).item() == pytest.approx(log(2))


def test_adversarial_loss_is_binary_cross_entropy():
    confident = torch.full((1, 1, 2, 3), 2.0)
    assert adversarial_loss(confident, target_is_real=True).item() == pytest.approx(log(1 + exp(-2)))
    assert adversarial_loss(confident, target_is_real=False).item() == pytest.approx(log(1 + exp(2)))


def test_hinge_loss_is_zero_beyond_a_margin_of_1():
    masks, logits = torch.ones(1, 1, 2, 4), torch.tensor([3.0, 0.5]).reshape(1, 1, 1, 2)
    assert hinge_loss([logits], masks, target_is_real=True).item() == pytest.approx((0 + 0.5) / 2)
    assert hinge_loss([logits], masks, target_is_real=False).item() == pytest.approx((4 + 1.5) / 2)
    assert hinge_loss([-logits, logits], masks, target_is_real=True).item() == pytest.approx((4 + 1.5 + 0 + 0.5) / 4)
    assert hinge_generator_loss([logits], masks).item() == pytest.approx(-(3 + 0.5) / 2)


def test_hinge_losses_average_over_persons_then_images():
    logits = torch.tensor([[3.0, 0.5, -2.0, 9.0], [0.0, 0.0, -7.0, 9.0]]).reshape(2, 1, 2, 2)
    masks = torch.zeros(2, 1, 4, 4)
    masks[0, :, :2] = masks[1, :, 2:, :2] = 1  # the upper half; the lower left quarter
    assert hinge_generator_loss([logits], masks).item() == pytest.approx((-(3 + 0.5) / 2 + 7) / 2)
    assert hinge_loss([logits], masks, target_is_real=True).item() == pytest.approx((0.5 / 2 + 8) / 2)
    assert hinge_generator_loss([logits], torch.zeros(2, 1, 4, 4)).item() == 0


def test_mask_loss_is_cross_entropy_with_soft_masks():
    logits = torch.tensor([1.0, -2.0]).reshape(1, 1, 1, 2)
    target = torch.tensor([0.25, 1.0]).reshape(1, 1, 1, 2)
    first = 0.25 * log(1 + exp(-1)) + 0.75 * log(1 + exp(1))
    assert mask_loss(logits, target).item() == pytest.approx((first + log(1 + exp(2))) / 2)


def test_content_loss_weighs_layers_equally():
    small, large = torch.zeros(1, 2, 1, 1), torch.zeros(1, 1, 4, 8)
    assert content_loss([small + 3, large - 1], [small, large]).item() == pytest.approx((3 + 1) / 2)


def test_masked_content_loss_is_over_the_person_only():
    features, masks = torch.zeros(1, 2, 2, 3), torch.zeros(1, 1, 4, 6)
    features[0, 0, 0, 0], features[0, 1, 1, 2] = 3.0, 8.0  # inside and outside of the person
    masks[0, 0, :2, :4] = 1
    loss = content_loss([features, features * 2], [torch.zeros_like(features)] * 2, masks)
    assert loss.item() == pytest.approx((3 / 4 + 6 / 4) / 2)  # two channels of two positions


def test_masked_content_loss_is_zero_without_a_person():
    features = torch.ones(1, 2, 2, 3)
    assert content_loss([features], [features * 4], torch.zeros(1, 1, 4, 6)).item() == 0


def test_content_loss_is_the_mean_absolute_difference():
    features, target = noise(2, 3, 4, 5, seed=1), noise(2, 3, 4, 5, seed=2)
    assert content_loss([features], [features]).item() == 0
    assert content_loss([features], [target]).item() == pytest.approx((features - target).abs().mean().item())


@pytest.mark.parametrize("target", [torch.zeros(1, 3, 4, 4), torch.zeros(2, 3, 4, 1)])
def test_content_loss_rejects_features_that_would_broadcast(target):
    with pytest.raises(ValueError, match=r"features \(2, 3, 4, 4\), target "):
        content_loss([torch.zeros(2, 3, 4, 4)], [target])


def test_content_loss_rejects_another_number_of_layers():
    with pytest.raises(ValueError, match="longer"):
        content_loss([torch.zeros(1, 3, 4, 4)], [torch.zeros(1, 3, 4, 4)] * 2)


def test_masked_content_loss_weighs_images_equally():
    features = torch.stack([torch.ones(2, 4, 6), torch.full((2, 4, 6), 3.0)])
    masks = torch.zeros(2, 1, 4, 6)
    masks[0, :, :, :] = masks[1, :, 1:3, 2:4] = 1
    assert content_loss([features], [torch.zeros_like(features)], masks).item() == pytest.approx(2)


def test_mask_loss_rejects_masks_that_would_broadcast():
    with pytest.raises(ValueError, match=r"logits \(2, 1, 4, 4\), target \(1, 1, 4, 4\)"):
        unwrap(mask_loss)(
            torch.zeros(2, 1, 4, 4), torch.zeros(1, 1, 4, 4)
        )  # without the jaxtyping hook, which only tests install


def test_least_squares_loss_targets_1_if_real_else_0():
    logits = torch.tensor([[[[0.5, 2.0]]]])
    assert least_squares_loss(logits, target_is_real=True).item() == pytest.approx((0.25 + 1) / 2)
    assert least_squares_loss(logits, target_is_real=False).item() == pytest.approx((0.25 + 4) / 2)


def test_weighted_least_squares_loss_weighs_patches():
    logits = torch.tensor([[[[0.5, 2.0]]]])
    weights = torch.tensor([[[[3.0, 3.0, 1.0, 1.0], [3.0, 3.0, 1.0, 1.0]]]])
    assert weighted_least_squares_loss(logits, weights, target_is_real=True).item() == pytest.approx((3 * 0.25 + 1) / 4)
    assert weighted_least_squares_loss(logits, weights, target_is_real=False).item() == pytest.approx(
        (3 * 0.25 + 4) / 4
    )


def test_l1_losses_are_plain_and_weighted_means():
    images, target = torch.zeros(1, 3, 2, 2), torch.zeros(1, 3, 2, 2)
    target[0, :, 0, 0], target[0, :, 1, 1] = 0.6, -0.2
    weights = torch.tensor([[[[2.0, 1.0], [1.0, 0.0]]]])
    assert l1_loss(images, target).item() == pytest.approx(0.8 / 4)
    assert weighted_l1_loss(images, target, weights).item() == pytest.approx(2 * 0.6 / 4)
    for loss in (unwrap(l1_loss), lambda *pair: unwrap(weighted_l1_loss)(*pair, weights)):
        with pytest.raises(ValueError, match=r"images \(1, 3, 2, 2\), target \(1, 3, 1, 2\)"):
            loss(images, target[:, :, :1])


def test_weighted_losses_give_each_image_the_same_weight():
    generator = torch.Generator().manual_seed(5)
    values, weights = torch.rand(2, 1, 4, 4, generator=generator), torch.rand(2, 1, 4, 4, generator=generator)
    weights[1] *= 9  # this image must not dominate the loss: another process may have computed it
    images = values.expand(2, 3, 4, 4)

    def least_squares(at: slice) -> float:
        return weighted_least_squares_loss(values[at], weights[at], target_is_real=True).item()

    def l1(at: slice) -> float:
        return weighted_l1_loss(images[at], torch.zeros_like(images[at]), weights[at]).item()

    for loss in (least_squares, l1):
        assert loss(slice(0, 2)) == pytest.approx((loss(slice(0, 1)) + loss(slice(1, 2))) / 2)


def test_patch_nce_loss_is_cross_entropy_within_an_image():
    points = torch.eye(3)[None]
    assert patch_nce_loss(points, points, 0.5).item() == pytest.approx(log(1 + 2 * exp(-2)))
    assert patch_nce_loss(points, points.roll(1, 1), 0.5).item() == pytest.approx(log(1 + 2 * exp(-2)) + 2)
    assert patch_nce_loss(points, 0 * points, 0.5).item() == pytest.approx(log(3))
    two = torch.cat([points, points.roll(1, 1)])  # points of another image are no negatives
    assert patch_nce_loss(two, two, 0.5).item() == pytest.approx(log(1 + 2 * exp(-2)))
    with pytest.raises(ValueError, match=r"points \(1, 3, 3\), target \(1, 2, 3\)"):
        unwrap(patch_nce_loss)(points, points[:, :2], 0.5)


def test_total_variation_is_the_mean_difference_of_neighbors():
    image = torch.zeros(1, 3, 3, 4)
    image[..., 2:] = 0.9
    image[:, :, 1:] += 0.1
    assert total_variation_loss(image).item() == pytest.approx(0.9 / 3 + 0.1 / 2)


def test_gram_loss_is_0_for_shuffled_and_1_for_zero_features():
    features = torch.randn(2, 5, 4, 6, generator=torch.Generator().manual_seed(1))
    ones = torch.ones(2, 1, 8, 12)
    shuffled = features.flatten(2)[..., torch.randperm(24, generator=torch.Generator().manual_seed(2))].view_as(
        features
    )
    assert gram_loss(shuffled, ones, features, ones).tolist() == pytest.approx([0, 0], abs=1e-6)
    assert gram_loss(0 * features, ones, features, ones).tolist() == pytest.approx([1, 1])
    assert gram_loss(2**0.5 * features, ones, features, ones).tolist() == pytest.approx([1, 1], abs=1e-5)


def test_gram_loss_ignores_features_outside_the_masks():
    features = torch.randn(2, 5, 4, 6, generator=torch.Generator().manual_seed(1))
    masks = torch.zeros(2, 1, 4, 6)
    masks[:, :, 1:3, 2:5] = 1
    changed_outside = torch.where(masks > 0, features, 7.0)
    moved = torch.where(masks.roll(1, 3) > 0, features.roll(1, 3), -5.0)
    loss = gram_loss(changed_outside, masks, moved, masks.roll(1, 3))
    assert loss.tolist() == pytest.approx([0, 0], abs=1e-6)


def test_gram_loss_gradient_is_correct_for_a_single_image():
    norm = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU6()).double().eval()
    generator = torch.Generator().manual_seed(1)
    image, target = (torch.rand(1, 3, 12, 12, generator=generator).double() for _ in range(2))
    ones = torch.ones(1, 1, 12, 12).double()
    assert torch.autograd.gradcheck(
        lambda image: gram_loss(norm(image), ones, norm(target), ones), image.requires_grad_()
    )


def test_relative_content_loss_is_1_for_zero_features():
    features = torch.randn(2, 5, 4, 6, generator=torch.Generator().manual_seed(1))
    assert relative_content_loss(0 * features, features).tolist() == pytest.approx([1, 1])
    assert relative_content_loss(1.5 * features, features).tolist() == pytest.approx([0.25, 0.25])
    with pytest.raises(ValueError, match="shape mismatch"):
        unwrap(relative_content_loss)(features, features[:1])


def test_normalized_content_loss_ignores_each_maps_mean_and_deviation():
    target = noise(2, 3, 4, 6, seed=1)
    scale, shift = noise(2, 3, 1, 1, seed=2) + 2, noise(2, 3, 1, 1, seed=3)
    assert normalized_content_loss([scale * target + shift], [target]).item() < 0.01
    assert content_loss([scale * target + shift], [target]).item() > 0.3
    assert normalized_content_loss([-target], [target]).item() > 1
    assert normalized_content_loss([torch.ones(1, 2, 4, 4)], [torch.zeros(1, 2, 4, 4)]).item() == 0


def test_normalized_content_loss_of_opposite_checks_is_2():
    checks = torch.tensor([[1.0, -1.0], [-1.0, 1.0]]).reshape(1, 1, 2, 2).repeat(1, 1, 2, 2)
    left = torch.zeros(1, 1, 8, 8)
    left[..., :4] = 1
    half = torch.cat([checks[..., :2], -checks[..., 2:]], dim=3)  # differs from `checks` on the right only
    assert normalized_content_loss([-5 * checks], [checks]).item() == pytest.approx(2, abs=0.01)
    assert normalized_content_loss([half], [checks]).item() == pytest.approx(1, abs=0.01)
    assert normalized_content_loss([half], [checks], left).item() == pytest.approx(0, abs=1e-6)
    assert normalized_content_loss([half, -checks], [checks, checks], left).item() == pytest.approx(1, abs=0.01)


def colored(red, green, blue):
    return torch.tensor([red, green, blue]).reshape(1, 3, 1, 1).expand(1, 3, 64, 32) * 2 - 1


def test_color_loss_of_uniform_colors_is_known():
    whole, grey = torch.ones(1, 1, 64, 32), colored(0.5, 0.5, 0.5)
    assert color_loss(colored(1.0, 0.0, 0.0), grey, whole).item() == pytest.approx((1 + 0.5) / 2)
    assert color_loss(colored(0.0, 0.0, 1.0), grey, whole).item() == pytest.approx((0 + 1) / 2)
    assert color_loss(colored(0.9, 0.9, 0.9), grey, whole).item() == pytest.approx(0, abs=1e-6)  # brightness is free


def test_color_loss_ignores_what_averages_out_in_a_cell():
    checks = colored(1.0, 0.0, 0.0).clone()
    checks[:, :, ::2] = colored(0.0, 1.0, 1.0)[:, :, ::2]  # lines of the opposite color
    whole = torch.ones(1, 1, 64, 32)
    assert color_loss(checks, colored(0.5, 0.5, 0.5), whole).item() == pytest.approx(0, abs=1e-6)


def test_color_loss_is_over_the_person_only():
    masks = torch.zeros(1, 1, 64, 32)
    masks[:, :, :32] = 1
    images = colored(0.5, 0.5, 0.5).clone()
    images[:, :, 32:] = colored(1.0, 0.0, 0.0)[:, :, 32:]
    assert color_loss(images, colored(0.5, 0.5, 0.5), masks).item() == pytest.approx(0, abs=1e-6)
    assert color_loss(images, colored(0.5, 0.5, 0.5), 1 - masks).item() == pytest.approx(0.75)
    with pytest.raises(ValueError, match="shape mismatch: images"):
        unwrap(color_loss)(images, images[:, :, :16], masks)
