"""Training of stage `train_mask`: a U-Net learns to segment the person in selfies and portraits.

The targets are the masks that stage `mask` computed. The persons are on various backgrounds.
"""

from typing import Annotated

import torch

from portraitist.core.params import OpenFraction, PositiveInt, Section
from portraitist.learning.losses import mask_loss
from portraitist.learning.method import Shared, Trainable, UpstreamModels
from portraitist.learning.optim import Losses, adam, optimizer_step
from portraitist.learning.registry import register
from portraitist.learning.tensors import Batch
from portraitist.nets.unet import UNet


class Params(Section):
    """Size of the U-Net and learning rate."""

    base_channels: Annotated[PositiveInt, Shared("train_mask")]
    learning_rate: Annotated[OpenFraction, Shared("train_mask")]


@register(Params)
class UNetMask(Trainable):
    """One U-Net for selfies and portraits. It must also segment stylized images, which resemble both."""

    saved_modules = ("segmenter",)

    def __init__(self, params: Params, upstream: UpstreamModels | None = None) -> None:
        super().__init__()
        self.segmenter = UNet(params.base_channels)
        if upstream is None:
            return
        self.optimizer = adam(self.segmenter, params.learning_rate)

    def step(self, batch: Batch) -> Losses:
        """Update the U-Net on selfies and portraits together."""
        images = torch.cat([batch.selfies, batch.portraits])
        masks = torch.cat([batch.selfie_masks, batch.portrait_masks])
        return optimizer_step(self.optimizer, m_mask=mask_loss(self.segmenter.logits(images), masks))
