"""pix2pix (Isola et al., CVPR 2017), as in junyanz/pytorch-CycleGAN-and-pix2pix (BSD-2): it learns from pairs."""

import torch

from portraitist.images import Batch
from portraitist.losses import adversarial, mean_distance
from portraitist.methods import Averaged, Terms, _gan, adam, descend, still
from portraitist.nets.cyclegan import PatchGan
from portraitist.nets.pix2pix import UNetGenerator, levels_of
from portraitist.params import PairKind, Weight


class Params(_gan.Params):
    """Where pairs come from, the networks' shape, and what the distance to the pair's portrait weighs."""

    pairs: PairKind
    distance: Weight


class Method(_gan.Gan):
    """A U-Net against a discriminator that sees the selfie beside the painting."""

    params: Params

    def __init__(self, params: Params) -> None:
        super().__init__()
        self.params = params
        self.generator = UNetGenerator(params.width, levels_of(params.size_px))
        self.discriminator = PatchGan(params.width, params.size_px, channels=6, affine=True)
        self.mean = Averaged(self.generator, params.average)
        self.generator_adam = adam(self.generator, params.learning_rate)
        self.discriminator_adam = adam(self.discriminator, params.learning_rate)

    def step(self, batch: Batch) -> Terms:
        """Discriminator, then generator; each selfie's portrait is its own."""
        painted = self.generator(batch.selfies)
        beside = torch.cat([batch.selfies, painted], dim=1)

        d_real = adversarial(self.discriminator(torch.cat([batch.selfies, batch.portraits], dim=1)), real=True) / 2
        d_fake = adversarial(self.discriminator(beside.detach()), real=False) / 2
        judged = descend(self.discriminator_adam, d_real=d_real, d_fake=d_fake)

        with still(self.discriminator):
            g_fool = adversarial(self.discriminator(beside), real=True)
            g_distance = self.params.distance * mean_distance(painted, batch.portraits)
            moved = descend(self.generator_adam, g_fool=g_fool, g_distance=g_distance)
        self.mean.follow(self.generator)
        return judged | moved
