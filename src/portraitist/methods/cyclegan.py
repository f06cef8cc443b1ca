"""CycleGAN (Zhu et al., ICCV 2017), as in junyanz/pytorch-CycleGAN-and-pix2pix (BSD-2): there and back is the same."""

from portraitist.images import Batch
from portraitist.losses import least_squares, mean_distance
from portraitist.methods import Pool, Terms, _gan, descend, still
from portraitist.nets.cyclegan import PatchGan, ResnetGenerator
from portraitist.params import Count, Weight


class Params(_gan.Params):
    """Both pairs of networks' shape, and the weights of the losses."""

    blocks: Count
    cycle: Weight
    identity: Weight  # as a share of the former
    pool: Count


class Method(_gan.BothWays):
    """Two generators and two discriminators, for the way to portraits and for the way back."""

    params: Params

    def __init__(self, params: Params) -> None:
        super().__init__(
            params,
            lambda: ResnetGenerator(params.width, params.blocks),
            lambda: PatchGan(params.width, params.size_px),
        )
        self.pool, self.pool_back = Pool(params.pool), Pool(params.pool)

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
