"""CycleGAN's two networks (Zhu et al., ICCV 2017, 7.1), as in junyanz/pytorch-CycleGAN-and-pix2pix (BSD-2).

Their width is a parameter, 64 for both at the authors'; nine residual blocks at 256 px. The discriminator sees patches
of 70 px there, and of as large a share of a smaller picture.
"""

import math
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import TypeVar, cast

from jaxtyping import Float
from torch import Tensor, nn

from portraitist.learning.tensors import Images

Net = TypeVar("Net", bound=nn.Module)
Logits = Float[Tensor, "batch 1 rows columns"]
INIT_STD = 0.02  # of the weights at the beginning
NORMAL = partial(nn.init.normal_, std=INIT_STD)
MOST_LAYERS = 3
SIDE_PX = 32  # of a picture, for a discriminator of no layer between its first and its last two


def init_weights(net: Net, draw: Callable[[Tensor], Tensor] = NORMAL) -> Net:
    """The network, its weights drawn anew as the authors do; no bias, the scales of norms near 1."""
    for part in net.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            draw(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.InstanceNorm2d) and part.affine:
            nn.init.normal_(part.weight, 1, INIT_STD)
    return net


class ResnetBlock(nn.Module):
    """Two convolutions added to what came in."""

    def __init__(self, width: int, *, bias: bool = True) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, 1, 1, bias=bias, padding_mode="reflect"),
            nn.InstanceNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=bias, padding_mode="reflect"),
            nn.InstanceNorm2d(width),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Features of the same shape."""
        return features + self.body(features)


class ResnetGenerator(nn.Module):
    """Images to images of the same size, a multiple of four."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width, 7, 1, 3, padding_mode="reflect"), nn.InstanceNorm2d(width)]
        layers += [nn.ReLU()]
        for inside in (width, 2 * width):
            layers += [nn.Conv2d(inside, 2 * inside, 3, 2, 1), nn.InstanceNorm2d(2 * inside), nn.ReLU()]
        layers += [ResnetBlock(4 * width) for _ in range(blocks)]
        for inside in (4 * width, 2 * width):
            layers += [nn.ConvTranspose2d(inside, inside // 2, 3, 2, 1, 1), nn.InstanceNorm2d(inside // 2), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(width, 3, 7, 1, 3, padding_mode="reflect"), nn.Tanh())
        init_weights(self)

    def forward(self, images: Images) -> Images:
        """Painted images, in [-1, 1]."""
        return self.layers(images)


class PatchGan(nn.Module):
    """Images to a map of judgements, one for each patch."""

    def __init__(self, width: int, side_px: int, channels: int = 3, *, affine: bool = False) -> None:
        super().__init__()
        count = min(MOST_LAYERS, max(1, round(math.log2(side_px / SIDE_PX))))
        widths = [width * 2**place for place in range(count + 1)]
        self.first = nn.Conv2d(channels, width, 4, 2, 1)
        self.between = nn.ModuleList(
            nn.Conv2d(inside, outside, 4, 2 if outside != widths[-1] else 1, 1, bias=not affine)
            for inside, outside in pairwise(widths)
        )
        self.norms = nn.ModuleList(nn.InstanceNorm2d(outside, affine=affine) for outside in widths[1:])
        self.last = nn.Conv2d(widths[-1], 1, 4, 1, 1)
        init_weights(self)

    def forward(self, images: Tensor, *, norm: bool = True) -> Logits:
        """High says real; without norm no statistics of the picture are taken."""
        current = nn.functional.leaky_relu(self.first(images), 0.2)
        for convolution, normed in zip(self.between, self.norms, strict=True):
            current = convolution(current)
            current = nn.functional.leaky_relu(normed(current) if norm else current, 0.2)
        return cast(Tensor, self.last(current))
