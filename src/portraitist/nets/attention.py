"""Mejjati et al.'s attention network (NeurIPS 2018; model.py of their code): where a picture is to be changed."""

from torch import Tensor, nn

from portraitist.learning.tensors import Images, Masks, composite
from portraitist.nets.cyclegan import ResnetBlock, ResnetGenerator, init_weights


class Attention(nn.Module):
    """Images to masks of what is to be changed; height and width are multiples of four."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(3, width, 7, 2, 3, padding_mode="reflect"),
            nn.InstanceNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, 2, 1),
            nn.InstanceNorm2d(2 * width),
            nn.ReLU(),
            ResnetBlock(2 * width),
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.Conv2d(2 * width, 2 * width, 3, 1, 1),
            nn.InstanceNorm2d(2 * width),
            nn.ReLU(),
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.Conv2d(2 * width, width, 3, 1, 1),
            nn.InstanceNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, 1, 7, 1, 3, padding_mode="reflect"),
            nn.Sigmoid(),
        )
        init_weights(self)

    def forward(self, images: Images) -> Masks:
        """1 is where it looks."""
        return self.layers(images)


class AttentiveGenerator(nn.Module):
    """Paints the whole picture, and keeps of it what the attention is on; the rest is the picture as it came."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.painter = ResnetGenerator(width, blocks)
        self.attention = Attention(width)

    def attentively(self, images: Images) -> tuple[Images, Masks]:
        """What is painted, and where."""
        masks = self.attention(images)
        return composite(self.painter(images), masks, images), masks

    def forward(self, images: Images) -> Tensor:
        """Painted images, in [-1, 1]."""
        return self.attentively(images)[0]
