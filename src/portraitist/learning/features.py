"""Frozen feature networks for the content loss, loaded by name. Layers are ordered from fine to coarse.

EfficientNet-Lite0 (Tan and Le, 2019; Apache-2.0) is extracted from a package; its input is RGB in [-1, 1], like
`Images`. VGG19 (Simonyan and Zisserman, 2015), which CartoonGAN uses, is downloaded; its input is normalized by
ImageNet's mean and standard deviation.
"""

from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import timm
import torch
import torchvision
from jaxtyping import Float
from torch import Tensor, nn

from portraitist.learning.tensors import Images

NAME = "EfficientNet-Lite0"
CONV4_4 = 26  # number of torchvision's VGG19 layers up to and including conv4_4
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of RGB in [0, 1]
LAYERS = (1, 2)  # indices of timm's stages: 24 channels at a quarter of the size, 40 at an eighth


def lite(number: int, weights: Path) -> Any:
    """Load a frozen EfficientNet-Lite; `number` selects one of Lite0 to Lite4.

    Raises:
        ValueError: the file contains the weights of another network.
    """
    net = timm.create_model(f"tf_efficientnet_lite{number}", pretrained=False)
    loaded, own = torch.load(weights, map_location="cpu", weights_only=True), net.state_dict()
    if [tuple(t.shape) for t in loaded.values()] != [tuple(t.shape) for t in own.values()]:
        raise ValueError(f"{weights}: expected EfficientNet-Lite{number}, which has {len(own)} tensors")
    net.load_state_dict(dict(zip(own, loaded.values(), strict=True)))  # the same layers under other names
    return net.eval().requires_grad_(False)


@runtime_checkable
class FeatureLevels(Protocol):
    """A feature network that gives access to the features of each level."""

    def levels(self, images: Images, indices: tuple[int, ...]) -> list[Tensor]:
        """Return the features of these levels, the finest first; level 0 has half the images' height and width."""


class Lite0(nn.Module):
    """EfficientNet-Lite0, frozen; `weights` is the file written by stage `weights`."""

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.net = lite(0, weights)

    def train(self, mode: bool = True) -> "Lite0":
        """Ignore `mode`: the network always stays in evaluation mode."""
        return super().train(False)

    def forward(self, images: Images) -> list[Tensor]:
        """Return the features of `LAYERS`."""
        return self.levels(images, LAYERS)

    def levels(self, images: Images, indices: tuple[int, ...]) -> list[Tensor]:
        """Return the features of these stages, the finest first: 16, 24, 40, 80 and 192 channels of stages 0 to 4."""
        net, features = self.net, []
        current = net.bn1(net.conv_stem(images))
        for index, stage in enumerate(net.blocks[: max(indices) + 1]):
            current = stage(current)
            if index in indices:
                features.append(current)
        return features

    def pooled(self, images: Images) -> Float[Tensor, "batch 1280"]:
        """Return the 1280 features before the classifier, averaged over each image; the metrics use them."""
        return self.net.forward_features(images).mean((2, 3))


class Vgg19(nn.Module):
    """VGG19 up to conv4_4, before its ReLU (Chen et al., CVPR 2018, 3.2.2), frozen; `weights` is torchvision's file."""

    def __init__(self, weights: Path) -> None:
        super().__init__()
        with torch.device("meta"):
            self.net = torchvision.models.vgg19().features[:CONV4_4]
        loaded = torch.load(weights, map_location="cpu", weights_only=True, mmap=True)
        names = {f"features.{name}": name for name in self.net.state_dict()}
        if not names.keys() <= loaded.keys():
            raise ValueError(f"{weights}: expected VGG19's {len(names)} tensors up to conv4_4")
        self.net.load_state_dict({name: loaded[source].clone() for source, name in names.items()}, assign=True)
        self.net.eval().requires_grad_(False)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None])

    def forward(self, images: Images) -> list[Tensor]:
        """Return one layer of 512 channels, at an eighth of the size."""
        return [self.net(((images + 1) / 2 - self.mean) / self.std)]


NETWORKS: dict[str, tuple[str, type[Lite0 | Vgg19]]] = {
    "lite0": ("efficientnet_lite0.pth", Lite0),
    "vgg19": ("vgg19-dcbb9e9d.pth", Vgg19),
}


def weights_file(network: str, pretrained: Path) -> Path:
    """Return the path of a network's weights, written by stage `weights`."""
    return pretrained / NETWORKS[network][0]


def load_feature_network(network: str, pretrained: Path) -> nn.Module:
    """Load a feature network by name."""
    return NETWORKS[network][1](weights_file(network, pretrained))
