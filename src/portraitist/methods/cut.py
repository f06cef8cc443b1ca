"""CUT (Park et al., "Contrastive learning for unpaired image-to-image translation", ECCV 2020), after its code (BSD).

There is a generator from selfies to portraits, but none back. Instead, the PatchNCE loss compares patches by features
of the generator's encoder. Each patch of the stylized image must be more similar to the same patch of the selfie than
to other patches of the selfie.
"""

import torch
from torch import Tensor, nn

from portraitist.core.params import NonNegativeFloat, OpenFraction
from portraitist.learning.ema import EMA
from portraitist.learning.losses import Scalar, least_squares_loss, patch_nce_loss
from portraitist.learning.method import UpstreamModels
from portraitist.learning.optim import Losses, adam, frozen_parameters, optimizer_step
from portraitist.learning.registry import register
from portraitist.learning.tensors import Batch, Images
from portraitist.methods import _gan
from portraitist.nets.cut import XAVIER, Projector, encode_features
from portraitist.nets.cyclegan import PatchGan, ResnetGenerator, init_weights


class Params(_gan.ResnetParams):
    """Size of the networks, and the settings of the PatchNCE loss."""

    lambda_nce: NonNegativeFloat  # weight of the PatchNCE loss
    temperature: OpenFraction  # divisor of the similarities of patches


@register(Params)
class Cut(_gan.Gan):
    """A generator, a discriminator and a projector.

    The projector maps the generator's features to the vectors that the PatchNCE loss compares.
    """

    params: Params

    def __init__(self, params: Params, upstream: UpstreamModels | None = None) -> None:
        super().__init__()
        self.params = params
        generator = init_weights(ResnetGenerator(params.base_channels, params.num_res_blocks), XAVIER)
        self.ema = EMA(generator, params.ema_decay)
        if upstream is None:
            return
        self.generator = generator
        self.projector = Projector(params.base_channels, params.num_res_blocks)
        self.discriminator = init_weights(PatchGan(params.base_channels, params.size_px), XAVIER)
        self.g_optimizer = adam(nn.ModuleList([self.generator, self.projector]), params.learning_rate)
        self.d_optimizer = adam(self.discriminator, params.learning_rate)

    def step(self, batch: Batch) -> Losses:
        """Update the discriminator, then the generator and the projector."""
        stylized, identity = self.generator(batch.selfies), self.generator(batch.portraits)

        d_losses = optimizer_step(
            self.d_optimizer,
            d_real=least_squares_loss(self.discriminator(batch.portraits), target_is_real=True) / 2,
            d_fake=least_squares_loss(self.discriminator(stylized.detach()), target_is_real=False) / 2,
        )
        with frozen_parameters(self.discriminator):
            g_adv = least_squares_loss(self.discriminator(stylized), target_is_real=True)
            g_nce = self.params.lambda_nce / 2 * self.nce_loss(stylized, batch.selfies)
            g_nce_identity = self.params.lambda_nce / 2 * self.nce_loss(identity, batch.portraits)
            g_losses = optimizer_step(self.g_optimizer, g_adv=g_adv, g_nce_identity=g_nce_identity, g_nce=g_nce)
        self.ema.update(self.generator)
        return d_losses | g_losses

    def nce_loss(self, images: Images, source: Images) -> Scalar:
        """Return the PatchNCE loss of the generator's output, averaged over the tensors of `encode_features`.

        Args:
            images: output of the generator.
            source: the images from which the generator computed `images`.
        """
        source_features, features = encode_features(self.generator, source), encode_features(self.generator, images)
        locations = self.projector.sample_locations(source_features)
        points: list[Tensor] = self.projector(features, locations)
        targets: list[Tensor] = self.projector(source_features, locations)
        losses = [
            patch_nce_loss(layer, target.detach(), self.params.temperature)
            for layer, target in zip(points, targets, strict=True)
        ]
        return torch.stack(losses).mean()
