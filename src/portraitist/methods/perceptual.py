"""Stage 1: the generator learns to give back what it sees (CartoonGAN's initialisation phase, Chen et al. 2018, 3.3).

Not a way to paint, but where those that paint begin: at the selfie, not at noise.
"""

from portraitist.core.params import OpenFraction, PositiveInt, Section
from portraitist.learning.losses import content_loss
from portraitist.learning.optim import adam, freeze, optimizer_step
from portraitist.learning.tensors import Batch
from portraitist.methods.base import Losses, Trainable, UpstreamModels, require
from portraitist.nets.cartoongan import Generator


class Params(Section):
    """The generator's shape, and how fast it learns."""

    width: PositiveInt
    blocks: PositiveInt
    skips: bool
    learning_rate: OpenFraction


class PerceptualGenerator(Trainable):
    """A generator and nothing else."""

    saved_modules = ("generator",)

    def __init__(self, params: Params) -> None:
        super().__init__()
        self.generator = Generator(params.width, params.blocks, skips=params.skips)
        self.generator_adam = adam(self.generator, params.learning_rate)

    def setup(self, upstream: UpstreamModels) -> None:
        """Take the features."""
        self.features = freeze(require(upstream.features, "features"))

    def step(self, batch: Batch) -> Losses:
        """Toward equal features of what goes in and what comes out."""
        painted = self.generator(batch.selfies)
        g_content = content_loss(self.features(painted), self.features(batch.selfies))
        return optimizer_step(self.generator_adam, g_content=g_content)
