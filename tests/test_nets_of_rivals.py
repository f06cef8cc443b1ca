"""The compared methods' networks: as large as their authors', and what they see and give."""

import pytest
import torch
from toys import drawn

from portraitist.nets.attention import Attention, AttentiveGenerator
from portraitist.nets.cyclegan import DEVIATION, PatchGan, ResnetGenerator
from portraitist.nets.features import Lite0
from portraitist.nets.pix2pix import UNetGenerator, levels_of
from portraitist.nets.stem import Stem
from portraitist.train import seeded


def count(net):
    return sum(parameter.numel() for parameter in net.parameters())


def test_at_the_authors_widths_the_networks_are_as_large_as_the_authors():
    with torch.device("meta"):
        assert count(ResnetGenerator(64, 9)) == 11_378_179
        assert count(PatchGan(64, 256)) == 2_764_737
        assert (
            count(UNetGenerator(64, 8)) == 54_414_531
        )  # torch's 54.414 M: batch norm's scale and shift are instance norm's
        assert count(PatchGan(64, 256, channels=6, affine=True)) == 2_768_705
        assert count(AttentiveGenerator(32, 9)) == 2_850_563 + 154_049  # the painter and the attention


@pytest.mark.parametrize("net", [ResnetGenerator(4, 1), UNetGenerator(4, 4), AttentiveGenerator(4, 1)])
def test_a_painted_image_is_as_large_as_what_came_in(net):
    painted = net(drawn(2, 3, 16, 32, seed=1))
    assert painted.shape == (2, 3, 16, 32)
    assert painted.abs().max() <= 1


def reach_px(net, side_px):
    """How many pixels beside each other one judgement in the middle depends on, norms aside."""
    for part in net.modules():
        if isinstance(part, torch.nn.Conv2d):
            torch.nn.init.ones_(part.weight)
    images = torch.ones(1, 3, side_px, side_px, requires_grad=True)
    judgement = net(images, norm=False)
    judgement[0, 0, judgement.shape[2] // 2, judgement.shape[3] // 2].backward()
    return int((images.grad[0, 0].abs().sum(0) > 0).sum())


@pytest.mark.parametrize(("side_px", "patch_px"), [(256, 70), (128, 34), (96, 34), (80, 16), (64, 16), (512, 70)])
def test_a_patch_is_70_px_of_256_and_about_as_large_a_share_of_less(side_px, patch_px):
    assert reach_px(PatchGan(1, side_px), side_px) == patch_px


def test_without_norm_a_corner_moves_no_far_judgement_and_with_it_every_one():
    with seeded(1):
        judge = PatchGan(4, 64)
    images = drawn(1, 3, 64, 64, seed=2)
    other = images.clone()
    other[..., :4, :4] *= -1
    with torch.no_grad():
        moved = [(judge(images, norm=norm) - judge(other, norm=norm)).abs()[0, 0] for norm in (False, True)]
    assert moved[0][0, 0] > 0
    assert moved[0][12:, 12:].max() == 0
    assert moved[1].min() > 0


def test_weights_are_drawn_as_the_authors_draw_them():
    with seeded(1):
        for net in (ResnetGenerator(16, 2), UNetGenerator(16, 4), PatchGan(16, 256)):
            weights = torch.cat([part.weight.flatten() for part in net.modules() if hasattr(part, "kernel_size")])
            assert weights.std().item() == pytest.approx(DEVIATION, rel=0.03)
            assert weights.mean().item() == pytest.approx(0, abs=0.001)


@pytest.mark.parametrize(("side_px", "levels"), [(256, 8), (512, 8), (96, 5), (80, 4), (64, 6), (7, 0)])
def test_a_u_net_halves_a_picture_as_often_as_it_can(side_px, levels):
    assert levels_of(side_px) == levels


def test_at_256_px_the_u_net_comes_down_to_one_pixel_and_drops_out_three_levels():
    net, sizes = UNetGenerator(1, 8), []
    net.down[-1].register_forward_hook(lambda _, inputs, given: sizes.append(given.shape[2:]))
    images = drawn(1, 3, 256, 256, seed=1)
    assert not torch.equal(net(images), net(images))
    assert torch.equal(net.eval()(images), net(images))
    assert set(sizes) == {(1, 1)}
    assert net.dropped == [False] * 4 + [True] * 3 + [False]


def test_attention_is_a_mask_and_what_it_is_not_on_stays():
    with seeded(1):
        net = AttentiveGenerator(4, 1)
    images = drawn(2, 3, 16, 32, seed=1)
    painted, masks = net.attentively(images)
    assert masks.shape == (2, 1, 16, 32)
    assert 0 < masks.min() < masks.max() < 1
    assert torch.allclose(painted, masks * net.painter(images) + (1 - masks) * images)
    net.attention.forward = lambda images: torch.zeros(2, 1, 16, 32)
    assert torch.equal(net(images), images)
    assert isinstance(net.attention, Attention)


@pytest.fixture(scope="module")
def lite0(pretrained):
    return Lite0(pretrained / "efficientnet_lite0.pth")


def test_the_stem_is_the_librarys_network_to_the_bit(lite0):
    stem = Stem()
    stem.copy_from(lite0)
    for shape in ((64, 96), (80, 80), (50, 37)):
        images = drawn(2, 3, *shape, seed=1)
        assert all(map(torch.equal, stem(images)[2:], lite0(images)))
    assert [tuple(features.shape[1:]) for features in stem(drawn(1, 3, 64, 64, seed=1))] == [
        (32, 32, 32), (16, 32, 32), (24, 16, 16), (40, 8, 8)
    ]  # fmt: skip


def test_the_stem_knows_a_network_that_begins_otherwise():
    with pytest.raises(ValueError, match="the features do not begin as EfficientNet-Lite0 does"):
        Stem().copy_from(ResnetGenerator(4, 1))
