"""Attention network and generator of Mejjati et al. (NeurIPS 2018), after model.py of the authors' code."""

from torch import nn

from portraitist.learning.tensors import Images, Masks, composite
from portraitist.nets.cyclegan import ResnetBlock, ResnetGenerator, init_weights


class Attention(nn.Module):
    """Predict how much the generator may change each pixel; height and width must be multiples of 4."""

    def __init__(self, base_channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, base_channels, 7, 2, 3, padding_mode="reflect"),
            nn.InstanceNorm2d(base_channels),
            nn.ReLU(),
            nn.Conv2d(base_channels, 2 * base_channels, 3, 2, 1),
            nn.InstanceNorm2d(2 * base_channels),
            nn.ReLU(),
            ResnetBlock(2 * base_channels),
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.Conv2d(2 * base_channels, 2 * base_channels, 3, 1, 1),
            nn.InstanceNorm2d(2 * base_channels),
            nn.ReLU(),
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.Conv2d(2 * base_channels, base_channels, 3, 1, 1),
            nn.InstanceNorm2d(base_channels),
            nn.ReLU(),
            nn.Conv2d(base_channels, 1, 7, 1, 3, padding_mode="reflect"),
            nn.Sigmoid(),
        )
        init_weights(self)

    def forward(self, images: Images) -> Masks:
        """Return attention maps in (0, 1), of the images' height and width; 0 leaves a pixel unchanged."""
        return self.layers(images)


class AttentiveGenerator(nn.Module):
    """Stylize the whole image with a ResNet, then blend the result over the input, with the attention map as alpha."""

    def __init__(self, base_channels: int, num_res_blocks: int) -> None:
        super().__init__()
        self.resnet = ResnetGenerator(base_channels, num_res_blocks)
        self.attention = Attention(base_channels)

    def forward_with_attention(self, images: Images) -> tuple[Images, Masks]:
        """Return the blended images in [-1, 1], and the attention maps in (0, 1)."""
        attention = self.attention(images)
        return composite(self.resnet(images), attention, images), attention

    def forward(self, images: Images) -> Images:
        """Return the blended images in [-1, 1]."""
        return self.forward_with_attention(images)[0]
