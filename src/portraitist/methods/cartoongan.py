"""CartoonGAN (Chen, Lai, Liu, CVPR 2018): whole pictures, backgrounds and all, before the discriminator."""

import torch

from portraitist.core.params import NonNegativeFloat, OpenFraction, PositiveInt, Section
from portraitist.learning.ema import EMA
from portraitist.learning.losses import adversarial_loss, content_loss
from portraitist.learning.optim import adam, freeze, frozen_parameters, optimizer_step
from portraitist.learning.tensors import Batch, Images, Masks
from portraitist.methods.base import Losses, Method, UpstreamModels, require
from portraitist.nets.cartoongan import Generator, PatchDiscriminator


class Params(Section):
    """The two networks' shape, and how much the selfie's content counts."""

    width: PositiveInt
    blocks: PositiveInt
    learning_rate: OpenFraction
    content_weight: NonNegativeFloat
    average: OpenFraction  # decay of the generator's running mean, which is what paints


class CartoonGan(Method):
    """A generator against a discriminator that also learns that blurred edges are not painted.

    The first epoch is the paper's initialisation phase (3.3): the generator hears of the selfie's content only.
    """

    saved_modules = ("ema",)

    def __init__(self, params: Params) -> None:
        super().__init__()
        self.content_weight = params.content_weight
        self.generator = Generator(params.width, params.blocks, skips=False)
        self.discriminator = PatchDiscriminator(max(1, params.width // 2))
        self.ema = EMA(self.generator, params.average)
        self.fooling = 1.0
        self.generator_adam = adam(self.generator, params.learning_rate)
        self.discriminator_adam = adam(self.discriminator, params.learning_rate)

    def setup(self, upstream: UpstreamModels) -> None:
        """Take the features."""
        self.features = freeze(require(upstream.features, "features"))

    def start_epoch(self, index: int, total: int) -> None:
        """No fooling in the first one, unless it is the only one."""
        self.fooling = float(index > 0 or total == 1)

    def step(self, batch: Batch) -> Losses:
        """Discriminator, then generator."""
        painted = self.generator(batch.selfies)

        d_real = adversarial_loss(self.discriminator(batch.portraits), real=True)
        d_fake = adversarial_loss(self.discriminator(painted.detach()), real=False)
        d_edge = adversarial_loss(self.discriminator(batch.smoothed), real=False)
        judged = optimizer_step(self.discriminator_adam, d_real=d_real, d_fake=d_fake, d_edge=d_edge)

        with frozen_parameters(self.discriminator):
            g_fool = self.fooling * adversarial_loss(self.discriminator(painted), real=True)
            g_content = self.content_weight * content_loss(self.features(painted), self.features(batch.selfies))
            moved = optimizer_step(self.generator_adam, g_fool=g_fool, g_content=g_content)
        self.ema.update(self.generator)
        return judged | moved

    @torch.no_grad()
    def paint(self, selfies: Images, masks: Masks) -> Images:
        """The whole picture; masks are not asked."""
        return self.ema.network(selfies)
