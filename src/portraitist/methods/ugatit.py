"""U-GAT-IT (Kim et al., ICLR 2020), the light one, as minivision-ai/photo2cartoon (MIT) has it.

A CycleGAN that attends to what tells selfies and portraits apart. photo2cartoon's Face-ID loss is left out: the face
network that it asks for comes in no package.
"""

import torch
from torch import Tensor

from portraitist.images import Batch
from portraitist.losses import Scalar, adversarial, least_squares, mean_distance
from portraitist.methods import Terms, _gan, descend, still
from portraitist.nets.ugatit import LEAST_WIDTH, FarAndNear, UgatitGenerator
from portraitist.params import Count, Weight


class Params(_gan.Params):
    """Both pairs of networks' shape, and the weights of the losses."""

    blocks: Count
    cycle: Weight
    identity: Weight
    attention: Weight  # of telling the kinds apart
    decay: Weight  # of all networks' weights


class Method(_gan.BothWays):
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

    def step(self, batch: Batch) -> Terms:
        """Discriminators, then generators."""
        selfies, portraits, params = batch.selfies, batch.portraits, self.params
        painted, taken = self.generator.judged(selfies)
        photographed, taken_back = self.generator_back.judged(portraits)

        judged = descend(
            self.discriminator_adam,
            d_real=squares(self.discriminator(portraits), real=True),
            d_fake=squares(self.discriminator(painted.detach()), real=False),
            d_real_back=squares(self.discriminator_back(selfies), real=True),
            d_fake_back=squares(self.discriminator_back(photographed.detach()), real=False),
        )

        with still(self.discriminator), still(self.discriminator_back):
            kept, own = self.generator.judged(portraits)
            kept_back, own_back = self.generator_back.judged(selfies)
            told = adversarial(taken, real=True) + adversarial(own, real=False)
            told_back = adversarial(taken_back, real=True) + adversarial(own_back, real=False)
            moved = descend(
                self.generator_adam,
                g_fool=squares(self.discriminator(painted), real=True),
                g_fool_back=squares(self.discriminator_back(photographed), real=True),
                g_cycle=params.cycle * mean_distance(self.generator_back(painted), selfies),
                g_cycle_back=params.cycle * mean_distance(self.generator(photographed), portraits),
                g_identity=params.identity * mean_distance(kept, portraits),
                g_identity_back=params.identity * mean_distance(kept_back, selfies),
                g_attention=params.attention * told,
                g_attention_back=params.attention * told_back,
            )
        self.mean.follow(self.generator)
        return judged | moved


def squares(judgements: list[Tensor], *, real: bool) -> Scalar:
    """The least squares of all judgements, of images and of what is attended to alike."""
    return torch.stack([least_squares(each, real=real) for each in judgements]).sum()
