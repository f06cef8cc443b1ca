"""pix2pix's U-Net (Isola et al., CVPR 2017, 6.1.1), as in junyanz/pytorch-CycleGAN-and-pix2pix (BSD-2).

Eight halvings of a picture of 256 px, down to one pixel; a smaller picture is halved as often as it can be. The
authors' batch norm over batches of one picture, at test time, too, is instance norm, and is called so here.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from portraitist.learning.tensors import Images
from portraitist.nets.cyclegan import init_weights

MOST_LEVELS = 8
WIDEST = 8  # times the width
DROPOUT = 0.5  # on the way up, at the widest levels but the innermost


def num_levels(side_px: int) -> int:
    """How often a side can be halved, eight times at most."""
    return next(levels for levels in range(MOST_LEVELS, -1, -1) if side_px % 2**levels == 0)


class UNetGenerator(nn.Module):
    """Images to images of the same size, a multiple of two to the power of the levels."""

    def __init__(self, width: int, levels: int) -> None:
        super().__init__()
        widths = [3, *(width * min(WIDEST, 2**level) for level in range(levels))]
        self.down = nn.ModuleList(
            nn.Conv2d(inside, outside, 4, 2, 1, bias=False) for inside, outside in pairwise(widths)
        )
        self.down_norms = nn.ModuleList(
            nn.InstanceNorm2d(outside, affine=True) if 0 < level < levels - 1 else nn.Identity()
            for level, outside in enumerate(widths[1:])
        )
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(inside * (1 if level == levels - 1 else 2), outside, 4, 2, 1, bias=level == 0)
            for level, (outside, inside) in enumerate(pairwise(widths))
        )
        self.up_norms = nn.ModuleList(
            nn.InstanceNorm2d(outside, affine=True) if level else nn.Identity()
            for level, outside in enumerate(widths[:-1])
        )
        self.dropped = [level < levels - 1 and widths[level] == WIDEST * width for level in range(levels)]
        init_weights(self)

    def forward(self, images: Images) -> Images:
        """Painted images, in [-1, 1]."""
        current: Tensor = images
        passed: list[Tensor] = []
        for level, (convolution, norm) in enumerate(zip(self.down, self.down_norms, strict=True)):
            current = norm(convolution(nn.functional.leaky_relu(current, 0.2) if level else current))
            passed.append(current)
        passed.pop()
        for level in reversed(range(len(self.up))):
            current = self.up_norms[level](self.up[level](current.relu()))
            if self.dropped[level]:
                current = nn.functional.dropout(current, DROPOUT, self.training)
            if level:
                current = torch.cat([passed.pop(), current], dim=1)
        return current.tanh()
