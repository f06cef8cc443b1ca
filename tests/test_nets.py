import pytest
import torch
import torchvision
from toys import boxes, drawn

from portraitist.nets.cartoongan import Generator, PatchDiscriminator, PersonNorm
from portraitist.nets.features import CONV4_4, Lite0, Vgg19, content_features
from portraitist.nets.unet import UNet
from portraitist.train import seeded

REACH = 18  # pixels that a logit sees to each side: half of a receptive field of 37


def millions(net):
    return sum(parameter.numel() for parameter in net.parameters()) / 1e6


def test_at_the_papers_width_the_networks_are_as_large_as_the_papers():
    with torch.device("meta"):
        assert 11.12 < millions(Generator(64, 8)) < 11.13
        assert round(millions(PatchDiscriminator(32, "instance")), 2) == 1.13


def test_a_painted_image_is_as_large_as_what_came_in():
    painted = Generator(4, 1)(drawn(2, 3, 16, 32, seed=1))
    assert painted.shape == (2, 3, 16, 32)
    assert painted.abs().max() <= 1


@pytest.mark.parametrize("norm", ["instance", "person", "none"])
def test_a_judgement_has_a_logit_for_each_4_by_4(norm):
    judgement = PatchDiscriminator(2, norm)(drawn(2, 3, 16, 32, seed=1), torch.ones(2, 1, 16, 32))
    assert judgement.shape == (2, 1, 4, 8)


def change_of_logits(norm, masks):
    """How far each column of logits moves when the left corner's 4 x 4 pixels change."""
    with seeded(1):
        judge = PatchDiscriminator(2, norm)
    images = drawn(1, 3, 16, 96, seed=2)
    other = images.clone()
    other[..., :4, :4] *= -1
    with torch.no_grad():
        return (judge(images, masks) - judge(other, masks)).abs().amax((0, 1, 2))


@pytest.mark.parametrize("norm", ["person", "none"])
def test_a_corner_without_person_moves_no_logit_beyond_its_reach(norm):
    moved = change_of_logits(norm, boxes((2, 15, 40, 90), width=96))
    first_beyond = (3 + REACH) // 4 + 1
    assert moved[first_beyond - 1] > 0
    assert moved[first_beyond:].max() == 0


def test_with_instance_norm_a_corner_moves_every_logit():
    assert change_of_logits("instance", boxes((2, 15, 40, 90), width=96)).min() > 0


def test_person_norm_takes_mean_and_variance_of_the_person_alone():
    features, masks = 3 * drawn(2, 5, 8, 12, seed=1) + 1, boxes((1, 7, 2, 5), (3, 8, 4, 11), height=8, width=12)
    normed = PersonNorm(5)(features, masks)
    for one, mask in zip(normed, masks[:, 0] > 0, strict=True):
        assert one[:, mask].mean(1).tolist() == pytest.approx([0] * 5, abs=1e-5)
        assert one[:, mask].var(1, unbiased=False).tolist() == pytest.approx([1] * 5, abs=1e-3)
    beyond = torch.where(masks > 0, features, features + 50)
    assert torch.equal(PersonNorm(5)(beyond, masks) * masks, normed * masks)


def test_person_norm_knows_no_person_in_an_empty_mask_and_stays_finite():
    assert PersonNorm(5)(drawn(1, 5, 8, 12, seed=1), torch.zeros(1, 1, 32, 48)).isfinite().all()


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
    net = content_features("vgg19", vgg19_file.parent)
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
