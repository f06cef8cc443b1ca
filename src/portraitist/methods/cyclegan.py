"""CycleGAN (Zhu et al., ICCV 2017), as in junyanz/pytorch-CycleGAN-and-pix2pix (BSD-2): there and back is the same."""

from portraitist.core.params import NonNegativeFloat, PositiveInt
from portraitist.learning.image_pool import ImagePool
from portraitist.learning.losses import l1_loss, least_squares_loss
from portraitist.learning.optim import frozen_parameters, optimizer_step
from portraitist.learning.tensors import Batch
from portraitist.methods import _gan
from portraitist.methods.base import Losses
from portraitist.nets.cyclegan import PatchGan, ResnetGenerator


class Params(_gan.Params):
    """Both pairs of networks' shape, and the weights of the losses."""

    blocks: PositiveInt
    cycle: NonNegativeFloat
    identity: NonNegativeFloat  # as a share of the former
    pool: PositiveInt


class CycleGan(_gan.BidirectionalGan):
    """Two generators and two discriminators, for the way to portraits and for the way back."""

    params: Params

    def __init__(self, params: Params) -> None:
        super().__init__(
            params,
            lambda: ResnetGenerator(params.width, params.blocks),
            lambda: PatchGan(params.width, params.size_px),
        )
        self.pool, self.pool_back = ImagePool(params.pool), ImagePool(params.pool)

    def step(self, batch: Batch) -> Losses:
        """Generators, then discriminators, which are shown paintings of some steps ago, too."""
        selfies, portraits, cycle = batch.selfies, batch.portraits, self.params.cycle
        painted, photographed = self.generator(selfies), self.generator_back(portraits)

        with frozen_parameters(self.discriminator), frozen_parameters(self.discriminator_back):
            g_fool = least_squares_loss(self.discriminator(painted), real=True)
            g_fool_back = least_squares_loss(self.discriminator_back(photographed), real=True)
            g_cycle = cycle * l1_loss(self.generator_back(painted), selfies)
            g_cycle_back = cycle * l1_loss(self.generator(photographed), portraits)
            own = cycle * self.params.identity
            g_identity = own * l1_loss(self.generator(portraits), portraits)
            g_identity_back = own * l1_loss(self.generator_back(selfies), selfies)
            moved = optimizer_step(
                self.generator_adam,
                g_fool=g_fool,
                g_fool_back=g_fool_back,
                g_identity=g_identity,
                g_identity_back=g_identity_back,
                g_cycle=g_cycle,
                g_cycle_back=g_cycle_back,
            )
        self.ema.update(self.generator)

        shown, shown_back = self.pool(painted.detach()), self.pool_back(photographed.detach())
        d_real = least_squares_loss(self.discriminator(portraits), real=True) / 2
        d_fake = least_squares_loss(self.discriminator(shown), real=False) / 2
        d_real_back = least_squares_loss(self.discriminator_back(selfies), real=True) / 2
        d_fake_back = least_squares_loss(self.discriminator_back(shown_back), real=False) / 2
        judged = optimizer_step(
            self.discriminator_adam, d_real=d_real, d_fake=d_fake, d_real_back=d_real_back, d_fake_back=d_fake_back
        )
        return judged | moved
