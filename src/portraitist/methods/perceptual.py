"""Stage 1: the generator learns to give back what it sees (CartoonGAN's initialisation phase, Chen et al. 2018, 3.3).

Not a way to paint, but where those that paint begin: at the selfie, not at noise.
"""

from portraitist.images import Batch
from portraitist.losses import content
from portraitist.methods import Given, Learner, Terms, adam, descend, frozen, needed
from portraitist.nets.cartoongan import Generator
from portraitist.params import Count, Rate, Section


class Params(Section):
    """The generator's shape, and how fast it learns."""

    width: Count
    blocks: Count
    skips: bool
    learning_rate: Rate


class Method(Learner):
    """A generator and nothing else."""

    kept = ("generator",)

    def __init__(self, params: Params) -> None:
        super().__init__()
        self.generator = Generator(params.width, params.blocks, skips=params.skips)
        self.generator_adam = adam(self.generator, params.learning_rate)

    def begin(self, given: Given) -> None:
        """Take the features."""
        self.features = frozen(needed(given.features, "features"))

    def step(self, batch: Batch) -> Terms:
        """Toward equal features of what goes in and what comes out."""
        painted = self.generator(batch.selfies)
        g_content = content(self.features(painted), self.features(batch.selfies))
        return descend(self.generator_adam, g_content=g_content)
