"""CartoonGAN's two networks (Chen, Lai, Liu, CVPR 2018, figure 2), their width a parameter: 64 and 32 in the paper.

Two deviations, named where they are: resize-convolution instead of transposed (no checkerboard), and the generator's
skips, if it shall have them.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from portraitist.learning.tensors import Images

Judgement = Float[Tensor, "batch 1 rows columns"]


def _block(inside: int, outside: int, stride: int = 1) -> nn.Sequential:
    """Two convolutions, the first of which may halve the size; norm and ReLU after the second."""
    return nn.Sequential(
        nn.Conv2d(inside, outside, 3, stride, 1),
        nn.Conv2d(outside, outside, 3, 1, 1),
        nn.InstanceNorm2d(outside, affine=True),
        nn.ReLU(),
    )


class Residual(nn.Module):
    """Two convolutions added to what came in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, 1, 1, padding_mode="reflect"),
            nn.InstanceNorm2d(width, affine=True),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1, padding_mode="reflect"),
            nn.InstanceNorm2d(width, affine=True),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Features of the same shape."""
        return features + self.body(features)


class Generator(nn.Module):
    """Images to painted images of the same size, a multiple of four.

    With `skips` the way up is given what the way down has seen at the same size (U-Net; Ronneberger et al. 2015), the
    image itself at last: detail is handed on, and need not be learned anew.
    """

    def __init__(self, width: int, blocks: int, *, skips: bool) -> None:
        super().__init__()
        self.skips = skips
        more = (2 * width, width, 3) if skips else (0, 0, 0)
        side = 3 if skips else 7
        self.at_whole = nn.Sequential(
            nn.Conv2d(3, width, 7, 1, 3, padding_mode="reflect"),
            nn.InstanceNorm2d(width, affine=True),
            nn.ReLU(),
        )
        self.at_half = _block(width, 2 * width, 2)
        self.at_quarter = nn.Sequential(_block(2 * width, 4 * width, 2), *(Residual(4 * width) for _ in range(blocks)))
        self.up_half = _block(4 * width + more[0], 2 * width)
        self.up_whole = _block(2 * width + more[1], width)
        self.last = nn.Conv2d(width + more[2], 3, side, 1, side // 2, padding_mode="reflect")

    def forward(self, images: Images) -> Images:
        """Painted images, in [-1, 1]."""
        whole = self.at_whole(images)
        half = self.at_half(whole)
        quarter = self.at_quarter(half)
        up = self.up_half(self._beside(F.interpolate(quarter, scale_factor=2, mode="nearest"), half))
        up = self.up_whole(self._beside(F.interpolate(up, scale_factor=2, mode="nearest"), whole))
        return torch.tanh(self.last(self._beside(up, images)))

    def _beside(self, up: Tensor, down: Tensor) -> Tensor:
        return torch.cat([up, down], 1) if self.skips else up


class PatchDiscriminator(nn.Module):
    """Images to a map of logits, one for each patch: positive says painted by a person."""

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = [(3, 1, 1), (1, 2, 2), (2, 4, 1), (4, 4, 2), (4, 8, 1), (8, 8, 1)]  # in and out by width; stride
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inside * (width if place else 1), outside * width, 3, stride, 1)
            for place, (inside, outside, stride) in enumerate(sizes)
        )
        self.norms = nn.ModuleDict(
            {str(place): nn.InstanceNorm2d(sizes[place][1] * width, affine=True) for place in (2, 4, 5)}
        )
        self.last = nn.Conv2d(8 * width, 1, 3, 1, 1)

    def forward(self, images: Images) -> Judgement:
        """A quarter of the images' height and width."""
        current: Tensor = images
        for place, convolution in enumerate(self.convolutions):
            current = convolution(current)
            if str(place) in self.norms:
                current = self.norms[str(place)](current)
            current = F.leaky_relu(current, 0.2)
        return self.last(current)
