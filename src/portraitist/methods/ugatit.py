"""U-GAT-IT (Kim et al., ICLR 2020), the light one, as minivision-ai/photo2cartoon (MIT) has it.

A CycleGAN that attends to what tells selfies and portraits apart. photo2cartoon's Face-ID loss is left out: the face
network that it asks for comes in no package.
"""

import torch
from torch import Tensor

from portraitist.core.params import NonNegativeFloat, PositiveInt
from portraitist.learning.losses import Scalar, adversarial_loss, l1_loss, least_squares_loss
from portraitist.learning.optim import frozen_parameters, optimizer_step
from portraitist.learning.tensors import Batch
from portraitist.methods import _gan
from portraitist.methods.base import Losses
from portraitist.nets.ugatit import LEAST_WIDTH, FarAndNear, UgatitGenerator


class Params(_gan.Params):
    """Both pairs of networks' shape, and the weights of the losses."""

    blocks: PositiveInt
    cycle: NonNegativeFloat
    identity: NonNegativeFloat
    attention: NonNegativeFloat  # of telling the kinds apart
    decay: NonNegativeFloat  # of all networks' weights


class Ugatit(_gan.BidirectionalGan):
    """Generators that also say which kind of picture they are given, and discriminators of the whole and of patches."""

    params: Params
    generator: UgatitGenerator
    generator_back: UgatitGenerator

    def __init__(self, params: Params) -> None:
        width, blocks = max(LEAST_WIDTH, params.width // 2), max(1, params.blocks // 2)  # as 32 and 4 of 64 and 8
        super().__init__(
            params,
            lambda: UgatitGenerator(width, blocks, params.size_px),
            lambda: FarAndNear(width, params.size_px),
        )
        for optimizer in (self.generator_adam, self.discriminator_adam):
            optimizer.param_groups[0]["weight_decay"] = params.decay
        for generator in (self.generator, self.generator_back):
            self.generator_adam.register_step_post_hook(lambda *_, generator=generator: generator.bound())

    def step(self, batch: Batch) -> Losses:
        """Discriminators, then generators."""
        selfies, portraits, params = batch.selfies, batch.portraits, self.params
        painted, taken = self.generator.judged(selfies)
        photographed, taken_back = self.generator_back.judged(portraits)

        judged = optimizer_step(
            self.discriminator_adam,
            d_real=squares(self.discriminator(portraits), real=True),
            d_fake=squares(self.discriminator(painted.detach()), real=False),
            d_real_back=squares(self.discriminator_back(selfies), real=True),
            d_fake_back=squares(self.discriminator_back(photographed.detach()), real=False),
        )

        with frozen_parameters(self.discriminator), frozen_parameters(self.discriminator_back):
            kept, own = self.generator.judged(portraits)
            kept_back, own_back = self.generator_back.judged(selfies)
            told = adversarial_loss(taken, real=True) + adversarial_loss(own, real=False)
            told_back = adversarial_loss(taken_back, real=True) + adversarial_loss(own_back, real=False)
            moved = optimizer_step(
                self.generator_adam,
                g_fool=squares(self.discriminator(painted), real=True),
                g_fool_back=squares(self.discriminator_back(photographed), real=True),
                g_cycle=params.cycle * l1_loss(self.generator_back(painted), selfies),
                g_cycle_back=params.cycle * l1_loss(self.generator(photographed), portraits),
                g_identity=params.identity * l1_loss(kept, portraits),
                g_identity_back=params.identity * l1_loss(kept_back, selfies),
                g_attention=params.attention * told,
                g_attention_back=params.attention * told_back,
            )
        self.ema.update(self.generator)
        return judged | moved


def squares(judgements: list[Tensor], *, real: bool) -> Scalar:
    """The least squares of all judgements, of images and of what is attended to alike."""
    return torch.stack([least_squares_loss(each, real=real) for each in judgements]).sum()
