"""CartoonGAN's generator and discriminator (Chen, Lai, Liu, CVPR 2018, figure 2).

The paper uses 64 base channels in the generator and 32 in the discriminator. Two things differ from the paper. The
generator upsamples by resizing and convolution, because transposed convolutions cause checkerboard artifacts. The
generator also has optional skip connections.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from portraitist.learning.tensors import Images

Logits = Float[Tensor, "batch 1 rows columns"]


def _conv_block(in_channels: int, out_channels: int, stride: int = 1) -> nn.Sequential:
    """Two convolutions, then norm and ReLU; with stride 2, the first convolution halves height and width."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, stride, 1),
        nn.Conv2d(out_channels, out_channels, 3, 1, 1),
        nn.InstanceNorm2d(out_channels, affine=True),
        nn.ReLU(),
    )


class ResidualBlock(nn.Module):
    """Two convolutions with a residual connection."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, channels, 3, 1, 1, padding_mode="reflect"),
            nn.InstanceNorm2d(channels, affine=True),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, 1, 1, padding_mode="reflect"),
            nn.InstanceNorm2d(channels, affine=True),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape as `features`."""
        return features + self.body(features)


class Generator(nn.Module):
    """Stylize images; height and width must be multiples of 4.

    Args:
        base_channels: channels of the features at full size; at 1/4 of height and width, there are 4 times as many.
        num_res_blocks: number of residual blocks, which are at 1/4 of height and width.
        skip_connections: pass the encoder's features to the decoder's layers of the same size (U-Net, Ronneberger et
            al., 2015), and the image itself to the last layer. The decoder then need not reconstruct details.
    """

    def __init__(self, base_channels: int, num_res_blocks: int, *, skip_connections: bool) -> None:
        super().__init__()
        self.skip_connections = skip_connections
        skip_channels = (2 * base_channels, base_channels, 3) if skip_connections else (0, 0, 0)
        last_kernel = 3 if skip_connections else 7
        self.encode_full = nn.Sequential(
            nn.Conv2d(3, base_channels, 7, 1, 3, padding_mode="reflect"),
            nn.InstanceNorm2d(base_channels, affine=True),
            nn.ReLU(),
        )
        self.encode_half = _conv_block(base_channels, 2 * base_channels, 2)
        self.encode_quarter = nn.Sequential(
            _conv_block(2 * base_channels, 4 * base_channels, 2),
            *(ResidualBlock(4 * base_channels) for _ in range(num_res_blocks)),
        )
        self.decode_half = _conv_block(4 * base_channels + skip_channels[0], 2 * base_channels)
        self.decode_full = _conv_block(2 * base_channels + skip_channels[1], base_channels)
        self.last = nn.Conv2d(
            base_channels + skip_channels[2], 3, last_kernel, 1, last_kernel // 2, padding_mode="reflect"
        )

    def forward(self, images: Images) -> Images:
        """Return stylized images in [-1, 1]."""
        full = self.encode_full(images)
        half = self.encode_half(full)
        quarter = self.encode_quarter(half)
        up = self.decode_half(self._join(F.interpolate(quarter, scale_factor=2, mode="nearest"), half))
        up = self.decode_full(self._join(F.interpolate(up, scale_factor=2, mode="nearest"), full))
        return torch.tanh(self.last(self._join(up, images)))

    def _join(self, decoded: Tensor, encoded: Tensor) -> Tensor:
        return torch.cat([decoded, encoded], 1) if self.skip_connections else decoded


class PatchDiscriminator(nn.Module):
    """Classify each patch of an image; a high logit means that the patch was painted by a person."""

    def __init__(self, base_channels: int) -> None:
        super().__init__()
        # for each convolution: input channels, output channels and stride. Channels are multiples of base_channels,
        # except for the 3 input channels of the first convolution
        layers = [(3, 1, 1), (1, 2, 2), (2, 4, 1), (4, 4, 2), (4, 8, 1), (8, 8, 1)]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inputs * (base_channels if index else 1), outputs * base_channels, 3, stride, 1)
            for index, (inputs, outputs, stride) in enumerate(layers)
        )
        self.norms = nn.ModuleDict(
            {str(index): nn.InstanceNorm2d(layers[index][1] * base_channels, affine=True) for index in (2, 4, 5)}
        )
        self.last = nn.Conv2d(8 * base_channels, 1, 3, 1, 1)

    def forward(self, images: Images) -> Logits:
        """Return one logit per patch; the map has 1/4 of the images' height and width."""
        current: Tensor = images
        for index, convolution in enumerate(self.convolutions):
            current = convolution(current)
            if str(index) in self.norms:
                current = self.norms[str(index)](current)
            current = F.leaky_relu(current, 0.2)
        return self.last(current)
