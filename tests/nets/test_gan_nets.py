"""Networks of the compared methods: they have the authors' sizes, and the specified outputs."""

import numpy as np
import pytest
import torch
from toys import noise

from portraitist.learning.features import Lite0
from portraitist.nets.attention import Attention, AttentiveGenerator
from portraitist.nets.cyclegan import INIT_STD, PatchGan, ResnetGenerator
from portraitist.nets.pix2pix import UNetGenerator, num_levels
from portraitist.nets.stem import Stem
from portraitist.nets.ugatit import (
    GLOBAL_LEVELS,
    HOURGLASS_LEVELS,
    LOCAL_LEVELS,
    Cam,
    GlobalLocalDiscriminator,
    Lin,
    SoftAdaLin,
    UgatitGenerator,
    scale_count,
)
from portraitist.train.loop import seeded


def count(net):
    return sum(parameter.numel() for parameter in net.parameters())


def test_networks_have_the_authors_sizes():
    with torch.device("meta"):
        assert count(ResnetGenerator(64, 9)) == 11_378_179
        assert count(PatchGan(64, 256)) == 2_764_737
        assert (
            count(UNetGenerator(64, 8)) == 54_413_955
        )  # as torch's: scale and shift of batch norm are instance norm's
        assert count(PatchGan(64, 256, in_channels=6, affine=True)) == 2_768_705
        assert count(AttentiveGenerator(32, 9)) == 2_850_563 + 154_049  # ResNet and attention


def test_ugatit_networks_have_photo2cartoons_light_sizes():
    width, wide = 32, 128  # layer by layer as in its models/networks.py; biases are the second summands
    branches = 9 * (width * 16 + 16 * 8 + 8 * 8)
    hourglass = 14 * branches + width * width + (3 * width + 3)
    image_hourglass = (width * width + width) + (3 * width + width)
    downsampling = upsampling = 9 * (width * 64 + 64 * 128)
    linear = wide * wide + wide
    soft_adalin = wide + 2 * wide + 2 * 3 * linear  # rho, content weights, linear layers of content (2) and style
    encoders, decoders = 4 * 2 * 9 * wide**2, 4 * 2 * (9 * wide**2 + soft_adalin)
    cam, style = 2 * (wide + 1) + (2 * wide * wide + wide), 2 * linear
    generator = 49 * 3 * width + 4 * hourglass + 3 * image_hourglass + downsampling + encoders + cam + style + decoders
    generator += upsampling + 3 * (64 + width) + 49 * 3 * 3
    assert generator == 3_831_079 - 56 * width**2  # its 14 unused convolutions in each hourglass
    local = 16 * (3 * 32 + 32 * 64 + 64 * 128 + 128 * 256) + (32 + 64 + 128 + 256)
    global_ = local + 16 * (256 * 512 + 512 * 1024) + (512 + 1024)
    local, global_ = (
        body + 2 * wide + (2 * wide * wide + wide) + 16 * wide for body, wide in ((local, 256), (global_, 1024))
    )
    assert (local, global_) == (826_080, 13_294_048)
    assert count(UgatitGenerator(32, 4, 256)) == generator
    discriminator = GlobalLocalDiscriminator(32, 256)
    assert (count(discriminator.small), count(discriminator.large)) == (local, global_)


@pytest.mark.parametrize(
    "net", [ResnetGenerator(4, 1), UNetGenerator(4, 4), AttentiveGenerator(4, 1), UgatitGenerator(4, 2, 16)]
)
def test_generators_keep_shape_and_range(net):
    stylized = net(noise(2, 3, 16, 32, seed=1))
    assert stylized.shape == (2, 3, 16, 32)
    assert stylized.abs().max() <= 1


def receptive_field_px(net, size_px):
    """Return the width of the receptive field of a logit in the middle, without norms."""
    for module in net.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.ones_(module.weight)
    images = torch.ones(1, 3, size_px, size_px, requires_grad=True)
    logits = net(images, norm=False)
    logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2].backward()
    return int((images.grad[0, 0].abs().sum(0) > 0).sum())


@pytest.mark.parametrize(("size_px", "patch_px"), [(256, 70), (128, 34), (96, 34), (80, 16), (64, 16), (512, 70)])
def test_patches_are_70_px_of_256_and_scale_with_the_size(size_px, patch_px):
    assert receptive_field_px(PatchGan(1, size_px), size_px) == patch_px


def test_without_norm_a_corner_changes_nearby_logits_only():
    with seeded(1):
        discriminator = PatchGan(4, 64)
    images = noise(1, 3, 64, 64, seed=2)
    changed = images.clone()
    changed[..., :4, :4] *= -1
    with torch.no_grad():
        without_norm, with_norm = (
            (discriminator(images, norm=norm) - discriminator(changed, norm=norm)).abs()[0, 0] for norm in (False, True)
        )
    assert without_norm[0, 0] > 0
    assert without_norm[12:, 12:].max() == 0
    assert with_norm.min() > 0


def test_weights_are_initialized_as_by_the_authors():
    with seeded(1):
        for net in (ResnetGenerator(16, 2), UNetGenerator(16, 4), PatchGan(16, 256)):
            weights = torch.cat([module.weight.flatten() for module in net.modules() if hasattr(module, "kernel_size")])
            assert weights.std().item() == pytest.approx(INIT_STD, rel=0.03)
            assert weights.mean().item() == pytest.approx(0, abs=0.001)
        scales = torch.cat([norm.weight for norm in UNetGenerator(64, 6).up_norms[1:]])
        assert scales.mean().item() == pytest.approx(1, abs=0.003)
        assert scales.std().item() == pytest.approx(INIT_STD, rel=0.06)


@pytest.mark.parametrize(("size_px", "levels"), [(256, 8), (512, 8), (96, 5), (80, 4), (64, 6), (7, 0)])
def test_num_levels_counts_halvings_up_to_eight(size_px, levels):
    assert num_levels(size_px) == levels


def test_unet_generator_reaches_1_px_with_dropout_on_3_levels():
    net, sizes = UNetGenerator(1, 8), []
    net.down[-1].register_forward_hook(lambda _, inputs, features: sizes.append(features.shape[2:]))
    images = noise(1, 3, 256, 256, seed=1)
    assert not torch.equal(net(images), net(images))
    assert torch.equal(net.eval()(images), net(images))
    assert set(sizes) == {(1, 1)}
    assert net.has_dropout == [False] * 4 + [True] * 3 + [False]
    assert UNetGenerator(1, 6).has_dropout == [False] * 4 + [True] + [False]  # between equal widths only


def test_attentive_generator_blends_by_its_attention():
    with seeded(1):
        net = AttentiveGenerator(4, 1)
    images = noise(2, 3, 16, 32, seed=1)
    stylized, attention = net.forward_with_attention(images)
    assert attention.shape == (2, 1, 16, 32)
    assert 0 < attention.min() < attention.max() < 1
    assert torch.allclose(stylized, attention * net.resnet(images) + (1 - attention) * images)
    net.attention.forward = lambda images: torch.zeros(2, 1, 16, 32)
    assert torch.equal(net(images), images)
    assert isinstance(net.attention, Attention)


@pytest.fixture(scope="module")
def lite0(pretrained):
    return Lite0(pretrained / "efficientnet_lite0.pth")


def test_stem_equals_timms_network_bit_by_bit(lite0):
    stem = Stem()
    stem.copy_from(lite0)
    for shape in ((64, 96), (80, 80), (50, 37)):
        images = noise(2, 3, *shape, seed=1)
        assert all(map(torch.equal, stem(images)[2:], lite0(images)))
    assert [tuple(features.shape[1:]) for features in stem(noise(1, 3, 64, 64, seed=1))] == [
        (32, 32, 32), (16, 32, 32), (24, 16, 16), (40, 8, 8)
    ]  # fmt: skip


def test_stem_rejects_a_network_with_other_first_layers():
    with pytest.raises(ValueError, match="EfficientNet-Lite0"):
        Stem().copy_from(ResnetGenerator(4, 1))


@pytest.mark.parametrize(
    ("size_px", "levels", "global_levels", "local_levels"),
    [(512, 4, 5, 3), (256, 4, 5, 3), (128, 3, 3, 2), (64, 1, 2, 1), (16, 1, 1, 1)],
)
def test_ugatit_layer_counts_scale_with_the_size(size_px, levels, global_levels, local_levels):
    counts = [scale_count(count, size_px) for count in (HOURGLASS_LEVELS, GLOBAL_LEVELS, LOCAL_LEVELS)]
    assert counts == [levels, global_levels, local_levels]
    assert len(PatchGan(1, size_px).between) == local_levels


def test_ugatit_discriminators_output_patch_and_cam_logits():
    with torch.no_grad():
        logits = GlobalLocalDiscriminator(1, 256)(noise(2, 3, 256, 256, seed=1))
    assert [tuple(each.shape) for each in logits] == [(2, 1, 6, 6), (2, 2), (2, 1, 30, 30), (2, 2)]


def instance_layer_norm(features, rho):
    """Compute the mixture of instance norm (weight rho) and layer norm in plain loops."""
    result = torch.empty_like(features)
    for image, channel in np.ndindex(*features.shape[:2]):
        values = features[image, channel]
        instance, layer = (
            (values - of.mean()) / ((of - of.mean()).square().sum() / (of.numel() - 1) + 1e-5).sqrt()
            for of in (values, features[image])
        )
        result[image, channel] = rho[channel] * instance + (1 - rho[channel]) * layer
    return result


def test_soft_adalin_equals_its_formula():
    with seeded(1):
        norm = SoftAdaLin(3)
        features, content, style = torch.randn(2, 3, 4, 5) + 3, torch.randn(2, 3), torch.randn(2, 3)
    norm.rho.data[:] = torch.tensor([0.0, 0.25, 1.0]).reshape(3, 1, 1)
    expected = instance_layer_norm(features, [0, 0.25, 1])
    for parameter, apply in ((norm.scale, torch.mul), (norm.shift, torch.add)):
        assert parameter.content_weight.tolist() == [0, 0, 0]
        parameter.content_weight.data[:] = torch.tensor([0.5, 0.0, 1.0])
        first, _, last = parameter.content
        from_content = (content @ first.weight.T + first.bias).clamp(min=0) @ last.weight.T + last.bias
        from_style = style @ parameter.style.weight.T + parameter.style.bias
        mixed = torch.stack([(from_content + from_style)[:, 0] / 2, from_style[:, 1], from_content[:, 2]], 1)
        expected = apply(expected, mixed[:, :, None, None])
    assert torch.allclose(norm(features, content, style), expected, atol=1e-5)


def test_lin_starts_as_layer_norm_with_scale_and_shift():
    norm, features = Lin(3), noise(2, 3, 4, 5, seed=1)
    assert torch.allclose(norm(features), instance_layer_norm(features, [0, 0, 0]), atol=1e-5)
    norm.rho.data[:], norm.scale.data[1], norm.shift.data[2] = 0.75, 2, -1
    expected = instance_layer_norm(features, [0.75] * 3) * torch.tensor([1, 2, 1]).reshape(3, 1, 1)
    assert torch.allclose(norm(features), expected - torch.tensor([0, 0, 1]).reshape(3, 1, 1), atol=1e-5)


@pytest.mark.parametrize("spectral", [False, True])
def test_cam_scales_features_by_its_classifiers_weights(spectral):
    with seeded(1):
        cam, features = Cam(2, spectral=spectral), noise(1, 2, 3, 5, seed=1)
    pooled = features.mean((2, 3))[0], features.flatten(2).max(2).values[0]
    weights = [
        (head.parametrizations.weight.original if spectral else head.weight)[0] for head in (cam.by_mean, cam.by_max)
    ]
    logits_by_hand = [(weight * of).sum() for weight, of in zip(weights, pooled, strict=True)]
    if spectral:  # the spectral norm of one row is its length
        logits_by_hand = [value / weight.norm() for value, weight in zip(logits_by_hand, weights, strict=True)]
    else:
        logits_by_hand = [
            value + head.bias[0] for value, head in zip(logits_by_hand, (cam.by_mean, cam.by_max), strict=True)
        ]
    merged, logits = cam(features)
    assert torch.allclose(logits[0], torch.stack(logits_by_hand), atol=1e-5)
    weighted = torch.cat([features[0] * weight[:, None, None] for weight in weights])
    expected = torch.einsum("oi,ihw->ohw", cam.merge.weight[:, :, 0, 0], weighted) + cam.merge.bias[:, None, None]
    assert torch.allclose(merged[0], expected, atol=1e-5)


def test_decoder_blocks_get_content_of_the_matching_encoder():
    net, encoded, contents = UgatitGenerator(4, 3, 32), [], []
    for encoder, decoder in zip(net.encoders, net.decoders, strict=True):
        encoder.register_forward_hook(lambda _, inputs, features: encoded.append(features.mean((2, 3))))
        decoder.register_forward_pre_hook(lambda _, inputs: contents.append(inputs[1]))
    net(noise(2, 3, 32, 32, seed=1))
    assert len(contents) == 3
    assert all(map(torch.equal, contents, reversed(encoded)))
