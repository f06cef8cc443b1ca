import pytest
import torch
import torchvision
from toys import ToyFeatures, noise

from portraitist.learning.features import CONV4_4, FeatureLevels, Lite0, Vgg19, load_feature_network
from portraitist.nets.cartoongan import Generator, PatchDiscriminator
from portraitist.nets.projected import ProjectedDiscriminator
from portraitist.nets.unet import UNet
from portraitist.train.loop import seeded


def millions(net):
    return sum(parameter.numel() for parameter in net.parameters()) / 1e6


def test_networks_have_the_papers_sizes():
    with torch.device("meta"):
        assert 11.12 < millions(Generator(64, 8, skip_connections=False)) < 11.13
        assert round(millions(PatchDiscriminator(32)), 2) == 1.13


@pytest.mark.parametrize("skip_connections", [True, False])
def test_generator_keeps_shape_and_range(skip_connections):
    stylized = Generator(4, 1, skip_connections=skip_connections)(noise(2, 3, 16, 32, seed=1))
    assert stylized.shape == (2, 3, 16, 32)
    assert stylized.abs().max() <= 1


@pytest.mark.parametrize("skip_connections", [True, False])
def test_skip_connections_bypass_the_encoder(skip_connections):
    generator, images = Generator(4, 1, skip_connections=skip_connections), noise(1, 3, 16, 32, seed=1)
    for encoder in (generator.encode_full, generator.encode_half, generator.encode_quarter):
        encoder.register_forward_hook(lambda _module, _images, features: torch.zeros_like(features))
    of_grey = generator(torch.zeros_like(images))
    assert torch.equal(generator(images), of_grey) != skip_connections


def test_discriminator_has_one_logit_per_4_by_4_px():
    assert PatchDiscriminator(2)(noise(2, 3, 16, 32, seed=1)).shape == (2, 1, 4, 8)


def test_projected_discriminator_has_a_map_per_frozen_layer():
    features = ToyFeatures()
    discriminator = ProjectedDiscriminator(features, noise(1, 3, 8, 8, seed=1))
    images = noise(2, 3, 16, 32, seed=2).requires_grad_()
    logits = discriminator(images)
    assert [tuple(layer.shape) for layer in logits] == [(2, 1, 16, 32), (2, 1, 4, 8)]
    sum(layer.sum() for layer in logits).backward()
    assert images.grad.abs().max() > 0
    assert not {id(weight) for weight in features.parameters()} & {id(weight) for weight in discriminator.parameters()}
    assert all(weight.grad.abs().max() > 0 for weight in discriminator.parameters())


def test_projected_discriminator_takes_any_function_of_images():
    images, small = noise(2, 3, 16, 32, seed=2), noise(1, 3, 8, 8, seed=1)
    with seeded(3):
        of_module = ProjectedDiscriminator(ToyFeatures(), small)
    with seeded(3):
        of_function = ProjectedDiscriminator(ToyFeatures().forward, small)
    assert all(map(torch.equal, of_module(images), of_function(images)))
    of_module.eval()  # spectral norm updates its estimate in each forward pass of a training
    assert all(map(torch.equal, of_module(images), of_module.logits(of_module.features(images))))


def test_discriminator_rejects_inputs_of_another_shape():
    with pytest.raises(TypeError, match="images"):  # by the test suite's jaxtyping hook
        PatchDiscriminator(2)(noise(2, 4, 16, 32, seed=1))


def test_unet_masks_are_between_0_and_1():
    with seeded(1):
        net = UNet(4).eval()
    images = 3 * noise(2, 3, 16, 32, seed=1)
    masks = net(images)
    assert masks.shape == (2, 1, 16, 32)
    assert 0 < masks.min() < masks.max() < 1
    assert torch.allclose(masks, 1 / (1 + torch.exp(-net.logits(images))))


@pytest.fixture(scope="module")
def lite0(pretrained):
    return Lite0(pretrained / "efficientnet_lite0.pth")


def test_lite0_layers_are_a_quarter_and_an_eighth_of_the_size(lite0):
    images = noise(2, 3, 64, 96, seed=1)
    layers = lite0(images)
    assert [tuple(layer.shape) for layer in layers] == [(2, 24, 16, 24), (2, 40, 8, 12)]
    assert all(layer.isfinite().all() and layer.std() > 0 for layer in layers)
    assert lite0.pooled(images).shape == (2, 1280)


def test_lite0_levels_are_successive_halves(lite0):
    images = noise(2, 3, 64, 96, seed=1)
    levels = lite0.levels(images, (0, 1, 2, 3))
    shapes = [(2, 16, 32, 48), (2, 24, 16, 24), (2, 40, 8, 12), (2, 80, 4, 6)]
    assert [tuple(level.shape) for level in levels] == shapes
    assert all(map(torch.equal, levels[1:3], lite0(images)))
    assert torch.equal(lite0.levels(images, (3,))[0], levels[3])
    assert isinstance(lite0, FeatureLevels)


def test_lite0_stays_in_evaluation_mode(lite0):
    torch.nn.Sequential(lite0).train()
    assert not any(module.training for module in lite0.modules())
    before = {name: value.clone() for name, value in lite0.state_dict().items()}
    lite0(noise(2, 3, 64, 64, seed=1))
    assert all(torch.equal(before[name], value) for name, value in lite0.state_dict().items())


def test_lite0_is_frozen_but_passes_gradients_to_images(lite0):
    images = noise(1, 3, 64, 64, seed=1).requires_grad_()
    lite0(images)[1].square().mean().backward()
    assert images.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in lite0.parameters())


@pytest.mark.parametrize(("network", "contents"), [(Lite0, "EfficientNet-Lite0"), (Vgg19, "VGG19's 24 tensors")])
def test_file_of_another_network_is_rejected(network, contents, tmp_path):
    torch.save({"features.0.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=rf"other\.pth: expected .*{contents}"):
        network(tmp_path / "other.pth")


@pytest.fixture(scope="module")
def vgg19_file(tmp_path_factory):
    """A file like torchvision's, with random weights and a small classifier."""
    folder = tmp_path_factory.mktemp("vgg")
    with seeded(1):
        layers = torchvision.models.vgg19().features.state_dict()
    state = {f"features.{name}": weights for name, weights in layers.items()} | {"classifier.0.bias": torch.zeros(3)}
    torch.save(state, folder / "vgg19-dcbb9e9d.pth")
    return folder / "vgg19-dcbb9e9d.pth"


def test_vgg19_ends_at_conv4_4_before_its_relu(vgg19_file):
    net = load_feature_network("vgg19", vgg19_file.parent)
    (features,) = net(noise(1, 3, 32, 48, seed=1))
    assert features.shape == (1, 512, 4, 6)
    assert features.min() < 0
    convolutions = [layer for layer in net.net if isinstance(layer, torch.nn.Conv2d)]
    assert len(convolutions) == 2 + 2 + 4 + 4
    assert net.net[-1] is convolutions[-1]


def test_vgg19_normalizes_images_as_in_its_training(vgg19_file):
    net = Vgg19(vgg19_file)
    images, inputs = noise(1, 3, 32, 32, seed=2), []
    net.net.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0]))
    features = net(images)
    mean, std = (torch.tensor(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    assert torch.allclose(inputs[0] * std + mean, (images + 1) / 2, atol=1e-6)
    reference = torchvision.models.vgg19().features[:CONV4_4]
    state = torch.load(vgg19_file)
    reference.load_state_dict({name: state[f"features.{name}"] for name in reference.state_dict()})
    assert torch.equal(features[0], reference(inputs[0]))


def test_vgg19_is_frozen_but_passes_gradients_to_images(vgg19_file):
    net, images = Vgg19(vgg19_file), noise(1, 3, 32, 32, seed=1).requires_grad_()
    net(images)[0].square().mean().backward()
    assert images.grad.abs().max() > 0
    assert not any(weights.requires_grad for weights in net.parameters())
