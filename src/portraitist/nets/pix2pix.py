"""pix2pix's U-Net (Isola et al., CVPR 2017, 6.1.1), after junyanz/pytorch-CycleGAN-and-pix2pix (BSD-2).

An image of 256 px is downsampled eight times, to one pixel. Other images are downsampled as often as their size can be
divided by two, at most eight times. The authors use batch norm with batches of one image, also at test time. This is
the same as instance norm, which is used here.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from portraitist.learning.tensors import Images
from portraitist.nets.cyclegan import init_weights

MAX_LEVELS = 8
MAX_MULTIPLE = 8  # largest number of channels, as a multiple of base_channels
# dropout probability; the decoder's levels with the most channels have dropout, except for the innermost level
DROPOUT = 0.5


def num_levels(size_px: int) -> int:
    """Return how many times an image size in pixels can be divided by two without remainder, up to eight."""
    return next(levels for levels in range(MAX_LEVELS, -1, -1) if size_px % 2**levels == 0)


class UNetGenerator(nn.Module):
    """Stylize images; height and width must be multiples of 2 ** levels.

    Args:
        base_channels: channels of the first level.
        levels: number of times that height and width are halved.
    """

    def __init__(self, base_channels: int, levels: int) -> None:
        super().__init__()
        channels = [3, *(base_channels * min(MAX_MULTIPLE, 2**level) for level in range(levels))]
        self.down = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 4, 2, 1, bias=False) for inputs, outputs in pairwise(channels)
        )
        self.down_norms = nn.ModuleList(
            nn.InstanceNorm2d(outputs, affine=True) if 0 < level < levels - 1 else nn.Identity()
            for level, outputs in enumerate(channels[1:])
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(inputs * (1 if level == levels - 1 else 2), outputs, 4, 2, 1, bias=level == 0)
            for level, (outputs, inputs) in enumerate(pairwise(channels))
        )
        self.up_norms = nn.ModuleList(
            nn.InstanceNorm2d(outputs, affine=True) if level else nn.Identity()
            for level, outputs in enumerate(channels[:-1])
        )
        self.has_dropout = [
            level < levels - 1 and channels[level] == MAX_MULTIPLE * base_channels for level in range(levels)
        ]
        init_weights(self)

    def forward(self, images: Images) -> Images:
        """Return stylized images in [-1, 1]."""
        current: Tensor = images
        skips: list[Tensor] = []
        for level, (convolution, norm) in enumerate(zip(self.down, self.down_norms, strict=True)):
            current = norm(convolution(nn.functional.leaky_relu(current, 0.2) if level else current))
            skips.append(current)
        skips.pop()
        for level in reversed(range(len(self.up))):
            current = self.up_norms[level](self.up[level](current.relu()))
            if self.has_dropout[level]:
                current = nn.functional.dropout(current, DROPOUT, self.training)
            if level:
                current = torch.cat([skips.pop(), current], dim=1)
        return current.tanh()
