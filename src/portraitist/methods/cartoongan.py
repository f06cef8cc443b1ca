"""CartoonGAN (Chen, Lai, Liu, CVPR 2018): whole pictures, backgrounds and all, before the discriminator."""

import torch

from portraitist.images import Batch, Images, Masks
from portraitist.losses import adversarial, content
from portraitist.methods import Averaged, Given, Painter, Terms, adam, descend, frozen, needed, still
from portraitist.nets.cartoongan import Generator, PatchDiscriminator
from portraitist.params import Count, Rate, Section, Weight


class Params(Section):
    """The two networks' shape, and how much the selfie's content counts."""

    width: Count
    blocks: Count
    learning_rate: Rate
    content_weight: Weight
    average: Rate  # decay of the generator's running mean, which is what paints


class Method(Painter):
    """A generator against a discriminator that also learns that blurred edges are not painted.

    The first epoch is the paper's initialisation phase (3.3): the generator hears of the selfie's content only.
    """

    kept = ("mean",)

    def __init__(self, params: Params) -> None:
        super().__init__()
        self.content_weight = params.content_weight
        self.generator = Generator(params.width, params.blocks, skips=False)
        self.discriminator = PatchDiscriminator(max(1, params.width // 2))
        self.mean = Averaged(self.generator, params.average)
        self.fooling = 1.0
        self.generator_adam = adam(self.generator, params.learning_rate)
        self.discriminator_adam = adam(self.discriminator, params.learning_rate)

    def begin(self, given: Given) -> None:
        """Take the features."""
        self.features = frozen(needed(given.features, "features"))

    def epoch(self, index: int, total: int) -> None:
        """No fooling in the first one, unless it is the only one."""
        self.fooling = float(index > 0 or total == 1)

    def step(self, batch: Batch) -> Terms:
        """Discriminator, then generator."""
        painted = self.generator(batch.selfies)

        d_real = adversarial(self.discriminator(batch.portraits), real=True)
        d_fake = adversarial(self.discriminator(painted.detach()), real=False)
        d_edge = adversarial(self.discriminator(batch.smoothed), real=False)
        judged = descend(self.discriminator_adam, d_real=d_real, d_fake=d_fake, d_edge=d_edge)

        with still(self.discriminator):
            g_fool = self.fooling * adversarial(self.discriminator(painted), real=True)
            g_content = self.content_weight * content(self.features(painted), self.features(batch.selfies))
            moved = descend(self.generator_adam, g_fool=g_fool, g_content=g_content)
        self.mean.follow(self.generator)
        return judged | moved

    @torch.no_grad()
    def paint(self, selfies: Images, masks: Masks) -> Images:
        """The whole picture; masks are not asked."""
        return self.mean.network(selfies)
