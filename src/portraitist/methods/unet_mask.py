"""Stage 2: the masker learns from the pipeline's own masks, selfies and portraits on all backgrounds."""

import torch

from portraitist.images import Batch
from portraitist.losses import mask
from portraitist.methods import Learner, Terms, adam, descend
from portraitist.nets.unet import UNet
from portraitist.params import Count, Rate, Section


class Params(Section):
    """The U-Net's width, and how fast it learns."""

    width: Count
    learning_rate: Rate


class Method(Learner):
    """One U-Net for both kinds of picture: it has to read faces that are half of each."""

    kept = ("masker",)

    def __init__(self, params: Params) -> None:
        super().__init__()
        self.masker = UNet(params.width)
        self.masker_adam = adam(self.masker, params.learning_rate)

    def step(self, batch: Batch) -> Terms:
        """Binary cross-entropy on both kinds at once."""
        seen = torch.cat([batch.selfies, batch.portraits])
        wanted = torch.cat([batch.selfie_masks, batch.portrait_masks])
        return descend(self.masker_adam, m_mask=mask(self.masker.logits(seen), wanted))
