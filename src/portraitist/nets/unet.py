"""The segmenter: a U-Net (Ronneberger et al. 2015) that tells the person from the background, in selfies and paintings."""

from typing import Any

import torch
from torch import Tensor, nn

from portraitist.learning import distributed
from portraitist.learning.tensors import Images, Masks

LEVELS = 4


class BatchNorm(nn.BatchNorm2d):
    """Batch norm over the whole batch, of which every process has a share; torch's SyncBatchNorm asks for a GPU."""

    def forward(self, features: Tensor) -> Tensor:
        """Features of the same shape."""
        if not self.training or distributed.world_size() == 1:
            return super().forward(features)
        assert self.momentum is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        features = features.to(self.weight.dtype)
        mean = distributed.differentiable_mean(features.mean((0, 2, 3), keepdim=True))
        apart = features - mean
        variance = distributed.differentiable_mean(apart.square().mean((0, 2, 3), keepdim=True))
        with torch.no_grad():
            seen = distributed.world_size() * features.numel() / features.shape[1]
            self.running_mean.lerp_(mean.flatten(), self.momentum)
            self.running_var.lerp_(variance.flatten() * seen / (seen - 1), self.momentum)
            self.num_batches_tracked.add_(1)
        scale, shift = (weights[:, None, None] for weights in (self.weight, self.bias))
        return apart * torch.rsqrt(variance + self.eps) * scale + shift


def _double(inside: int, outside: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (inside, outside):
        layers += [nn.Conv2d(width, outside, 3, 1, 1, bias=False), BatchNorm(outside), nn.ReLU()]
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

    def compile(self, *told: Any, **more: Any) -> None:
        """As every module's; what stage 2 asks for are the logits."""
        self.logits = torch.compile(self.logits, *told, **more)  # type: ignore[method-assign]

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
