"""CycleGAN (Zhu et al., ICCV 2017), as in junyanz/pytorch-CycleGAN-and-pix2pix (BSD-2): there and back is the same."""

import torch
from torch import nn

from portraitist.images import Batch, Images, Masks
from portraitist.losses import least_squares, mean_distance
from portraitist.methods import Averaged, Painter, Pool, Terms, adam, descend, falling, pace, still
from portraitist.nets.cyclegan import PatchGan, ResnetGenerator
from portraitist.params import Count, Rate, Section, Weight


class Params(Section):
    """Both pairs of networks' shape, and the weights of the losses."""

    size_px: Count
    width: Count
    blocks: Count
    learning_rate: Rate
    average: Rate  # decay of the generator's running mean, which is what paints
    cycle: Weight
    identity: Weight  # as a share of the former
    pool: Count


class Method(Painter):
    """Two generators and two discriminators, for the way to portraits and for the way back."""

    kept = ("mean",)

    def __init__(self, params: Params) -> None:
        super().__init__()
        self.params = params
        self.generator, self.generator_back = (ResnetGenerator(params.width, params.blocks) for _ in range(2))
        self.discriminator, self.discriminator_back = (PatchGan(params.width, params.size_px) for _ in range(2))
        self.pool, self.pool_back = Pool(params.pool), Pool(params.pool)
        self.mean = Averaged(self.generator, params.average)
        self.generator_adam = adam(nn.ModuleList([self.generator, self.generator_back]), params.learning_rate)
        self.discriminator_adam = adam(
            nn.ModuleList([self.discriminator, self.discriminator_back]), params.learning_rate
        )

    def epoch(self, index: int, total: int) -> None:
        """The rate falls to nothing in the second half."""
        for optimizer in (self.generator_adam, self.discriminator_adam):
            pace(optimizer, self.params.learning_rate * falling(index, total))

    def step(self, batch: Batch) -> Terms:
        """Generators, then discriminators, which are shown paintings of some steps ago, too."""
        selfies, portraits, cycle = batch.selfies, batch.portraits, self.params.cycle
        painted, photographed = self.generator(selfies), self.generator_back(portraits)

        with still(self.discriminator), still(self.discriminator_back):
            g_fool = least_squares(self.discriminator(painted), real=True)
            g_fool_back = least_squares(self.discriminator_back(photographed), real=True)
            g_cycle = cycle * mean_distance(self.generator_back(painted), selfies)
            g_cycle_back = cycle * mean_distance(self.generator(photographed), portraits)
            own = cycle * self.params.identity
            g_identity = own * mean_distance(self.generator(portraits), portraits)
            g_identity_back = own * mean_distance(self.generator_back(selfies), selfies)
            moved = descend(
                self.generator_adam,
                g_fool=g_fool,
                g_fool_back=g_fool_back,
                g_identity=g_identity,
                g_identity_back=g_identity_back,
                g_cycle=g_cycle,
                g_cycle_back=g_cycle_back,
            )
        self.mean.follow(self.generator)

        shown, shown_back = self.pool(painted.detach()), self.pool_back(photographed.detach())
        d_real = least_squares(self.discriminator(portraits), real=True) / 2
        d_fake = least_squares(self.discriminator(shown), real=False) / 2
        d_real_back = least_squares(self.discriminator_back(selfies), real=True) / 2
        d_fake_back = least_squares(self.discriminator_back(shown_back), real=False) / 2
        judged = descend(
            self.discriminator_adam, d_real=d_real, d_fake=d_fake, d_real_back=d_real_back, d_fake_back=d_fake_back
        )
        return judged | moved

    @torch.no_grad()
    def paint(self, selfies: Images, masks: Masks) -> Images:
        """The whole picture; masks are not asked."""
        return self.mean.network(selfies)
