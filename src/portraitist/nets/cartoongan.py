"""CartoonGAN's two networks (Chen, Lai, Liu, CVPR 2018, figure 2), their width a parameter: 64 and 32 in the paper.

Two deviations, named where they are: resize-convolution instead of transposed (no checkerboard), and the
discriminator's norm is a choice, for statistics over a masked picture would tell it the mask's area.
"""

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from portraitist.images import Images

Norm = Literal["instance", "spectral", "none"]
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


class PatchDiscriminator(nn.Module):
    """Images to a map of logits, one for each patch: positive says painted by a person."""

    def __init__(self, width: int, norm: Norm) -> None:
        super().__init__()

        def convolution(inside: int, outside: int, stride: int, *, normed: bool) -> list[nn.Module]:
            layer: nn.Module = nn.Conv2d(inside, outside, 3, stride, 1)
            if norm == "spectral":
                layer = spectral_norm(layer)
            between = [nn.InstanceNorm2d(outside, affine=True)] if normed and norm == "instance" else []
            return [layer, *between, nn.LeakyReLU(0.2)]

        last: nn.Module = nn.Conv2d(8 * width, 1, 3, 1, 1)
        self.layers = nn.Sequential(
            *convolution(3, width, 1, normed=False),
            *convolution(width, 2 * width, 2, normed=False),
            *convolution(2 * width, 4 * width, 1, normed=True),
            *convolution(4 * width, 4 * width, 2, normed=False),
            *convolution(4 * width, 8 * width, 1, normed=True),
            *convolution(8 * width, 8 * width, 1, normed=True),
            spectral_norm(last) if norm == "spectral" else last,
        )

    def forward(self, images: Images) -> Judgement:
        """A quarter of the images' height and width."""
        return self.layers(images)
