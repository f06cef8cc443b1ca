"""Training of stage `train_generator`: the generator learns to reconstruct its input.

This is CartoonGAN's initialization phase (Chen et al., CVPR 2018, section 3.3). The trained generator does not stylize:
its output resembles its input. The method masked_cartoongan starts its training from this generator instead of one with
random weights, whose outputs would be noise.
"""

from typing import Annotated

from portraitist.core.params import OpenFraction, PositiveInt, Section
from portraitist.learning.losses import content_loss
from portraitist.learning.method import Shared, Trainable, UpstreamModels
from portraitist.learning.optim import Losses, adam, freeze, optimizer_step
from portraitist.learning.registry import register
from portraitist.learning.tensors import Batch
from portraitist.nets.cartoongan import Generator


class Params(Section):
    """Size of the generator and learning rate."""

    base_channels: Annotated[PositiveInt, Shared("generator")]
    num_res_blocks: Annotated[PositiveInt, Shared("generator")]
    skip_connections: Annotated[bool, Shared("generator")]
    learning_rate: Annotated[OpenFraction, Shared("train_generator")]


@register(Params)
class PerceptualGenerator(Trainable):
    """CartoonGAN's generator, trained with the content loss only."""

    saved_modules = ("generator",)

    def __init__(self, params: Params, upstream: UpstreamModels | None = None) -> None:
        super().__init__()
        self.generator = Generator(
            params.base_channels, params.num_res_blocks, skip_connections=params.skip_connections
        )
        if upstream is None:
            return
        self.features = freeze(upstream.require("features"))
        self.g_optimizer = adam(self.generator, params.learning_rate)

    def step(self, batch: Batch) -> Losses:
        """Update the generator on the batch's selfies; portraits are ignored."""
        reconstructed = self.generator(batch.selfies)
        g_content = content_loss(self.features(reconstructed), self.features(batch.selfies))
        return optimizer_step(self.g_optimizer, g_content=g_content)
