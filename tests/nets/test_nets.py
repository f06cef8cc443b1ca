import pytest
import torch
import torchvision
from toys import Bands, drawn

from portraitist.nets.cartoongan import Generator, PatchDiscriminator
from portraitist.nets.features import CONV4_4, Lite0, Vgg19, load_feature_network
from portraitist.nets.projected import ProjectedDiscriminator
from portraitist.nets.unet import UNet
from portraitist.train.loop import seeded


def millions(net):
    return sum(parameter.numel() for parameter in net.parameters()) / 1e6


def test_at_the_papers_width_the_networks_are_as_large_as_the_papers():
    with torch.device("meta"):
        assert 11.12 < millions(Generator(64, 8, skips=False)) < 11.13
        assert round(millions(PatchDiscriminator(32)), 2) == 1.13


@pytest.mark.parametrize("skips", [True, False])
def test_a_painted_image_is_as_large_as_what_came_in(skips):
    painted = Generator(4, 1, skips=skips)(drawn(2, 3, 16, 32, seed=1))
    assert painted.shape == (2, 3, 16, 32)
    assert painted.abs().max() <= 1


@pytest.mark.parametrize("skips", [True, False])
def test_with_skips_detail_reaches_the_painting_past_the_way_down(skips):
    generator, images = Generator(4, 1, skips=skips), drawn(1, 3, 16, 32, seed=1)
    for way_down in (generator.at_whole, generator.at_half, generator.at_quarter):
        way_down.register_forward_hook(lambda _module, _images, features: torch.zeros_like(features))
    blank = generator(torch.zeros_like(images))
    assert torch.equal(generator(images), blank) != skips


def test_a_judgement_has_a_logit_for_each_4_by_4():
    assert PatchDiscriminator(2)(drawn(2, 3, 16, 32, seed=1)).shape == (2, 1, 4, 8)


def test_a_projected_judgement_is_a_map_for_each_layer_of_frozen_features():
    features = Bands()
    judge = ProjectedDiscriminator(features, drawn(1, 3, 8, 8, seed=1))
    images = drawn(2, 3, 16, 32, seed=2).requires_grad_()
    judgements = judge(images)
    assert [tuple(each.shape) for each in judgements] == [(2, 1, 16, 32), (2, 1, 4, 8)]
    sum(each.sum() for each in judgements).backward()
    assert images.grad.abs().max() > 0
    assert not {id(weight) for weight in features.parameters()} & {id(weight) for weight in judge.parameters()}
    assert all(weight.grad.abs().max() > 0 for weight in judge.parameters())


def test_unet_masks_are_as_large_as_the_image_and_between_zero_and_one():
    with seeded(1):
        net = UNet(4).eval()
    images = 3 * drawn(2, 3, 16, 32, seed=1)
    masks = net(images)
    assert masks.shape == (2, 1, 16, 32)
    assert 0 < masks.min() < masks.max() < 1
    assert torch.allclose(masks, 1 / (1 + torch.exp(-net.logits(images))))


@pytest.fixture(scope="module")
def lite0(pretrained):
    return Lite0(pretrained / "efficientnet_lite0.pth")


def test_lite0_gives_a_quarter_and_an_eighth_of_the_size(lite0):
    images = drawn(2, 3, 64, 96, seed=1)
    taps = lite0(images)
    assert [tuple(tap.shape) for tap in taps] == [(2, 24, 16, 24), (2, 40, 8, 12)]
    assert all(tap.isfinite().all() and tap.std() > 0 for tap in taps)
    assert lite0.pooled(images).shape == (2, 1280)


def test_lite0_stays_in_evaluation_mode_whoever_trains_it(lite0):
    torch.nn.Sequential(lite0).train()
    assert not any(module.training for module in lite0.modules())
    before = {name: value.clone() for name, value in lite0.state_dict().items()}
    lite0(drawn(2, 3, 64, 64, seed=1))
    assert all(torch.equal(before[name], value) for name, value in lite0.state_dict().items())


def test_lite0_is_frozen_and_lets_the_images_gradient_through(lite0):
    images = drawn(1, 3, 64, 64, seed=1).requires_grad_()
    lite0(images)[1].square().mean().backward()
    assert images.grad.abs().max() > 0
    assert all(parameter.grad is None for parameter in lite0.parameters())


def test_lite0_knows_a_file_that_holds_something_else(tmp_path):
    torch.save({"weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth does not hold EfficientNet-Lite0"):
        Lite0(tmp_path / "other.pth")


@pytest.fixture(scope="module")
def vgg19_file(tmp_path_factory):
    """A file such as torchvision's, with drawn weights; its classifier, which is most of it, is left small."""
    folder = tmp_path_factory.mktemp("vgg")
    with seeded(1):
        layers = torchvision.models.vgg19().features.state_dict()
    given = {f"features.{name}": weights for name, weights in layers.items()} | {"classifier.0.bias": torch.zeros(3)}
    torch.save(given, folder / "vgg19-dcbb9e9d.pth")
    return folder / "vgg19-dcbb9e9d.pth"


def test_vgg19_ends_at_conv4_4_before_its_relu(vgg19_file):
    net = load_feature_network("vgg19", vgg19_file.parent)
    (found,) = net(drawn(1, 3, 32, 48, seed=1))
    assert found.shape == (1, 512, 4, 6)
    assert found.min() < 0
    convolutions = [layer for layer in net.net if isinstance(layer, torch.nn.Conv2d)]
    assert len(convolutions) == 2 + 2 + 4 + 4
    assert net.net[-1] is convolutions[-1]


def test_vgg19_sees_images_as_it_was_trained_on_them(vgg19_file):
    net = Vgg19(vgg19_file)
    images, seen = drawn(1, 3, 32, 32, seed=2), []
    net.net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    found = net(images)
    mean, spread = (torch.tensor(values)[:, None, None] for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    assert torch.allclose(seen[0] * spread + mean, (images + 1) / 2, atol=1e-6)
    whole = torchvision.models.vgg19().features[:CONV4_4]
    given = torch.load(vgg19_file)
    whole.load_state_dict({name: given[f"features.{name}"] for name in whole.state_dict()})
    assert torch.equal(found[0], whole(seen[0]))


def test_vgg19_is_frozen_and_lets_the_images_gradient_through(vgg19_file):
    net, images = Vgg19(vgg19_file), drawn(1, 3, 32, 32, seed=1).requires_grad_()
    net(images)[0].square().mean().backward()
    assert images.grad.abs().max() > 0
    assert not any(weights.requires_grad for weights in net.parameters())


def test_vgg19_knows_a_file_that_holds_something_else(tmp_path):
    torch.save({"features.0.weight": torch.zeros(3)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth does not hold VGG19's 24 tensors"):
        Vgg19(tmp_path / "other.pth")
