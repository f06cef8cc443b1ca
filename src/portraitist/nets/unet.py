"""The U-Net (Ronneberger et al., 2015) that stage `train_mask` trains to predict person masks.

The training code calls this network the segmenter. Stage `mask` uses other networks; see `mask.segmenter`.
"""

from typing import Any

import torch
from torch import Tensor, nn

from portraitist.learning import distributed
from portraitist.learning.tensors import Images, Masks

LEVELS = 4


class BatchNorm(nn.BatchNorm2d):
    """Batch norm whose statistics cover the batches of all training processes; it also runs on CPUs.

    It replaces torch's SyncBatchNorm, which requires a GPU.
    """

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape as `features`."""
        if not self.training or distributed.world_size() == 1:
            return super().forward(features)
        assert self.momentum is not None
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        features = features.to(self.weight.dtype)
        mean = distributed.differentiable_mean(features.mean((0, 2, 3), keepdim=True))
        centered = features - mean
        variance = distributed.differentiable_mean(centered.square().mean((0, 2, 3), keepdim=True))
        with torch.no_grad():
            count = distributed.world_size() * features.numel() / features.shape[1]
            self.running_mean.lerp_(mean.flatten(), self.momentum)
            self.running_var.lerp_(variance.flatten() * count / (count - 1), self.momentum)
            self.num_batches_tracked.add_(1)
        scale, shift = (weights[:, None, None] for weights in (self.weight, self.bias))
        return centered * torch.rsqrt(variance + self.eps) * scale + shift


def _double_conv(in_channels: int, out_channels: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs in (in_channels, out_channels):
        layers += [nn.Conv2d(inputs, out_channels, 3, 1, 1, bias=False), BatchNorm(out_channels), nn.ReLU()]
    return nn.Sequential(*layers)


class UNet(nn.Module):
    """Predict the mask of the person in each image; height and width must be multiples of 16.

    Args:
        base_channels: channels at full size; they double each time that height and width are halved.
    """

    def __init__(self, base_channels: int) -> None:
        super().__init__()
        channels = [base_channels * 2**level for level in range(LEVELS + 1)]
        self.first = _double_conv(3, channels[0])
        self.down = nn.ModuleList(_double_conv(inputs, 2 * inputs) for inputs in channels[:-1])
        self.up = nn.ModuleList(_double_conv(3 * outputs, outputs) for outputs in reversed(channels[:-1]))
        self.last = nn.Conv2d(base_channels, 1, 1)
        self.pool = nn.MaxPool2d(2)
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile `logits`, the function that training calls, with `torch.compile` and the given arguments."""
        self.logits = torch.compile(self.logits, *args, **kwargs)  # type: ignore[method-assign]

    def logits(self, images: Images) -> Masks:
        """Return the masks before the sigmoid, of the shape (batch, 1, height, width)."""
        features: list[Tensor] = [self.first(images)]
        for block in self.down:
            features.append(block(self.pool(features[-1])))
        current = features.pop()
        for block in self.up:
            current = block(torch.cat([self.upsample(current), features.pop()], dim=1))
        return self.last(current)

    def forward(self, images: Images) -> Masks:
        """Return masks in (0, 1), of the shape (batch, 1, height, width); 1 is the person."""
        return self.logits(images).sigmoid()
