"""Frozen features of pretrained networks, found by name: what the content loss compares, finer layers first.

EfficientNet-Lite0 (Tan and Le 2019; Apache-2.0) comes in a package; its input is RGB in [-1, 1], as an image is here.
VGG19 (Simonyan and Zisserman 2015), CartoonGAN's own, is a download; its input is normalised as in its training.
"""

from pathlib import Path
from typing import Any

import timm
import torch
import torchvision
from jaxtyping import Float
from torch import Tensor, nn

from portraitist.learning.tensors import Images

NAME = "EfficientNet-Lite0"
CONV4_4 = 26  # of torchvision's layers are VGG19 up to there
IMAGENET_MEAN, IMAGENET_SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of RGB in [0, 1]
LAYERS = (1, 2)  # of timm's five: 24 channels at a quarter of the size, 40 at an eighth


def lite(number: int, weights: Path) -> Any:
    """EfficientNet-Lite of a number from 0 to 4, frozen.

    Raises:
        ValueError: The file holds the weights of another network.
    """
    net = timm.create_model(f"tf_efficientnet_lite{number}", pretrained=False)
    given, own = torch.load(weights, map_location="cpu", weights_only=True), net.state_dict()
    if [tuple(t.shape) for t in given.values()] != [tuple(t.shape) for t in own.values()]:
        raise ValueError(f"{weights} does not hold EfficientNet-Lite{number}'s {len(own)} tensors")
    net.load_state_dict(dict(zip(own, given.values(), strict=True)))  # same layers, other names
    return net.eval().requires_grad_(False)


class Lite0(nn.Module):
    """EfficientNet-Lite0, frozen; `weights` is the file that stage `weights` leaves."""

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.net = lite(0, weights)

    def train(self, mode: bool = True) -> "Lite0":
        """Stays in evaluation mode, always."""
        return super().train(False)

    def forward(self, images: Images) -> list[Tensor]:
        """The features of `LAYERS`, the finer first."""
        net, found = self.net, []
        current = net.bn1(net.conv_stem(images))
        for index, stage in enumerate(net.blocks[: max(LAYERS) + 1]):
            current = stage(current)
            if index in LAYERS:
                found.append(current)
        return found

    def pooled(self, images: Images) -> Float[Tensor, "batch 1280"]:
        """The 1280 features before the classifier, averaged over the picture: what the metrics compare."""
        return self.net.forward_features(images).mean((2, 3))


class Vgg19(nn.Module):
    """VGG19 up to conv4_4, before its ReLU (Chen et al., CVPR 2018, 3.2.2), frozen; `weights` is torchvision's file."""

    def __init__(self, weights: Path) -> None:
        super().__init__()
        with torch.device("meta"):
            self.net = torchvision.models.vgg19().features[:CONV4_4]
        given = torch.load(weights, map_location="cpu", weights_only=True, mmap=True)
        own = {f"features.{name}": name for name in self.net.state_dict()}
        if not own.keys() <= given.keys():
            raise ValueError(f"{weights} does not hold VGG19's {len(own)} tensors up to conv4_4")
        self.net.load_state_dict({name: given[theirs].clone() for theirs, name in own.items()}, assign=True)
        self.net.eval().requires_grad_(False)
        self.mean: Tensor
        self.spread: Tensor
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None])
        self.register_buffer("spread", torch.tensor(IMAGENET_SPREAD)[:, None, None])

    def forward(self, images: Images) -> list[Tensor]:
        """The one layer's 512 features, at an eighth of the size."""
        return [self.net(((images + 1) / 2 - self.mean) / self.spread)]


NETWORKS: dict[str, tuple[str, type[Lite0 | Vgg19]]] = {
    "lite0": ("efficientnet_lite0.pth", Lite0),
    "vgg19": ("vgg19-dcbb9e9d.pth", Vgg19),
}


def weights_file(network: str, pretrained: Path) -> Path:
    """The file that stage `weights` leaves for a network."""
    return pretrained / NETWORKS[network][0]


def load_feature_network(network: str, pretrained: Path) -> nn.Module:
    """The network by its name, with its weights."""
    return NETWORKS[network][1](weights_file(network, pretrained))
