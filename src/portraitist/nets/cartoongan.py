"""CartoonGAN's two networks (Chen, Lai, Liu, CVPR 2018, figure 2), their width a parameter: 64 and 32 in the paper.

Two deviations, named where they are: resize-convolution instead of transposed (no checkerboard), and the
discriminator's norm is a choice, for statistics over a masked picture would tell it the mask's area.
"""

from collections.abc import Callable
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from portraitist.images import Images, Masks

Norm = Literal["instance", "person", "none"]
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
    """Images to painted images of the same size, a multiple of four."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 7, 1, 3, padding_mode="reflect"),
            nn.InstanceNorm2d(width, affine=True),
            nn.ReLU(),
            _block(width, 2 * width, 2),
            _block(2 * width, 4 * width, 2),
            *(Residual(4 * width) for _ in range(blocks)),
            nn.Upsample(scale_factor=2, mode="nearest"),
            _block(4 * width, 2 * width),
            nn.Upsample(scale_factor=2, mode="nearest"),
            _block(2 * width, width),
            nn.Conv2d(width, 3, 7, 1, 3, padding_mode="reflect"),
            nn.Tanh(),
        )

    def forward(self, images: Images) -> Images:
        """Painted images, in [-1, 1]."""
        return self.layers(images)


class PersonNorm(nn.Module):
    """Instance norm whose mean and variance are taken over the person only.

    Over the whole picture they would tell the mask's area, and make a face's values depend on the grey around it.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, width, 1, 1))
        self.shift = nn.Parameter(torch.zeros(1, width, 1, 1))

    def forward(self, features: Tensor, masks: Masks) -> Tensor:
        """Features of the same shape; masks of any size, averaged down to theirs."""
        share = F.adaptive_avg_pool2d(masks, (features.shape[2], features.shape[3]))
        count = share.sum((2, 3), keepdim=True).clamp(min=1)
        mean = (features * share).sum((2, 3), keepdim=True) / count
        variance = ((features - mean).square() * share).sum((2, 3), keepdim=True) / count
        return (features - mean) * torch.rsqrt(variance + 1e-5) * self.scale + self.shift


class PatchDiscriminator(nn.Module):
    """Images to a map of logits, one for each patch: positive says painted by a person."""

    def __init__(self, width: int, norm: Norm) -> None:
        super().__init__()
        make: dict[Norm, Callable[[int], nn.Module]] = {
            "instance": lambda width: nn.InstanceNorm2d(width, affine=True),
            "person": PersonNorm,
            "none": lambda width: nn.Identity(),
        }
        sizes = [(3, 1, 1), (1, 2, 2), (2, 4, 1), (4, 4, 2), (4, 8, 1), (8, 8, 1)]  # in and out by width; stride
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inside * (width if place else 1), outside * width, 3, stride, 1)
            for place, (inside, outside, stride) in enumerate(sizes)
        )
        self.norms = nn.ModuleDict({str(place): make[norm](sizes[place][1] * width) for place in (2, 4, 5)})
        self.last = nn.Conv2d(8 * width, 1, 3, 1, 1)

    def forward(self, images: Images, masks: Masks | None = None) -> Judgement:
        """A quarter of the images' height and width; the masks say where the person is, for norm "person" alone."""
        current: Tensor = images
        for place, convolution in enumerate(self.convolutions):
            current = convolution(current)
            if str(place) in self.norms:
                norm = self.norms[str(place)]
                current = norm(current, masks) if isinstance(norm, PersonNorm) else norm(current)
            current = F.leaky_relu(current, 0.2)
        return self.last(current)
