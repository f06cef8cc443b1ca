"""The compared methods' networks: as large as their authors', and what they see and give."""

import numpy as np
import pytest
import torch
from toys import drawn

from portraitist.nets.attention import Attention, AttentiveGenerator
from portraitist.nets.cyclegan import INIT_STD, PatchGan, ResnetGenerator
from portraitist.nets.features import Lite0
from portraitist.nets.pix2pix import UNetGenerator, num_levels
from portraitist.nets.stem import Stem
from portraitist.nets.ugatit import FAR, LEVELS, NEAR, Cam, FarAndNear, Lin, SoftAdaLin, UgatitGenerator, fewer
from portraitist.train.loop import seeded


def count(net):
    return sum(parameter.numel() for parameter in net.parameters())


def test_at_the_authors_widths_the_networks_are_as_large_as_the_authors():
    with torch.device("meta"):
        assert count(ResnetGenerator(64, 9)) == 11_378_179
        assert count(PatchGan(64, 256)) == 2_764_737
        assert count(UNetGenerator(64, 8)) == 54_413_955  # torch's: batch norm's scale and shift are instance norm's
        assert count(PatchGan(64, 256, channels=6, affine=True)) == 2_768_705
        assert count(AttentiveGenerator(32, 9)) == 2_850_563 + 154_049  # the painter and the attention


def test_at_photo2cartoons_width_the_networks_are_as_large_as_its_light_ones():
    width, wide = 32, 128  # layer by layer as its models/networks.py, no bias but where a sum of two says so
    branches = 9 * (width * 16 + 16 * 8 + 8 * 8)
    hourglass = 14 * branches + width * width + (3 * width + 3)
    handed_on = (width * width + width) + (3 * width + width)
    halved = doubled = 9 * (width * 64 + 64 * 128)
    linear = wide * wide + wide
    soft = wide + 2 * wide + 2 * 3 * linear  # rho, the shares, and by content, content again, and style
    encoders, decoders = 4 * 2 * 9 * wide**2, 4 * 2 * (9 * wide**2 + soft)
    attention, style = 2 * (wide + 1) + (2 * wide * wide + wide), 2 * linear
    generator = 49 * 3 * width + 4 * hourglass + 3 * handed_on + halved + encoders + attention + style + decoders
    generator += doubled + 3 * (64 + width) + 49 * 3 * 3
    assert generator == 3_831_079 - 56 * width**2  # of each 14 in an hourglass it has a convolution that it never uses
    near = 16 * (3 * 32 + 32 * 64 + 64 * 128 + 128 * 256) + (32 + 64 + 128 + 256)
    far = near + 16 * (256 * 512 + 512 * 1024) + (512 + 1024)
    near, far = (body + 2 * wide + (2 * wide * wide + wide) + 16 * wide for body, wide in ((near, 256), (far, 1024)))
    assert (near, far) == (826_080, 13_294_048)
    assert count(UgatitGenerator(32, 4, 256)) == generator
    judges = FarAndNear(32, 256)
    assert (count(judges.near), count(judges.far)) == (near, far)


@pytest.mark.parametrize(
    "net", [ResnetGenerator(4, 1), UNetGenerator(4, 4), AttentiveGenerator(4, 1), UgatitGenerator(4, 2, 16)]
)
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
            assert weights.std().item() == pytest.approx(INIT_STD, rel=0.03)
            assert weights.mean().item() == pytest.approx(0, abs=0.001)
        scales = torch.cat([norm.weight for norm in UNetGenerator(64, 6).up_norms[1:]])
        assert scales.mean().item() == pytest.approx(1, abs=0.003)
        assert scales.std().item() == pytest.approx(INIT_STD, rel=0.06)


@pytest.mark.parametrize(("side_px", "levels"), [(256, 8), (512, 8), (96, 5), (80, 4), (64, 6), (7, 0)])
def test_a_u_net_halves_a_picture_as_often_as_it_can(side_px, levels):
    assert num_levels(side_px) == levels


def test_at_256_px_the_u_net_comes_down_to_one_pixel_and_drops_out_three_levels():
    net, sizes = UNetGenerator(1, 8), []
    net.down[-1].register_forward_hook(lambda _, inputs, given: sizes.append(given.shape[2:]))
    images = drawn(1, 3, 256, 256, seed=1)
    assert not torch.equal(net(images), net(images))
    assert torch.equal(net.eval()(images), net(images))
    assert set(sizes) == {(1, 1)}
    assert net.dropped == [False] * 4 + [True] * 3 + [False]
    assert UNetGenerator(1, 6).dropped == [False] * 4 + [True] + [False]  # only where eight times the width stays it


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


@pytest.mark.parametrize(
    ("side_px", "levels", "far", "near"), [(512, 4, 5, 3), (256, 4, 5, 3), (128, 3, 3, 2), (64, 1, 2, 1), (16, 1, 1, 1)]
)
def test_what_ugatit_has_many_of_at_256_px_it_has_fewer_of_at_less(side_px, levels, far, near):
    assert [fewer(most, side_px) for most in (LEVELS, FAR, NEAR)] == [levels, far, near]
    assert len(PatchGan(1, side_px).between) == near


def test_ugatits_discriminators_judge_few_large_and_many_small_patches_and_each_the_whole():
    with torch.no_grad():
        judged = FarAndNear(1, 256)(drawn(2, 3, 256, 256, seed=1))
    assert [tuple(each.shape) for each in judged] == [(2, 1, 6, 6), (2, 2), (2, 1, 30, 30), (2, 2)]


def by_hand(features, rho):
    """Of each number a share by its channel's mean and deviation, the rest by its picture's."""
    found = torch.empty_like(features)
    for picture, channel in np.ndindex(*features.shape[:2]):
        values = features[picture, channel]
        own, whole = (
            (values - of.mean()) / ((of - of.mean()).square().sum() / (of.numel() - 1) + 1e-5).sqrt()
            for of in (values, features[picture])
        )
        found[picture, channel] = rho[channel] * own + (1 - rho[channel]) * whole
    return found


def test_soft_adalin_is_its_formula():
    with seeded(1):
        norm = SoftAdaLin(3)
        features, content, style = torch.randn(2, 3, 4, 5) + 3, torch.randn(2, 3), torch.randn(2, 3)
    norm.rho.data[:] = torch.tensor([0.0, 0.25, 1.0]).reshape(3, 1, 1)
    wanted = by_hand(features, [0, 0.25, 1])
    for statistic, use in ((norm.scale, torch.mul), (norm.shift, torch.add)):
        assert statistic.share.tolist() == [0, 0, 0]
        statistic.share.data[:] = torch.tensor([0.5, 0.0, 1.0])
        first, _, last = statistic.content
        of_content = (content @ first.weight.T + first.bias).clamp(min=0) @ last.weight.T + last.bias
        of_style = style @ statistic.style.weight.T + statistic.style.bias
        mixed = torch.stack([(of_content + of_style)[:, 0] / 2, of_style[:, 1], of_content[:, 2]], 1)
        wanted = use(wanted, mixed[:, :, None, None])
    assert torch.allclose(norm(features, content, style), wanted, atol=1e-5)


def test_lin_begins_as_layer_norm_and_its_scale_and_shift_are_each_channels():
    norm, features = Lin(3), drawn(2, 3, 4, 5, seed=1)
    assert torch.allclose(norm(features), by_hand(features, [0, 0, 0]), atol=1e-5)
    norm.rho.data[:], norm.scale.data[1], norm.shift.data[2] = 0.75, 2, -1
    wanted = by_hand(features, [0.75] * 3) * torch.tensor([1, 2, 1]).reshape(3, 1, 1)
    assert torch.allclose(norm(features), wanted - torch.tensor([0, 0, 1]).reshape(3, 1, 1), atol=1e-5)


@pytest.mark.parametrize("spectral", [False, True])
def test_features_are_weighed_as_they_were_for_the_judgements_of_their_mean_and_peak(spectral):
    with seeded(1):
        cam, features = Cam(2, spectral=spectral), drawn(1, 2, 3, 5, seed=1)
    pooled = features.mean((2, 3))[0], features.flatten(2).max(2).values[0]
    weights = [
        (head.parametrizations.weight.original if spectral else head.weight)[0] for head in (cam.by_mean, cam.by_peak)
    ]
    told = [(weight * of).sum() for weight, of in zip(weights, pooled, strict=True)]
    if spectral:  # the norm of one row is its length
        told = [value / weight.norm() for value, weight in zip(told, weights, strict=True)]
    else:
        told = [value + head.bias[0] for value, head in zip(told, (cam.by_mean, cam.by_peak), strict=True)]
    merged, logits = cam(features)
    assert torch.allclose(logits[0], torch.stack(told), atol=1e-5)
    weighed = torch.cat([features[0] * weight[:, None, None] for weight in weights])
    wanted = torch.einsum("oi,ihw->ohw", cam.merge.weight[:, :, 0, 0], weighed) + cam.merge.bias[:, None, None]
    assert torch.allclose(merged[0], wanted, atol=1e-5)


def test_each_block_of_the_way_back_is_told_of_the_content_that_the_way_there_saw_at_its_place():
    net, seen, told = UgatitGenerator(4, 3, 32), [], []
    for encoder, decoder in zip(net.encoders, net.decoders, strict=True):
        encoder.register_forward_hook(lambda _, inputs, features: seen.append(features.mean((2, 3))))
        decoder.register_forward_pre_hook(lambda _, inputs: told.append(inputs[1]))
    net(drawn(2, 3, 32, 32, seed=1))
    assert len(told) == 3
    assert all(map(torch.equal, told, reversed(seen)))
