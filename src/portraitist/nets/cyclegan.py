"""CycleGAN's generator and discriminator (Zhu et al., ICCV 2017, section 7.1).

After junyanz/pytorch-CycleGAN-and-pix2pix (BSD-2). The authors' networks have 64 base channels, and 9 residual blocks
for images of 256 px. The discriminator classifies patches of 70 px in images of 256 px, as in the paper. Patches are
smaller for smaller images.
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
DiscriminatorInput = Float[Tensor, "batch channels height width"]  # 3 channels, or 6: the condition and the image
INIT_STD = 0.02
NORMAL = partial(nn.init.normal_, std=INIT_STD)
MAX_LAYERS = 3  # largest number of convolutions between the discriminator's first and last convolution
MIN_PX = 32  # the number of these convolutions is log2(size_px / MIN_PX), from 1 to MAX_LAYERS


def init_weights(net: Net, initializer: Callable[[Tensor], Tensor] = NORMAL) -> Net:
    """Initialize a network as the authors do, and return it.

    Biases are 0, and scales of instance norms are drawn from N(1, 0.02).

    Args:
        net: network with convolutions, linear layers and instance norms.
        initializer: sets the weights of convolutions and linear layers in place; by default, to N(0, 0.02).
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            initializer(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.InstanceNorm2d) and module.affine:
            nn.init.normal_(module.weight, 1, INIT_STD)
    return net


class ResnetBlock(nn.Module):
    """Two convolutions with a residual connection."""

    def __init__(self, channels: int, *, bias: bool = True) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, 1, 1, bias=bias, padding_mode="reflect"),
            nn.InstanceNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=bias, padding_mode="reflect"),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape as `features`."""
        return features + self.body(features)


class ResnetGenerator(nn.Module):
    """Stylize images; height and width must be multiples of 4."""

    def __init__(self, base_channels: int, num_res_blocks: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(3, base_channels, 7, 1, 3, padding_mode="reflect"),
            nn.InstanceNorm2d(base_channels),
            nn.ReLU(),
        ]
        for inputs in (base_channels, 2 * base_channels):
            layers += [nn.Conv2d(inputs, 2 * inputs, 3, 2, 1), nn.InstanceNorm2d(2 * inputs), nn.ReLU()]
        layers += [ResnetBlock(4 * base_channels) for _ in range(num_res_blocks)]
        for inputs in (4 * base_channels, 2 * base_channels):
            layers += [nn.ConvTranspose2d(inputs, inputs // 2, 3, 2, 1, 1), nn.InstanceNorm2d(inputs // 2), nn.ReLU()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(base_channels, 3, 7, 1, 3, padding_mode="reflect"), nn.Tanh())
        init_weights(self)

    def forward(self, images: Images) -> Images:
        """Return stylized images in [-1, 1]."""
        return self.layers(images)


class PatchGan(nn.Module):
    """Classify each patch of an image.

    Args:
        base_channels: channels of the first layer.
        size_px: height and width of the images; determines the size of the patches.
        in_channels: 3 for images, or 6 for images that are concatenated with a condition.
        affine: give the instance norms a learned scale and shift.
    """

    def __init__(self, base_channels: int, size_px: int, in_channels: int = 3, *, affine: bool = False) -> None:
        super().__init__()
        num_layers = min(MAX_LAYERS, max(1, round(math.log2(size_px / MIN_PX))))
        channels = [base_channels * 2**index for index in range(num_layers + 1)]
        self.first = nn.Conv2d(in_channels, base_channels, 4, 2, 1)
        self.between = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 4, 2 if outputs != channels[-1] else 1, 1, bias=not affine)
            for inputs, outputs in pairwise(channels)
        )
        self.norms = nn.ModuleList(nn.InstanceNorm2d(outputs, affine=affine) for outputs in channels[1:])
        self.last = nn.Conv2d(channels[-1], 1, 4, 1, 1)
        init_weights(self)

    def forward(self, images: DiscriminatorInput, *, norm: bool = True) -> Logits:
        """Return one logit per patch, high for real images; with `norm=False`, skip the instance norms."""
        current: Tensor = nn.functional.leaky_relu(self.first(images), 0.2)
        for convolution, instance_norm in zip(self.between, self.norms, strict=True):
            current = convolution(current)
            current = nn.functional.leaky_relu(instance_norm(current) if norm else current, 0.2)
        return cast(Tensor, self.last(current))
