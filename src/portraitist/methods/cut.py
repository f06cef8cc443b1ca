"""CUT (Park et al., "Contrastive learning for unpaired image-to-image translation", ECCV 2020), as in their code (BSD).

One way only: each place of a painting has to be told from the selfie's other places by what was there.
"""

import torch
from torch import Tensor, nn

from portraitist.core.params import NonNegativeFloat, OpenFraction, PositiveInt
from portraitist.learning.ema import EMA
from portraitist.learning.losses import Scalar, least_squares_loss, patch_nce_loss
from portraitist.learning.optim import adam, frozen_parameters, optimizer_step
from portraitist.learning.tensors import Batch, Images
from portraitist.methods import _gan
from portraitist.methods.base import Losses
from portraitist.nets.cut import XAVIER, Projector, encode_features
from portraitist.nets.cyclegan import PatchGan, ResnetGenerator, init_weights


class Params(_gan.Params):
    """The networks' shape, and how much what was there counts."""

    blocks: PositiveInt
    contrast: NonNegativeFloat
    temperature: OpenFraction


class Cut(_gan.Gan):
    """A generator, its projector, and a discriminator."""

    params: Params

    def __init__(self, params: Params) -> None:
        super().__init__()
        self.params = params
        self.generator = init_weights(ResnetGenerator(params.width, params.blocks), XAVIER)
        self.projector = Projector(params.width, params.blocks)
        self.discriminator = init_weights(PatchGan(params.width, params.size_px), XAVIER)
        self.ema = EMA(self.generator, params.average)
        self.generator_adam = adam(nn.ModuleList([self.generator, self.projector]), params.learning_rate)
        self.discriminator_adam = adam(self.discriminator, params.learning_rate)

    def step(self, batch: Batch) -> Losses:
        """Discriminator, then generator and projector."""
        painted, kept = self.generator(batch.selfies), self.generator(batch.portraits)

        d_real = least_squares_loss(self.discriminator(batch.portraits), real=True) / 2
        d_fake = least_squares_loss(self.discriminator(painted.detach()), real=False) / 2
        judged = optimizer_step(self.discriminator_adam, d_real=d_real, d_fake=d_fake)

        with frozen_parameters(self.discriminator):
            g_fool = least_squares_loss(self.discriminator(painted), real=True)
            g_contrast = self.params.contrast / 2 * self.contrast(painted, batch.selfies)
            g_identity = self.params.contrast / 2 * self.contrast(kept, batch.portraits)
            moved = optimizer_step(self.generator_adam, g_fool=g_fool, g_identity=g_identity, g_contrast=g_contrast)
        self.ema.update(self.generator)
        return judged | moved

    def contrast(self, images: Images, source: Images) -> Scalar:
        """How badly the places of images are told by the source's features, over all layers."""
        theirs, ours = encode_features(self.generator, source), encode_features(self.generator, images)
        places = self.projector.places(theirs)
        points: list[list[Tensor]] = [self.projector(features, places) for features in (ours, theirs)]
        temperature = self.params.temperature
        found = [patch_nce_loss(one, other.detach(), temperature) for one, other in zip(*points, strict=True)]
        return torch.stack(found).mean()
