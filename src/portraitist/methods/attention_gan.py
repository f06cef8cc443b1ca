"""Unsupervised attention-guided translation (Mejjati et al., NeurIPS 2018), as in their code (MIT).

A CycleGAN that learns where to paint, and whose discriminators after a while see nothing else.
"""

import torch
from torch import nn

from portraitist.images import Batch, Images, Masks
from portraitist.losses import least_squares, mean_distance
from portraitist.methods import Averaged, Painter, Pool, Terms, adam, descend, falling, pace, still
from portraitist.nets.attention import AttentiveGenerator
from portraitist.nets.cyclegan import PatchGan
from portraitist.params import Count, Rate, Section, Share, Weight


class Params(Section):
    """Both pairs of networks' shape, the weight of the cycle, and when the attention is final."""

    size_px: Count
    width: Count  # of the discriminators; the generators' is half of it, as the authors' 64 and 32
    blocks: Count
    learning_rate: Rate
    average: Rate  # decay of the generator's running mean, which is what paints
    cycle: Weight
    pool: Count
    switch: Share  # of the epochs, after which the discriminators see the foreground alone and attention stays
    threshold: Share  # of the attention, for foreground


class Method(Painter):
    """Generators and discriminators of both ways, as CycleGAN; each generator has an attention network."""

    kept = ("mean",)

    def __init__(self, params: Params) -> None:
        super().__init__()
        self.params = params
        half = max(1, params.width // 2)
        self.generator, self.generator_back = (AttentiveGenerator(half, params.blocks) for _ in range(2))
        self.discriminator, self.discriminator_back = (PatchGan(params.width, params.size_px) for _ in range(2))
        self.pool, self.pool_back = Pool(params.pool), Pool(params.pool)
        self.mean = Averaged(self.generator, params.average)
        self.generator_adam = adam(nn.ModuleList([self.generator, self.generator_back]), params.learning_rate)
        self.discriminator_adam = adam(
            nn.ModuleList([self.discriminator, self.discriminator_back]), params.learning_rate
        )
        self.switched = False

    def epoch(self, index: int, total: int) -> None:
        """The rate falls to nothing in the second half; after the switch attention no longer learns."""
        self.switched = index >= self.params.switch * total
        for generator in (self.generator, self.generator_back):
            generator.attention.requires_grad_(not self.switched)
        for optimizer in (self.generator_adam, self.discriminator_adam):
            pace(optimizer, self.params.learning_rate * falling(index, total))

    def step(self, batch: Batch) -> Terms:
        """Generators, then discriminators, which are shown paintings of some steps ago, too."""
        selfies, portraits, cycle = batch.selfies, batch.portraits, self.params.cycle
        painted, where = self.generator.attentively(selfies)
        photographed, where_back = self.generator_back.attentively(portraits)
        fake, fake_back = self.seen(painted, where), self.seen(photographed, where_back)
        real, real_back = self.seen(portraits, where_back), self.seen(selfies, where)
        norm = not self.switched  # its statistics would tell the mask's area

        with still(self.discriminator), still(self.discriminator_back):
            g_fool = least_squares(self.discriminator(fake, norm=norm), real=True)
            g_fool_back = least_squares(self.discriminator_back(fake_back, norm=norm), real=True)
            g_cycle = cycle * mean_distance(self.generator_back(painted), selfies)
            g_cycle_back = cycle * mean_distance(self.generator(photographed), portraits)
            moved = descend(
                self.generator_adam, g_fool=g_fool, g_fool_back=g_fool_back, g_cycle=g_cycle, g_cycle_back=g_cycle_back
            )
        self.mean.follow(self.generator)

        shown, shown_back = self.pool(fake.detach()), self.pool_back(fake_back.detach())
        d_real = least_squares(self.discriminator(real.detach(), norm=norm), real=True) / 2
        d_fake = least_squares(self.discriminator(shown, norm=norm), real=False) / 2
        d_real_back = least_squares(self.discriminator_back(real_back.detach(), norm=norm), real=True) / 2
        d_fake_back = least_squares(self.discriminator_back(shown_back, norm=norm), real=False) / 2
        judged = descend(
            self.discriminator_adam, d_real=d_real, d_fake=d_fake, d_real_back=d_real_back, d_fake_back=d_fake_back
        )
        return judged | moved

    def seen(self, images: Images, masks: Masks) -> Images:
        """What the discriminators see: all, and after the switch what the attention is on; no gradient goes there."""
        return images * (masks >= self.params.threshold).float() if self.switched else images

    @torch.no_grad()
    def paint(self, selfies: Images, masks: Masks) -> Images:
        """The selfie, painted where the attention is; masks are not asked."""
        return self.mean.network(selfies)
