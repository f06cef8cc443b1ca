"""CycleGAN (Zhu et al., ICCV 2017), after junyanz/pytorch-CycleGAN-and-pix2pix (BSD-2)."""

from portraitist.core.params import NonNegativeFloat
from portraitist.learning.losses import l1_loss, least_squares_loss
from portraitist.learning.optim import Losses, frozen_parameters, optimizer_step
from portraitist.learning.registry import register
from portraitist.learning.tensors import Batch
from portraitist.methods import _gan


class Params(_gan.CycleParams):
    """Size of the networks and weights of the losses."""

    lambda_identity: NonNegativeFloat  # the weight of the identity loss is lambda_identity * lambda_cycle


@register(Params)
class CycleGan(_gan.CycleBasedGan):
    """CycleGAN with its adversarial (least squares), cycle and identity losses, each in both directions."""

    params: Params

    def step(self, batch: Batch) -> Losses:
        """Update the generators. Then update the discriminators, with generated images from the pools."""
        selfies, portraits = batch.selfies, batch.portraits
        stylized, fake_selfies = self.generator(selfies), self.generator_back(portraits)
        lambda_cycle = self.params.lambda_cycle
        lambda_identity = lambda_cycle * self.params.lambda_identity

        with frozen_parameters(self.discriminator), frozen_parameters(self.discriminator_back):
            g_losses = optimizer_step(
                self.g_optimizer,
                g_adv=least_squares_loss(self.discriminator(stylized), target_is_real=True),
                g_adv_back=least_squares_loss(self.discriminator_back(fake_selfies), target_is_real=True),
                g_identity=lambda_identity * l1_loss(self.generator(portraits), portraits),
                g_identity_back=lambda_identity * l1_loss(self.generator_back(selfies), selfies),
                g_cycle=lambda_cycle * l1_loss(self.generator_back(stylized), selfies),
                g_cycle_back=lambda_cycle * l1_loss(self.generator(fake_selfies), portraits),
            )
        self.ema.update(self.generator)

        fake, fake_back = self.pool(stylized.detach()), self.pool_back(fake_selfies.detach())
        d_losses = optimizer_step(
            self.d_optimizer,
            d_real=least_squares_loss(self.discriminator(portraits), target_is_real=True) / 2,
            d_fake=least_squares_loss(self.discriminator(fake), target_is_real=False) / 2,
            d_real_back=least_squares_loss(self.discriminator_back(selfies), target_is_real=True) / 2,
            d_fake_back=least_squares_loss(self.discriminator_back(fake_back), target_is_real=False) / 2,
        )
        return d_losses | g_losses
