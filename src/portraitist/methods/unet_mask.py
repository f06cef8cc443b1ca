"""Stage 2: the segmenter learns from the pipeline's own masks, selfies and portraits on all backgrounds."""

import torch

from portraitist.core.params import OpenFraction, PositiveInt, Section
from portraitist.learning.losses import mask_loss
from portraitist.learning.optim import adam, optimizer_step
from portraitist.learning.tensors import Batch
from portraitist.methods.base import Losses, Trainable
from portraitist.nets.unet import UNet


class Params(Section):
    """The U-Net's width, and how fast it learns."""

    width: PositiveInt
    learning_rate: OpenFraction


class UNetMask(Trainable):
    """One U-Net for both kinds of picture: it has to read faces that are half of each."""

    saved_modules = ("segmenter",)

    def __init__(self, params: Params) -> None:
        super().__init__()
        self.segmenter = UNet(params.width)
        self.masker_adam = adam(self.segmenter, params.learning_rate)

    def step(self, batch: Batch) -> Losses:
        """Binary cross-entropy on both kinds at once."""
        seen = torch.cat([batch.selfies, batch.portraits])
        wanted = torch.cat([batch.selfie_masks, batch.portrait_masks])
        return optimizer_step(self.masker_adam, m_mask=mask_loss(self.segmenter.logits(seen), wanted))
