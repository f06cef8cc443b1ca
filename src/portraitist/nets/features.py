"""Frozen features of a pretrained network: EfficientNet-Lite0 (Tan and Le 2019; ImageNet weights, Apache-2.0).

Its input is RGB in [-1, 1], which is what an image is here; nothing is normalised a second time.
"""

from pathlib import Path

import timm
import torch
from jaxtyping import Float
from torch import Tensor, nn

from portraitist.images import Images

NAME = "EfficientNet-Lite0"
LAYERS = (1, 2)  # of timm's five: 24 channels at a quarter of the size, 40 at an eighth


class Lite0(nn.Module):
    """EfficientNet-Lite0, frozen; `weights` is the file that stage `weights` leaves."""

    def __init__(self, weights: Path) -> None:
        super().__init__()
        self.net = timm.create_model("tf_efficientnet_lite0", pretrained=False)
        given = torch.load(weights, map_location="cpu", weights_only=True)
        own = self.net.state_dict()
        if [tuple(t.shape) for t in given.values()] != [tuple(t.shape) for t in own.values()]:
            raise ValueError(f"{weights} does not hold EfficientNet-Lite0's {len(own)} tensors")
        self.net.load_state_dict(dict(zip(own, given.values(), strict=True)))  # same layers, other names
        self.net.eval().requires_grad_(False)

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
