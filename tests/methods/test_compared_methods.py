"""Each compared method follows its authors' choices, without the known mistakes of public implementations."""

from dataclasses import replace
from math import exp, log1p
from typing import get_args

import pytest
import torch
from toys import (
    NoiseBatches,
    batch,
    boxes,
    make_trainable,
    noise,
    record_inputs,
    schedule,
    settings,
    upstream_models,
)

from portraitist.learning.image_pool import ImagePool
from portraitist.learning.losses import gram_loss
from portraitist.learning.optim import linear_decay, set_lr
from portraitist.learning.params import PairKind
from portraitist.learning.registry import params_class
from portraitist.methods.nst_with_background import PortraitBank
from portraitist.nets.cut import Projector, encode_features
from portraitist.nets.cyclegan import ResnetGenerator
from portraitist.train.loop import train

CYCLE_BASED = ["cyclegan", "attention_gan", "attentive_adversarial"]


# Learning rates


def learning_rates(method):
    return {group["lr"] for optimizer in (method.g_optimizer, method.d_optimizer) for group in optimizer.param_groups}


@pytest.mark.parametrize("name", [*CYCLE_BASED, "pix2pix", "cut", "ugatit"])
def test_learning_rate_is_constant_then_decays_linearly(name):
    method, rates = make_trainable(name, learning_rate=0.01), []
    for index in range(8):
        method.start_epoch(index, 8)
        (rate,) = learning_rates(method)
        rates.append(round(rate, 6))
    assert rates == [0.01] * 5 + [0.0075, 0.005, 0.0025]


def test_linear_decay_stays_positive():
    for total in (1, 2, 3, 20):
        factors = [linear_decay(index, total) for index in range(total)]
        assert factors[0] == 1
        assert factors == sorted(factors, reverse=True)
        assert factors[-1] > 0


def test_set_lr_keeps_the_optimizers_moments():
    weight = torch.nn.Parameter(torch.ones(2))
    adam = torch.optim.Adam([weight], lr=0.1)
    weight.sum().backward()
    adam.step()
    moment = adam.state[weight]["exp_avg"].clone()
    set_lr(adam, 0.02)
    assert adam.param_groups[0]["lr"] == 0.02
    assert torch.equal(adam.state[weight]["exp_avg"], moment)


# Image pool


def test_full_image_pool_swaps_half_of_the_images():
    torch.manual_seed(1)
    pool = ImagePool(5)
    first = torch.arange(5.0).reshape(5, 1, 1, 1)
    assert torch.equal(pool(first), first)
    stored, swaps = set(range(5)), 0
    for value in range(5, 205):
        (returned,) = pool(torch.full((1, 1, 1, 1), float(value))).flatten().tolist()
        assert returned == value or returned in stored
        if returned != value:
            stored = stored - {returned} | {value}
            swaps += 1
    assert 75 < swaps < 125
    assert {int(image) for image in pool.images} == stored


def test_image_pool_is_saved_and_restored():
    pool, restored = ImagePool(3), ImagePool(3)
    restored.load_state_dict(pool.state_dict())
    assert restored.images == []
    pool(noise(2, 3, 4, 4, seed=1))
    restored.load_state_dict(pool.state_dict())
    assert torch.equal(torch.stack(restored.images), torch.stack(pool.images))


def test_image_pool_with_images_on_two_devices_is_saved():
    """After a resume on a GPU, restored images are on the CPU, and new ones are on the GPU."""
    pool = ImagePool(3)
    pool.set_extra_state(noise(2, 3, 4, 4, seed=1))
    pool.images.append(OnAnotherDevice(noise(3, 4, 4, seed=2)))
    assert pool.get_extra_state().shape == (3, 3, 4, 4)


class OnAnotherDevice:
    """A tensor that must be moved to the CPU before it is used."""

    def __init__(self, values):
        self.values = values

    def cpu(self):
        return self.values


@pytest.mark.parametrize("name", CYCLE_BASED)
def test_discriminator_sees_pooled_images(name):
    method = make_trainable(name, pool_size=2)
    torch.manual_seed(3)
    for seed in range(2):
        method.step(batch(seed))
    pooled = [image.clone() for image in method.pool.images]
    images = []
    for seed in range(2, 6):
        with record_inputs(method.discriminator) as inputs:
            method.step(batch(seed))
        images += [image for each in inputs for image in each]
    assert any(torch.equal(image, earlier[:3]) for image in images for earlier in pooled)


# CycleGAN, pix2pix, CUT


REAL, FAKE = 0.75, 0.375  # outputs of the discriminators of `with_simple_networks`


def with_simple_networks(name, images, **overrides):
    """Return a method with simple networks, whose losses can be calculated by hand.

    The generator halves its input, and the one of the other direction divides it by four. The discriminators output
    REAL for pictures of `images`, and FAKE for all others.
    """
    method = make_trainable(name, **overrides)
    method.scale, method.level = (torch.nn.Parameter(torch.tensor(value)) for value in (0.5, 1.0))
    method.g_optimizer = torch.optim.SGD([method.scale], lr=1e-9)
    method.d_optimizer = torch.optim.SGD([method.level], lr=1e-9)

    def discriminator(real):
        def forward(inputs, norm=True):
            is_real = inputs.shape == real.shape and torch.equal(inputs, real)
            return method.level * torch.full((len(inputs), 1, 3, 4), REAL if is_real else FAKE) + 0 * inputs.mean()

        return forward

    method.generator.forward = lambda inputs: inputs * method.scale
    real = torch.cat([images.selfies, images.portraits], dim=1) if name == "pix2pix" else images.portraits
    method.discriminator.forward = discriminator(real)
    if hasattr(method, "generator_back"):
        method.generator_back.forward = lambda inputs: inputs * method.scale / 2
        method.discriminator_back.forward = discriminator(images.selfies)
    return method


LEAST_SQUARES = {
    **dict.fromkeys(("d_real", "d_real_back"), (1 - REAL) ** 2 / 2),
    **dict.fromkeys(("d_fake", "d_fake_back"), FAKE**2 / 2),
    **dict.fromkeys(("g_adv", "g_adv_back"), (1 - FAKE) ** 2),
}


def sizes(images):
    return (each.abs().mean().item() for each in (images.selfies, images.portraits))


def test_cyclegan_terms_equal_their_formulas():
    images = batch()
    selfies, portraits = sizes(images)
    expected = LEAST_SQUARES | {
        "g_cycle": 10 * (1 - 0.125) * selfies,
        "g_cycle_back": 10 * (1 - 0.125) * portraits,
        "g_identity": 5 * 0.5 * portraits,
        "g_identity_back": 5 * 0.75 * selfies,
    }
    assert with_simple_networks("cyclegan", images).step(images) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("index", [0, 9])  # before and after the switch
def test_attention_gan_terms_equal_their_formulas(index):
    images = batch()
    method = with_simple_networks("attention_gan", images, lambda_cycle=7.0)
    method.start_epoch(index, 10)
    for generator in (method.generator, method.generator_back):
        generator.forward_with_attention = lambda inputs, generator=generator: (
            generator(inputs),
            torch.ones_like(inputs[:, :1]),
        )
    selfies, portraits = sizes(images)
    expected = {"g_cycle": 7 * (1 - 0.125) * selfies, "g_cycle_back": 7 * (1 - 0.125) * portraits}
    assert method.step(images) == pytest.approx(LEAST_SQUARES | expected, rel=1e-4)


def test_attentive_adversarial_terms_equal_their_formulas():
    images = batch()
    method = with_simple_networks(
        "attentive_adversarial", images, lambda_cycle=7.0, lambda_landmarks=0.0, lambda_tv=3.0, lambda_perceptual=2.0
    )
    method.features.forward = lambda inputs: [inputs]
    selfies, portraits = sizes(images)
    variation = sum((images.selfies / 2).diff(dim=dim).abs().mean().item() for dim in (2, 3))
    expected = {
        "g_tv": 3 * variation,
        "g_perceptual": 2 * 0.5 * selfies,
        "g_cycle": 7 * (1 - 0.125) * selfies,
        "g_cycle_back": 7 * (1 - 0.125) * portraits,
    }
    assert method.step(images) == pytest.approx(LEAST_SQUARES | expected, rel=1e-4)


def test_pix2pix_terms_equal_their_formulas():
    images = batch()
    method = with_simple_networks("pix2pix", images, lambda_l1=20.0)
    expected = {
        "d_real": log1p(exp(-REAL)) / 2,
        "d_fake": log1p(exp(FAKE)) / 2,
        "g_adv": log1p(exp(-FAKE)),
        "g_l1": 20 * (images.selfies / 2 - images.portraits).abs().mean().item(),
    }
    assert method.step(images) == pytest.approx(expected, rel=1e-4)


def test_cut_terms_equal_their_formulas():
    images = batch()
    method = with_simple_networks("cut", images, lambda_nce=3.0)

    def nce_loss(outputs, source):
        assert torch.equal(outputs, source / 2)  # the generator's output for this source
        return (5.0 if source is images.selfies else 7.0) + 0 * outputs.mean()

    method.nce_loss = nce_loss
    expected = {name: LEAST_SQUARES[name] for name in ("d_real", "d_fake", "g_adv")}
    assert method.step(images) == pytest.approx(expected | {"g_nce": 7.5, "g_nce_identity": 10.5}, rel=1e-4)


def test_pix2pix_discriminator_is_conditioned_on_the_selfie():
    method, images = make_trainable("pix2pix"), batch()
    with record_inputs(method.discriminator) as inputs:
        method.step(images)
    assert len(inputs) == 3
    assert all(torch.equal(each[:, :3], images.selfies) for each in inputs)
    assert torch.equal(inputs[0][:, 3:], images.portraits)
    assert torch.equal(inputs[1], inputs[2])


def test_pix2pix_allows_the_pairs_that_training_can_find():
    assert get_args(params_class("pix2pix").model_fields["pairs"].annotation) == get_args(PairKind)


def test_cut_samples_patches_of_five_encoder_layers():
    generator = ResnetGenerator(4, 6)
    features = encode_features(generator, noise(2, 3, 64, 32, seed=1))
    assert [tuple(layer.shape[1:]) for layer in features] == [
        (3, 64, 32), (8, 32, 16), (16, 16, 8), (16, 16, 8), (16, 16, 8)
    ]  # fmt: skip
    assert torch.equal(features[4], generator.layers[:14](noise(2, 3, 64, 32, seed=1)))  # the fifth block's
    projector = Projector(4, 6)
    locations = projector.sample_locations(features)
    assert [len(indices) for indices in locations] == [256, 256, 128, 128, 128]
    assert all(len(set(indices.tolist())) == len(indices) for indices in locations)
    for points in projector(features, locations):
        assert torch.allclose(points.norm(dim=2), torch.ones(points.shape[:2]), atol=1e-5)


def test_cut_projector_has_the_authors_size():
    assert sum(parameter.numel() for parameter in Projector(64, 9).parameters()) == 560_384


def test_cut_starts_near_grey_and_cyclegan_at_noise():
    selfies = batch().selfies
    with torch.no_grad():
        cut, cyclegan = (make_trainable(name).generator(selfies).std().item() for name in ("cut", "cyclegan"))
    assert cut < 0.05
    assert cyclegan > 0.1
    heads = [
        module.weight for module in make_trainable("cut").projector.modules() if isinstance(module, torch.nn.Linear)
    ]
    assert heads[-1].std().item() == pytest.approx(0.02 * (2 / 512) ** 0.5, rel=0.02)  # gain * sqrt(2 / (in + out))


def test_cut_nce_loss_is_lowest_for_the_unchanged_selfie():
    method = make_trainable("cut")
    selfies = noise(2, 3, 16, 32, seed=3)
    same, flipped = (method.nce_loss(images, selfies).item() for images in (selfies, selfies.flip(3)))
    assert same < flipped - 0.5
    high_temperature = make_trainable("cut", temperature=0.9).nce_loss(selfies, selfies).item()
    assert same < high_temperature - 0.5


# Attention-guided translation


def attention_gan_at(index, total=10):
    method = make_trainable("attention_gan")
    method.start_epoch(index, total)
    return method


def test_attention_gan_switches_at_epoch_30_of_100():
    switched = [attention_gan_at(index, 100).foreground_only for index in (0, 29, 30, 99)]
    assert switched == [False, False, True, True]


def test_discriminator_sees_whole_images_before_the_switch():
    method, images = attention_gan_at(2), batch()
    with record_inputs(method.discriminator) as inputs:
        method.step(images)
    assert torch.equal(inputs[1], images.portraits)


def test_discriminator_sees_foreground_without_norm_after_it():
    method, images = attention_gan_at(3), batch()
    attention = boxes((2, 9, 3, 20), (4, 12, 8, 30)) * 0.6 + 0.05  # .05 is below the threshold, .65 above
    for generator in (method.generator, method.generator_back):
        generator.attention.forward = lambda images: attention
    norm_calls = []
    method.discriminator.norms[0].register_forward_hook(lambda *_: norm_calls.append(1))
    with record_inputs(method.discriminator) as inputs:
        method.step(images)
    foreground = (attention > 0.1).float()
    assert torch.equal(inputs[1], images.portraits * foreground)
    assert all((each * (1 - foreground)).abs().max() == 0 for each in inputs)
    assert norm_calls == []


def test_pooled_images_are_masked_by_their_own_attention():
    method, images = attention_gan_at(2), batch()
    method.step(images)  # fills the pools with whole images
    assert len(method.pool.images) == len(images.selfies)
    method.start_epoch(3, 10)
    for pool in (method.pool, method.pool_back):
        pool.size = len(pool.images)  # full
        for pooled in pool.images:
            pooled[3] = 0.05  # attention below the threshold everywhere
    torch.manual_seed(0)  # draws some pooled images
    with record_inputs(method.discriminator) as inputs:
        method.step(images)
    assert any(not image.any() for image in inputs[2])


@pytest.mark.parametrize(("index", "learns"), [(2, True), (3, False)])
def test_attention_is_fixed_after_the_switch(index, learns):
    method = attention_gan_at(index)
    before = {name: [value.clone() for value in net.parameters()] for name, net in method.generator.named_children()}
    method.step(batch())
    same = {
        name: all(map(torch.equal, before[name], net.parameters())) for name, net in method.generator.named_children()
    }
    assert same == {"resnet": False, "attention": not learns}


def test_generator_sees_the_whole_selfie_after_the_switch():
    method, images = attention_gan_at(5), batch()
    with record_inputs(method.generator.resnet) as inputs:
        method.step(images)
    assert torch.equal(inputs[0], images.selfies)


# Attentive adversarial network


def test_landmark_heatmap_peaks_at_eyes_and_mouth():
    method = make_trainable("attentive_adversarial", eye_line=0.4, eye_to_mouth=0.2)
    heatmap = method.landmark_heatmap(torch.zeros(1, 3, 200, 200))[0, 0]
    for row, column in ((80, 80), (80, 120), (120, 100)):
        assert heatmap[row, column] > 0.99
    assert heatmap[80, 100] < heatmap[80, 82]
    assert heatmap[20, 20] < 1e-3
    assert heatmap.max() <= 1


def test_landmarks_weigh_more_in_the_cycle_loss():
    method, images = make_trainable("attentive_adversarial"), batch()
    heatmap = method.landmark_heatmap(images.selfies)
    losses = {}
    for name, area in (("eyes", heatmap > 0.8), ("elsewhere", heatmap < 0.2)):
        error = torch.where(area, 0.5, 0.0).expand_as(images.selfies)
        method.generator.forward = lambda images: images + 0 * method.scale
        method.generator_back.forward = lambda images, error=error: images + error + 0 * method.scale
        method.scale = torch.nn.Parameter(torch.tensor(0.5))
        method.g_optimizer = torch.optim.SGD([method.scale], lr=1e-9)
        losses[name] = method.step(images)["g_cycle"] / area.float().mean().item()
    assert losses["eyes"] > 3 * losses["elsewhere"]


# U-GAT-IT


def test_ugatit_terms_equal_their_formulas():
    method, images = make_trainable("ugatit"), batch()
    selfies, portraits = images.selfies, images.portraits
    method.scale, method.level = (torch.nn.Parameter(torch.tensor(value)) for value in (0.5, 1.0))

    def fake_generator(factor, logit_of_selfies, logit_of_portraits):
        def forward_with_cam(images):
            logits = torch.full((2, 2), logit_of_selfies if images is selfies else logit_of_portraits)
            return images * method.scale * factor, logits + 0 * method.scale

        return forward_with_cam

    def fake_discriminator(real):
        shapes = [(2, 1, 3, 4), (2, 2), (2, 1, 7, 8), (2, 2)]
        return lambda images: [
            method.level * torch.full(shape, 0.75 if images is real else 0.375) + 0 * images.mean() for shape in shapes
        ]

    method.generator.forward_with_cam = fake_generator(1, 2.0, -1.0)
    method.generator_back.forward_with_cam = fake_generator(0.5, -3.0, 0.5)
    method.discriminator.forward, method.discriminator_back.forward = map(fake_discriminator, (portraits, selfies))
    method.g_optimizer = torch.optim.SGD([method.scale], lr=1e-9)
    method.d_optimizer = torch.optim.SGD([method.level], lr=1e-9)
    selfie_size, portrait_size = (each.abs().mean().item() for each in (selfies, portraits))
    assert method.step(images) == pytest.approx(
        {
            **dict.fromkeys(("d_real", "d_real_back"), 4 * 0.25**2),
            **dict.fromkeys(("d_fake", "d_fake_back"), 4 * 0.375**2),
            **dict.fromkeys(("g_adv", "g_adv_back"), 4 * 0.625**2),
            "g_cycle": 50 * (1 - 0.125) * selfie_size,
            "g_cycle_back": 50 * (1 - 0.125) * portrait_size,
            "g_identity": 10 * 0.5 * portrait_size,
            "g_identity_back": 10 * 0.75 * selfie_size,
            "g_cam": 1000 * (log1p(exp(-2)) + log1p(exp(-1))),
            "g_cam_back": 1000 * (log1p(exp(-0.5)) + log1p(exp(-3))),
        },
        rel=1e-4,
    )


def test_ugatit_mixing_weights_stay_in_0_to_1():
    method = make_trainable("ugatit", learning_rate=0.5)
    method.step(batch())
    for net in (method.generator, method.generator_back, method.ema.network):
        mixing = [weight for name, weight in net.named_parameters() if name.endswith((".rho", ".content_weight"))]
        assert len(mixing) == 2 + 2 * 3  # two upsamplings; in each of a block's two norms rho, of scale and of shift
        assert all(((weight >= 0) & (weight <= 1)).all() for weight in mixing)
    assert {0.0, 1.0} <= {value for weight in method.generator.parameters() for value in weight.flatten().tolist()}


def test_ugatit_optimizers_use_weight_decay():
    method = make_trainable("ugatit", weight_decay=0.25)
    groups = [group for optimizer in (method.g_optimizer, method.d_optimizer) for group in optimizer.param_groups]
    assert {(group["weight_decay"], group["betas"]) for group in groups} == {(0.25, (0.5, 0.999))}


# Neural style transfer


def test_portrait_bank_returns_the_nearest_outline_or_the_first():
    portraits, masks = noise(3, 3, 16, 32, seed=1), boxes((1, 15, 2, 9), (3, 9, 10, 30), (8, 16, 0, 32))
    bank = PortraitBank(2)
    bank.add(portraits[:1], masks[:1])
    bank.add(portraits[1:], masks[1:])  # the third does not fit
    targets = boxes((3, 9, 12, 30), (2, 15, 2, 9))
    chosen, chosen_masks = bank.choose(targets, nearest=True)
    assert torch.equal(chosen, portraits[:2].flip(0))
    assert torch.equal(chosen_masks, masks[:2].flip(0))
    assert torch.equal(bank.choose(targets, nearest=False)[0], portraits[:1].repeat(2, 1, 1, 1))


def with_portraits(name, **overrides):
    method = make_trainable(name, optimization_steps=8, **overrides)
    method.step(batch())
    return method


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize("name", ["nst_with_background", "nst_without_background"])
def test_style_transfer_lowers_the_gram_loss(name, optimizer):
    method = with_portraits(name, optimizer=optimizer, style_weight=100.0)
    selfies, masks = noise(2, 3, 16, 32, seed=4), boxes((1, 15, 2, 30), (2, 15, 3, 31))
    style, style_masks = method.bank.choose(masks, nearest=True)
    if name == "nst_with_background":
        area, style_area = torch.ones_like(masks), torch.ones_like(style_masks)
    else:
        area, style_area = masks, style_masks
    before, after = (
        sum(
            gram_loss(features, area, target, style_area)
            for features, target in zip(method.features(images), method.features(style), strict=True)
        )
        for images in (selfies, method.paint(selfies, masks))
    )
    assert (after < 0.8 * before).all()


def test_nst_without_background_changes_the_person_only():
    method = with_portraits("nst_without_background")
    selfies, masks = noise(2, 3, 16, 32, seed=4), boxes((1, 9, 2, 20), (5, 15, 9, 31))
    painted = method.paint(selfies, masks)
    assert torch.equal(painted * (1 - masks), selfies * (1 - masks))
    assert not torch.equal(painted * masks, selfies * masks)


def test_portraits_background_matters_only_with_background():
    masks = boxes((1, 9, 2, 20), (5, 15, 9, 31))
    differences = {}
    for name in ("nst_with_background", "nst_without_background"):
        painted = []
        for level in (0.0, 0.9):
            method = make_trainable(name, optimization_steps=8)
            images = batch()
            portraits = torch.where(images.portrait_masks > 0, images.portraits, level)
            method.features.forward = lambda images: [images]
            method.step(replace(images, portraits=portraits))
            painted.append(method.paint(noise(2, 3, 16, 32, seed=4), masks))
        differences[name] = (painted[0] - painted[1]).abs().max().item()
    assert differences["nst_with_background"] > 0.05
    assert differences["nst_without_background"] == 0


def test_nst_stores_the_first_portraits_and_trains_nothing():
    params = settings("nst_with_background", portraits=3)
    method = train("nst_with_background", params, NoiseBatches(), upstream_models(), schedule())
    assert len(method.bank.images) == 3
    assert torch.equal(method.bank.images[:2, :3], batch(0).portraits)


# CartoonGAN


@pytest.mark.parametrize(("index", "total", "learns"), [(0, 3, False), (1, 3, True), (0, 1, True)])
def test_cartoongan_starts_with_the_content_loss_alone(index, total, learns):
    method = make_trainable("cartoongan", content_weight=0.0)
    method.start_epoch(index, total)
    before = {name: weight.clone() for name, weight in method.named_parameters()}
    method.step(batch())
    changed = {
        name.split(".")[0] for name, weight in method.named_parameters() if not torch.equal(weight, before[name])
    }
    assert "discriminator" in changed
    assert ("generator" in changed) == learns
