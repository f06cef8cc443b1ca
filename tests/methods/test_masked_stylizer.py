import math
from dataclasses import replace

import pytest
import torch
from toys import (
    ONES,
    REDDEST,
    FixedSegmenter,
    RejectRed,
    RejectRedWithoutGradient,
    batch,
    boxes,
    make_trainable,
    noise,
    on_other_background,
    settings,
    upstream_models,
)

from portraitist.core.params import ParamsError
from portraitist.learning.registry import build
from portraitist.learning.tensors import Batch, composite, on_grey, smooth
from portraitist.methods import masked_stylizer
from portraitist.nets.arbitrary_style import kuwahara, load_style_transformer

NAME = "masked_stylizer"


def discriminator_inputs(method, images):
    """Return the images of which the discriminator sees features in one step."""
    inputs, features = [], method.discriminator.features
    method.discriminator.features = lambda each: inputs.append(each.detach().clone()) or features(each)
    method.step(images)
    assert len(inputs) == 3
    return dict(zip(("fake", "real", "edge"), inputs, strict=True))


@pytest.mark.parametrize("mask", ["product", "given"])
def test_discriminator_never_sees_background(mask):
    images = batch()
    method = make_trainable(NAME, FixedSegmenter(ONES), mask=mask, erode_px=0)
    for name, inputs in discriminator_inputs(method, images).items():
        masks = images.portrait_masks if name in ("real", "edge") else images.selfie_masks
        assert (inputs * (1 - masks)).abs().max() == 0, name
        assert (inputs * masks).abs().mean((1, 2, 3)).min() > 0.01, name


@pytest.mark.parametrize("mask", ["product", "given"])
def test_masks_and_logits_are_eroded_to_hide_the_fringe_of_background(mask, monkeypatch):
    calls, hinge_loss = [], masked_stylizer.hinge_loss

    def record(logits, area, target_is_real):
        calls.append((target_is_real, area))
        return hinge_loss(logits, area, target_is_real=target_is_real)

    monkeypatch.setattr(masked_stylizer, "hinge_loss", record)
    method = make_trainable(NAME, FixedSegmenter(ONES), mask=mask, erode_px=2)
    portraits = boxes((3, 10, 20, 29), (8, 13, 5, 9))
    selfies = boxes((6, 11, 7, 14), (4, 7, 14, 28))
    for name, images in discriminator_inputs(method, batch()).items():
        expected = portraits if name in ("real", "edge") else selfies
        assert torch.equal((images != 0).any(1, keepdim=True).float(), expected), name
    assert [is_real for is_real, _ in calls] == [True, False, False]  # portraits, stylized and smoothed pictures
    assert all(
        torch.equal(area, expected) for (_, area), expected in zip(calls, (portraits, selfies, portraits), strict=True)
    )


@pytest.mark.parametrize("mask", ["product", "given"])
def test_another_background_changes_neither_training_nor_style(mask):
    first, second = (make_trainable(NAME, RejectRed(), mask=mask) for _ in range(2))
    losses = first.step(batch())
    assert second.step(on_other_background(batch())) == losses
    assert all(torch.equal(second.state_dict()[name], value) for name, value in first.state_dict().items())


@pytest.mark.parametrize("mask", ["product", "given", "whole"])
def test_edges_are_smoothed_without_the_background_if_it_is_masked(mask):
    images = batch()
    method = make_trainable(NAME, FixedSegmenter(ONES), mask=mask, erode_px=0)
    edge = discriminator_inputs(method, images)["edge"]
    masked = mask in ("product", "given")
    expected = images.smoothed_persons * images.portrait_masks if masked else images.smoothed
    assert torch.equal(edge, expected)


def test_discriminator_sees_whole_images_without_mask():
    images = batch()
    inputs = discriminator_inputs(make_trainable(NAME, FixedSegmenter(ONES), mask="whole"), images)
    assert torch.equal(inputs["real"], images.portraits)
    assert torch.equal(inputs["edge"], images.smoothed)
    assert (inputs["fake"] * (1 - images.selfie_masks)).abs().max() > 0.01


def test_product_mask_is_the_intersection_of_both_masks():
    learned = boxes((3, 10, 7, 29), (1, 15, 6, 25))
    method = make_trainable(NAME, FixedSegmenter(learned), mask="product", erode_px=0)
    for name, images in discriminator_inputs(method, batch()).items():
        masks = batch().portrait_masks if name in ("real", "edge") else batch().selfie_masks
        assert 0 < (masks * learned).sum() < masks.sum()
        assert torch.equal((images != 0).any(1, keepdim=True).float(), masks * learned), name


def make_constant(generator, color):
    """Make a generator output one color for any input; return its last norm's shift, which can still learn."""
    norm = generator.to_image.norm
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.zero_()
        norm.shift.bias.copy_(torch.tensor([math.log((1 + value) / (1 - value)) for value in color]))
    return norm.shift


def test_generator_learns_from_faces_that_drop_out_of_the_mask():
    gradients = {}
    for segmenter in (RejectRed(), RejectRedWithoutGradient()):
        method = make_trainable(NAME, segmenter, mask="product", lambda_content=0.0, lambda_color=0.0)
        shift = make_constant(method.generator, (REDDEST, -REDDEST, -REDDEST))
        inputs = discriminator_inputs(method, batch())
        assert inputs["fake"].abs().max() < 1e-5  # the red face is masked out entirely
        gradients[type(segmenter)] = shift.bias.grad.abs().max().item()
    assert gradients[RejectRed] > 100 * gradients[RejectRedWithoutGradient]
    assert gradients[RejectRed] > 1e-6


def test_training_starts_from_the_pretrained_network():
    expected = load_style_transformer(upstream_models().require_pretrained()).state_dict()
    for network in (make_trainable(NAME).generator, make_trainable(NAME, seed=6).ema.network):
        assert all(torch.equal(network.state_dict()[name], value) for name, value in expected.items())


def test_generator_gets_the_style_of_each_portrait_and_paints_with_their_mean():
    images, method, styles = batch(), make_trainable(NAME), []
    expected = method.predictor(on_grey(images.portraits, images.portrait_masks))
    for network in (method.generator, method.ema.network):
        network.register_forward_pre_hook(lambda _, arguments: styles.append(arguments[1].detach().clone()))
    method.step(images)
    method.paint(images.selfies, images.selfie_masks)
    assert torch.equal(styles[0], expected)
    assert torch.allclose(styles[1], expected.mean(0).expand(2, -1))
    assert not torch.allclose(expected[0], expected[1], atol=0.001)


def test_adversarial_loss_is_added_after_the_warmup():
    method = make_trainable(NAME, warmup_steps=2)
    losses = [method.step(batch(seed)) for seed in range(4)]
    assert [row["g_adv"] != 0 for row in losses] == [False, False, True, True]
    assert all(row["d_fake"] > 0 and row["g_content"] > 0 for row in losses)


def test_warmup_trains_the_generator_without_the_discriminator():
    first, second = make_trainable(NAME, warmup_steps=1), make_trainable(NAME, warmup_steps=1, lambda_adv=9.0)
    for method in (first, second):
        method.step(batch())
    assert all(map(torch.equal, first.generator.parameters(), second.generator.parameters()))


@pytest.mark.parametrize(("key", "term"), [
    ("lambda_adv", "g_adv"), ("lambda_edge", "d_edge"), ("lambda_content", "g_content"), ("lambda_detail", "g_detail"),
    ("lambda_color", "g_color"),
])  # fmt: skip
def test_weights_scale_their_terms(key, term):
    once, twice = (make_trainable(NAME, **{key: weight}).step(batch()) for weight in (0.5, 1.0))
    assert twice[term] == pytest.approx(2 * once[term])
    changed = {name for name in once if once[name] != twice[name]}
    assert changed - {term} <= ({"g_adv"} if term == "d_edge" else set())  # of the updated discriminator


def test_content_loss_weighs_eyes_most_and_details_in_the_face_only(monkeypatch):
    calls = []

    def record(features, target, masks):
        assert [layer.shape for layer in features] == [layer.shape for layer in target]
        calls.append(([layer.shape[-1] for layer in features], masks[0, 0]))
        return features[0].mean()

    monkeypatch.setattr(masked_stylizer, "normalized_content_loss", record)
    images = replace(batch(), selfie_masks=torch.ones(2, 1, 16, 32))
    make_trainable(NAME, face_weight=9.0).step(images)
    (content_widths, content), (detail_widths, detail) = calls
    assert (content_widths, detail_widths) == ([8, 4, 2], [16])
    eye, nose, corner = (6, 12), (8, 16), (15, 0)
    assert content[eye] > 6 > content[nose] > 3 and content[corner] < 1.1
    assert detail[eye] > 0.6 and detail[corner] < 0.01


def test_content_and_colours_are_compared_with_the_same_selfie(monkeypatch):
    targets = {}

    def compare_features(features, target, masks):
        targets.setdefault("features", []).extend(target)
        return features[0].mean()

    def compare_colours(images, target, masks):
        targets["colours"] = target
        return images.mean()

    monkeypatch.setattr(masked_stylizer, "normalized_content_loss", compare_features)
    monkeypatch.setattr(masked_stylizer, "color_loss", compare_colours)
    images, method = batch(), make_trainable(NAME, mask="given", smoothing=0.0)
    persons = on_grey(images.selfies, images.selfie_masks)
    details, *content = method.discriminator_features(persons)
    method.step(images)
    assert torch.equal(targets["colours"], persons)
    assert all(map(torch.equal, targets["features"], [*content, details]))


def test_discriminator_has_a_head_for_each_level():
    logits = make_trainable(NAME).discriminator(noise(1, 3, 64, 32, seed=1))
    assert [tuple(layer.shape[2:]) for layer in logits] == [(32, 16), (16, 8), (8, 4), (4, 2)]


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_generator_sees_smoothed_persons(smoothing):
    images, method, inputs = batch(), make_trainable(NAME, mask="given", smoothing=smoothing), []
    for network in (method.generator, method.ema.network):
        network.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
    method.step(images)
    method.paint(images.selfies, images.selfie_masks)
    persons = on_grey(images.selfies, images.selfie_masks)
    expected = smooth(persons, smoothing) if smoothing else persons
    assert len(inputs) == 2 and all(torch.equal(each, expected) for each in inputs)
    assert torch.equal(expected, persons) == (smoothing == 0)


@pytest.mark.parametrize("radius", [0.0, 0.02])
def test_avatars_are_filtered_if_there_is_a_radius(radius):
    images = batch()
    images = Batch(*(each.repeat_interleave(4, 2).repeat_interleave(4, 3) for each in vars(images).values()))
    method = make_trainable(NAME, kuwahara_radius=radius).eval()
    styles = method.style.expand(images.selfies)
    stylized = method.ema.network(method.generator_input(images.selfies, images.selfie_masks), styles)
    filtered = kuwahara(stylized, images.selfie_masks, radius) if radius else stylized
    expected = composite(filtered, images.selfie_masks, images.selfies)
    assert torch.equal(method.paint(images.selfies, images.selfie_masks), expected)
    assert (filtered - stylized).abs().max() > 0.01 or radius == 0


def test_larger_crops_are_reduced_for_training_but_not_painting():
    small = vars(batch()).values()
    images = Batch(*(each.repeat_interleave(2, 2).repeat_interleave(2, 3) for each in small))
    method = make_trainable(NAME, mask="given", training_px=images.selfies.shape[-1] // 2)
    side = images.selfies.shape[-1]
    assert {each.shape[-1] for each in discriminator_inputs(method, images).values()} == {side // 2}
    assert method.paint(images.selfies, images.selfie_masks).shape[-1] == side


def test_painting_keeps_the_selfies_background_and_ignores_it():
    images, other = batch(), on_other_background(batch())
    method = make_trainable(NAME)
    painted, on_other = (method.paint(each.selfies, each.selfie_masks) for each in (images, other))
    person = (images.selfie_masks == 1).expand_as(painted)
    assert torch.equal(painted[~person], images.selfies[~person])
    assert torch.equal(on_other[~person], other.selfies[~person])
    assert torch.equal(painted[person], on_other[person])


def test_feature_network_without_levels_is_rejected_by_its_key():
    upstream = replace(upstream_models(), features=torch.nn.Identity())
    found = r"but another feature network was loaded \(Python class Identity\)"
    with pytest.raises(ParamsError, match=rf"content\.network: masked_stylizer needs lite0, {found}"):
        build(NAME, settings(NAME), upstream)


@pytest.mark.parametrize(
    ("side", "training_px", "factor"),
    [(256, 128, 2), (128, 128, 1), (64, 128, 1), (272, 128, 1), (400, 128, 1), (768, 128, 6)],
)
def test_crops_are_downsampled_to_a_side_that_the_networks_accept(side, training_px, factor):
    assert masked_stylizer.downsampling_factor(side, training_px) == factor
    assert side // factor % 16 == 0
