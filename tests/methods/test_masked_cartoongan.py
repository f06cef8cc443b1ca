import math

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
    record_inputs,
)

from portraitist.learning.tensors import composite


def discriminator_inputs(method, images):
    """Return the discriminator's inputs in one step: three in the discriminator's update, one in the generator's."""
    with record_inputs(method.discriminator) as inputs:
        method.step(images)
    assert len(inputs) == 4
    return dict(zip(("real", "fake", "edge", "fake_of_generator"), inputs, strict=True))


@pytest.mark.parametrize("mask", ["product", "given"])
def test_discriminator_never_sees_background(mask):
    images = batch()
    method = make_trainable("masked_cartoongan", FixedSegmenter(ONES), mask=mask, erode_px=0, grey_input=False)
    for name, inputs in discriminator_inputs(method, images).items():
        masks = images.portrait_masks if name in ("real", "edge") else images.selfie_masks
        assert (inputs * (1 - masks)).abs().max() == 0, name
        assert (inputs * masks).abs().mean((1, 2, 3)).min() > 0.05, name


@pytest.mark.parametrize("mask", ["product", "given", "learned", "whole"])
def test_edges_are_smoothed_without_the_background_if_it_is_masked(mask):
    images = batch()
    method = make_trainable("masked_cartoongan", FixedSegmenter(ONES), mask=mask, erode_px=0)
    edge = discriminator_inputs(method, images)["edge"]
    masked = mask in ("product", "given")
    expected = images.smoothed_persons * images.portrait_masks if masked else images.smoothed
    assert torch.equal(edge, expected)


def test_discriminator_sees_whole_images_without_mask():
    images = batch()
    method = make_trainable("masked_cartoongan", FixedSegmenter(ONES), mask="whole", grey_input=False)
    inputs = discriminator_inputs(method, images)
    assert torch.equal(inputs["real"], images.portraits)
    assert torch.equal(inputs["edge"], images.smoothed)


def test_learned_mask_alone_hides_background():
    learned = boxes((3, 10, 7, 19), (1, 15, 20, 31))
    method = make_trainable("masked_cartoongan", FixedSegmenter(learned), mask="learned", grey_input=False)
    inputs = discriminator_inputs(method, batch()).values()
    assert all((images * (1 - learned)).abs().max() == 0 for images in inputs)
    assert all((images * learned).abs().mean() > 0.05 for images in inputs)


def test_product_mask_is_the_intersection_of_both_masks():
    learned = boxes((3, 10, 7, 29), (1, 15, 6, 25))
    method = make_trainable("masked_cartoongan", FixedSegmenter(learned), mask="product", erode_px=0)
    for name, images in discriminator_inputs(method, batch()).items():
        masks = batch().portrait_masks if name in ("real", "edge") else batch().selfie_masks
        assert 0 < (masks * learned).sum() < masks.sum()
        assert torch.equal((images != 0).any(1, keepdim=True).float(), masks * learned), name


@pytest.mark.parametrize("mask", ["product", "given"])
def test_masks_are_eroded_to_hide_the_fringe_of_background(mask):
    method = make_trainable("masked_cartoongan", FixedSegmenter(ONES), mask=mask, erode_px=2)
    portraits = boxes((3, 10, 20, 29), (8, 13, 5, 9))
    selfies = boxes((6, 11, 7, 14), (4, 7, 14, 28))
    for name, images in discriminator_inputs(method, batch()).items():
        expected = portraits if name in ("real", "edge") else selfies
        assert torch.equal((images != 0).any(1, keepdim=True).float(), expected), name


@pytest.mark.parametrize("mask", ["product", "given"])
def test_another_background_does_not_change_discriminator_inputs(mask):
    before, after = (
        discriminator_inputs(make_trainable("masked_cartoongan", RejectRed(), mask=mask), each)
        for each in (batch(), on_other_background(batch()))
    )
    assert all(torch.equal(before[name], after[name]) for name in before)


def stylized_person(background, grey_input):
    selfies, masks = batch().selfies, batch().selfie_masks
    method = make_trainable("masked_cartoongan", grey_input=grey_input)
    return method.paint(composite(selfies, masks, background), masks) * masks


def test_grey_input_makes_the_person_independent_of_background():
    backgrounds = noise(2, 3, 16, 32, seed=8), noise(2, 3, 16, 32, seed=9)
    on_grey = [stylized_person(background, grey_input=True) for background in backgrounds]
    assert torch.equal(*on_grey)
    without = [stylized_person(background, grey_input=False) for background in backgrounds]  # by instance norm
    assert (without[0] - without[1]).abs().max() > 0.01


def make_constant(generator, color):
    """Make a generator output one color for any input; return its last layer, which can still learn."""
    last = generator.last
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor([math.atanh(value) for value in color]))
    return last


@pytest.mark.parametrize("mask", ["product", "learned"])
def test_generator_learns_from_faces_that_drop_out_of_the_mask(mask):
    gradients = {}
    for segmenter in (RejectRed(), RejectRedWithoutGradient()):
        method = make_trainable("masked_cartoongan", segmenter, mask=mask, content_weight=0.0)
        last = make_constant(method.generator, (REDDEST, -REDDEST, -REDDEST))
        with record_inputs(method.discriminator) as inputs:
            method.step(batch())
        assert inputs[1].abs().max() < 1e-5  # the red face is masked out entirely
        gradients[type(segmenter)] = last.bias.grad.abs().max().item()
    assert gradients[RejectRed] > 100 * gradients[RejectRedWithoutGradient]
    assert gradients[RejectRed] > 1e-6


def test_segmenter_runs_once_for_stylized_and_once_for_portraits():
    images = batch()
    method = make_trainable("masked_cartoongan", RejectRed(), mask="product")
    stylized = method.generator(method.generator_input(images.selfies, images.selfie_masks))
    with record_inputs(method.segmenter) as inputs:
        method.step(images)
    assert len(inputs) == 2
    for expected in (stylized, images.portraits):
        assert any(torch.equal(segmented, expected) for segmented in inputs)


def test_painting_keeps_the_selfies_background():
    selfies, masks = batch().selfies, batch().selfie_masks.clone()
    masks[:, :, 8] *= 0.5  # a soft row
    method = make_trainable("masked_cartoongan", grey_input=True)
    painted = method.paint(selfies, masks)
    stylized = method.generator(selfies * masks)
    person, background = (masks == 1).expand_as(selfies), (masks == 0).expand_as(selfies)
    assert torch.equal(painted[background], selfies[background])
    assert torch.equal(painted[person], stylized[person])
    assert torch.allclose(painted[:, :, 8], composite(stylized, masks, selfies)[:, :, 8])
