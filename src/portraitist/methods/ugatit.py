"""U-GAT-IT (Kim et al., ICLR 2020), the light version of minivision-ai/photo2cartoon (MIT).

A CycleGAN with class activation maps (CAM): classifiers in the networks give a higher weight to features that
distinguish selfies from portraits. photo2cartoon's Face-ID loss is left out, because its face network is not available
in a package.
"""

import torch
from torch import Tensor, nn

from portraitist.core.params import NonNegativeFloat
from portraitist.learning.losses import Scalar, adversarial_loss, l1_loss, least_squares_loss
from portraitist.learning.method import UpstreamModels
from portraitist.learning.optim import Losses, frozen_parameters, optimizer_step
from portraitist.learning.registry import register
from portraitist.learning.tensors import Batch
from portraitist.methods import _gan
from portraitist.nets.ugatit import MIN_CHANNELS, GlobalLocalDiscriminator, UgatitGenerator


class Params(_gan.ResnetParams):
    """Size of the networks, weights of the losses, and weight decay."""

    lambda_cycle: NonNegativeFloat  # weight of the cycle loss
    lambda_identity: NonNegativeFloat  # weight of the identity loss
    lambda_cam: NonNegativeFloat  # weight of the loss of the generators' CAM classifiers
    weight_decay: NonNegativeFloat  # Adam's, for all networks


@register(Params)
class Ugatit(_gan.BidirectionalGan):
    """U-GAT-IT: a generator, a global discriminator and a local discriminator for each direction, all with CAM."""

    params: Params
    generator: UgatitGenerator
    generator_back: UgatitGenerator

    def __init__(self, params: Params, upstream: UpstreamModels | None = None) -> None:
        super().__init__(params, upstream)
        if upstream is None:
            return
        for optimizer in (self.g_optimizer, self.d_optimizer):
            optimizer.param_groups[0]["weight_decay"] = params.weight_decay
        for generator in (self.generator, self.generator_back):
            self.g_optimizer.register_step_post_hook(lambda *_, generator=generator: generator.clip_mixing_weights())

    @property
    def base_channels(self) -> int:
        """Half of `generator.base_channels`. With profile `full`, this is half of 64, so 32 as in photo2cartoon."""
        return max(MIN_CHANNELS, self.params.base_channels // 2)

    def make_generator(self) -> nn.Module:
        """Build a generator. Encoder and decoder each have half of `generator.num_res_blocks` residual blocks.

        With profile `full`, this is half of 8, so 4 in each, as in photo2cartoon.
        """
        num_res_blocks = max(1, self.params.num_res_blocks // 2)
        return UgatitGenerator(self.base_channels, num_res_blocks, self.params.size_px)

    def make_discriminator(self) -> nn.Module:
        """Build the global and the local discriminator of one direction."""
        return GlobalLocalDiscriminator(self.base_channels, self.params.size_px)

    def step(self, batch: Batch) -> Losses:
        """Update the discriminators, then the generators."""
        selfies, portraits, params = batch.selfies, batch.portraits, self.params
        stylized, cam = self.generator.forward_with_cam(selfies)
        fake_selfies, cam_back = self.generator_back.forward_with_cam(portraits)

        d_losses = optimizer_step(
            self.d_optimizer,
            d_real=summed_least_squares(self.discriminator(portraits), target_is_real=True),
            d_fake=summed_least_squares(self.discriminator(stylized.detach()), target_is_real=False),
            d_real_back=summed_least_squares(self.discriminator_back(selfies), target_is_real=True),
            d_fake_back=summed_least_squares(self.discriminator_back(fake_selfies.detach()), target_is_real=False),
        )
        with frozen_parameters(self.discriminator), frozen_parameters(self.discriminator_back):
            identity, identity_cam = self.generator.forward_with_cam(portraits)
            identity_back, identity_cam_back = self.generator_back.forward_with_cam(selfies)
            g_losses = optimizer_step(
                self.g_optimizer,
                g_adv=summed_least_squares(self.discriminator(stylized), target_is_real=True),
                g_adv_back=summed_least_squares(self.discriminator_back(fake_selfies), target_is_real=True),
                g_cycle=params.lambda_cycle * l1_loss(self.generator_back(stylized), selfies),
                g_cycle_back=params.lambda_cycle * l1_loss(self.generator(fake_selfies), portraits),
                g_identity=params.lambda_identity * l1_loss(identity, portraits),
                g_identity_back=params.lambda_identity * l1_loss(identity_back, selfies),
                g_cam=params.lambda_cam * cam_loss(cam, identity_cam),
                g_cam_back=params.lambda_cam * cam_loss(cam_back, identity_cam_back),
            )
        self.ema.update(self.generator)
        return d_losses | g_losses


def cam_loss(source_logits: Tensor, target_logits: Tensor) -> Scalar:
    """Return the cross-entropy of a generator's CAM classifiers, which distinguish two domains.

    The generator translates images from the source domain to the target domain. The loss is low if `source_logits` are
    high and `target_logits` are low.

    Args:
        source_logits: the classifiers' logits for images of the source domain.
        target_logits: the classifiers' logits for images of the target domain.
    """
    source_loss = adversarial_loss(source_logits, target_is_real=True)
    return source_loss + adversarial_loss(target_logits, target_is_real=False)


def summed_least_squares(logits: list[Tensor], *, target_is_real: bool) -> Scalar:
    """Return the sum of the least-squares losses of a discriminator's outputs: patch logits and CAM logits."""
    return torch.stack([least_squares_loss(output, target_is_real=target_is_real) for output in logits]).sum()
