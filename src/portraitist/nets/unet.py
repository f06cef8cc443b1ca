"""The masker: a U-Net (Ronneberger et al. 2015) that tells the person from the background, in selfies and paintings."""

import torch
from torch import Tensor, nn

from portraitist.images import Images, Masks

LEVELS = 4


def _double(inside: int, outside: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (inside, outside):
        layers += [nn.Conv2d(width, outside, 3, 1, 1, bias=False), nn.BatchNorm2d(outside), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Images to masks; height and width are multiples of 16."""

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [width * 2**level for level in range(LEVELS + 1)]
        self.first = _double(3, widths[0])
        self.down = nn.ModuleList(_double(inside, 2 * inside) for inside in widths[:-1])
        self.up = nn.ModuleList(_double(3 * inside, inside) for inside in reversed(widths[:-1]))
        self.last = nn.Conv2d(width, 1, 1)
        self.pool = nn.MaxPool2d(2)
        self.grow = nn.Upsample(scale_factor=2, mode="nearest")

    def logits(self, images: Images) -> Masks:
        """The masks before the sigmoid, unbounded."""
        features: list[Tensor] = [self.first(images)]
        for step in self.down:
            features.append(step(self.pool(features[-1])))
        current = features.pop()
        for step in self.up:
            current = step(torch.cat([self.grow(current), features.pop()], dim=1))
        return self.last(current)

    def forward(self, images: Images) -> Masks:
        """Masks in (0, 1): 1 is the person."""
        return self.logits(images).sigmoid()
