import math
from dataclasses import replace

import pytest
import torch
from torch import nn
from toys import Says, batch, begun, boxes, drawn, seen_by

from portraitist.learning.tensors import Images, Masks, composite

ONE = torch.ones(2, 1, 16, 32)


REDDEST = 0.6


class NotRed(nn.Module):
    """A segmenter that takes red for background, each pixel by itself: 1 at grey, 0 where red is REDDEST and green not."""

    def forward(self, images: Images) -> Masks:
        return 1 - (images[:, :1] - images[:, 1:2]) / (2 * REDDEST)


def shown(painter, pictures):
    """What the discriminator sees in one step: real, fake and edge for its own update, fake for the generator's."""
    with seen_by(painter.discriminator) as seen:
        painter.step(pictures)
    assert len(seen) == 4
    return dict(zip(("real", "fake", "edge", "fooling"), seen, strict=True))


@pytest.mark.parametrize("mask", ["product", "given"])
def test_the_discriminator_never_sees_a_background(mask):
    pictures = batch()
    painter = begun("masked_cartoongan", Says(ONE), mask=mask, erode_px=0, grey_input=False)
    seen = shown(painter, pictures)
    for name, images in seen.items():
        masks = pictures.portrait_masks if name in ("real", "edge") else pictures.selfie_masks
        assert (images * (1 - masks)).abs().max() == 0, name
        assert (images * masks).abs().mean((1, 2, 3)).min() > 0.05, name


def test_without_a_mask_it_sees_whole_pictures():
    pictures = batch()
    seen = shown(begun("masked_cartoongan", Says(ONE), mask="whole", grey_input=False), pictures)
    assert torch.equal(seen["real"], pictures.portraits)
    assert torch.equal(seen["edge"], pictures.smoothed)


def test_the_learned_mask_alone_hides_the_background_too():
    learned = boxes((3, 10, 7, 19), (1, 15, 20, 31))
    seen = shown(begun("masked_cartoongan", Says(learned), mask="learned", grey_input=False), batch())
    assert all((images * (1 - learned)).abs().max() == 0 for images in seen.values())
    assert all((images * learned).abs().mean() > 0.05 for images in seen.values())


def test_both_masks_must_say_person_of_paintings_and_of_portraits_alike():
    learned = boxes((3, 10, 7, 29), (1, 15, 6, 25))
    seen = shown(begun("masked_cartoongan", Says(learned), mask="product", erode_px=0), batch())
    for name, images in seen.items():
        given = batch().portrait_masks if name in ("real", "edge") else batch().selfie_masks
        assert 0 < (given * learned).sum() < given.sum()
        assert torch.equal((images != 0).any(1, keepdim=True).float(), given * learned), name


@pytest.mark.parametrize("mask", ["product", "given"])
def test_given_masks_are_eroded_so_that_no_fringe_of_background_is_seen(mask):
    seen = shown(begun("masked_cartoongan", Says(ONE), mask=mask, erode_px=2), batch())
    portraits = boxes((3, 10, 20, 29), (8, 13, 5, 9))
    selfies = boxes((6, 11, 7, 14), (4, 7, 14, 28))
    for name, images in seen.items():
        expected = portraits if name in ("real", "edge") else selfies
        assert torch.equal((images != 0).any(1, keepdim=True).float(), expected), name


@pytest.mark.parametrize("mask", ["product", "given"])
def test_another_background_changes_nothing_that_the_discriminator_sees(mask):
    pictures, other = batch(), drawn(2, 3, 16, 32, seed=9)
    moved = replace(
        pictures,
        selfies=composite(pictures.selfies, pictures.selfie_masks, other),
        portraits=composite(pictures.portraits, pictures.portrait_masks, other),
        smoothed=composite(pictures.smoothed, pictures.portrait_masks, other),
    )
    seen, then = (shown(begun("masked_cartoongan", NotRed(), mask=mask), each) for each in (pictures, moved))
    assert all(torch.equal(seen[name], then[name]) for name in seen)


def painted_on(back, grey_input):
    selfies, masks = batch().selfies, batch().selfie_masks
    painter = begun("masked_cartoongan", grey_input=grey_input)
    return painter.paint(composite(selfies, masks, back), masks) * masks


def test_on_grey_another_background_changes_nothing_of_the_painted_person():
    one, other = drawn(2, 3, 16, 32, seed=8), drawn(2, 3, 16, 32, seed=9)
    assert torch.equal(painted_on(one, True), painted_on(other, True))


def test_without_grey_it_does_by_the_norms_statistics():
    one, other = drawn(2, 3, 16, 32, seed=8), drawn(2, 3, 16, 32, seed=9)
    assert (painted_on(one, False) - painted_on(other, False)).abs().max() > 0.01


def paints_only(generator, colour):
    """Whatever it sees; its last weights can still learn."""
    last = generator.last
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor([math.atanh(value) for value in colour]))
    return last


class Deaf(NotRed):
    """The same masks, and no gradient through them."""

    def forward(self, images: Images) -> Masks:
        return super().forward(images).detach()


@pytest.mark.parametrize("mask", ["product", "learned"])
def test_a_red_face_falls_out_of_the_mask_and_the_generator_learns_of_it(mask):
    gradients = {}
    for segmenter in (NotRed(), Deaf()):
        painter = begun("masked_cartoongan", segmenter, mask=mask, content_weight=0.0)
        last = paints_only(painter.generator, (REDDEST, -REDDEST, -REDDEST))
        with seen_by(painter.discriminator) as seen:
            painter.step(batch())
        assert seen[1].abs().max() < 1e-5  # nothing of the red face is left to see
        gradients[type(segmenter)] = last.bias.grad.abs().max().item()
    assert gradients[NotRed] > 100 * gradients[Deaf]
    assert gradients[NotRed] > 1e-6


def test_the_masker_is_asked_once_about_what_was_painted_and_about_the_portraits_sharp_and_smoothed_alike():
    pictures = batch()
    painter = begun("masked_cartoongan", NotRed(), mask="product")
    painted = painter.generator(painter.seen(pictures.selfies, pictures.selfie_masks))
    with seen_by(painter.segmenter) as asked:
        painter.step(pictures)
    assert len(asked) == 2
    for wanted in (painted, pictures.portraits):
        assert any(torch.equal(images, wanted) for images in asked)


def test_the_avatar_keeps_the_selfies_background_where_the_mask_is_0():
    selfies, masks = batch().selfies, batch().selfie_masks.clone()
    masks[:, :, 8] *= 0.5  # a soft row
    painter = begun("masked_cartoongan", grey_input=True)
    painted = painter.paint(selfies, masks)
    bare = painter.generator(selfies * masks)
    sure, none = (masks == 1).expand_as(selfies), (masks == 0).expand_as(selfies)
    assert torch.equal(painted[none], selfies[none])
    assert torch.equal(painted[sure], bare[sure])
    assert torch.allclose(painted[:, :, 8], composite(bare, masks, selfies)[:, :, 8])
