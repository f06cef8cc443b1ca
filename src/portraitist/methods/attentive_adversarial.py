"""Attentive adversarial network for selfies (Li et al., "scGAN", ICME 2019, arXiv 1904.12615).

No code is public. Its abstract says: unpaired and cycle-like; an adversarial network that attends to the face; three
losses, total variation, an attentive cycle loss for delicate areas such as eyes, and a perceptual loss. All else is
assumed here, and marked so: networks and least squares are CycleGAN's; the face is where the person's mask is; delicate
are eyes and mouth, found by the crop's own alignment; and every weight in params.yaml but the cycle's, CycleGAN's too.
"""

import torch

from portraitist.core.params import Fraction, NonNegativeFloat, PositiveInt
from portraitist.learning.image_pool import ImagePool
from portraitist.learning.losses import (
    content_loss,
    total_variation_loss,
    weighted_l1_loss,
    weighted_least_squares_loss,
)
from portraitist.learning.optim import freeze, frozen_parameters, optimizer_step
from portraitist.learning.tensors import Batch, Images, Masks
from portraitist.methods import _gan
from portraitist.methods.base import Losses, UpstreamModels, require
from portraitist.nets.cyclegan import PatchGan, ResnetGenerator

SPREAD = 0.4  # of a delicate area, as a share of the way from eyes to mouth [assumed]


class Params(_gan.Params):
    """The networks' shape, the weights of the losses, and where in a crop eyes and mouth are."""

    eye_line: Fraction
    eye_to_mouth: Fraction
    blocks: PositiveInt
    attention: NonNegativeFloat  # of the face, beside the rest, before the discriminators [assumed]
    delicate: NonNegativeFloat  # of eyes and mouth, beside the rest, in the cycle [assumed]
    cycle: NonNegativeFloat
    perceptual: NonNegativeFloat
    variation: NonNegativeFloat
    pool: PositiveInt


class AttentiveAdversarial(_gan.BidirectionalGan):
    """Two generators and two discriminators, as CycleGAN; what is a face, and delicate in it, counts more."""

    params: Params

    def __init__(self, params: Params) -> None:
        super().__init__(
            params,
            lambda: ResnetGenerator(params.width, params.blocks),
            lambda: PatchGan(params.width, params.size_px),
        )
        self.pool, self.pool_back = ImagePool(params.pool), ImagePool(params.pool)

    def setup(self, upstream: UpstreamModels) -> None:
        """Take the features."""
        self.features = freeze(require(upstream.features, "features"))

    def step(self, batch: Batch) -> Losses:
        """Generators, then discriminators, which are shown paintings of some steps ago, too."""
        selfies, portraits, params = batch.selfies, batch.portraits, self.params
        faces, faces_back = (1 + params.attention * masks for masks in (batch.selfie_masks, batch.portrait_masks))
        delicate = 1 + params.delicate * self.delicate(selfies)
        painted, photographed = self.generator(selfies), self.generator_back(portraits)

        with frozen_parameters(self.discriminator), frozen_parameters(self.discriminator_back):
            g_fool = weighted_least_squares_loss(self.discriminator(painted), faces, real=True)
            g_fool_back = weighted_least_squares_loss(self.discriminator_back(photographed), faces_back, real=True)
            g_variation = params.variation * total_variation_loss(painted)
            g_perceptual = params.perceptual * content_loss(self.features(painted), self.features(selfies))
            g_cycle = params.cycle * weighted_l1_loss(self.generator_back(painted), selfies, delicate)
            g_cycle_back = params.cycle * weighted_l1_loss(self.generator(photographed), portraits, delicate)
            moved = optimizer_step(
                self.generator_adam,
                g_fool=g_fool,
                g_fool_back=g_fool_back,
                g_variation=g_variation,
                g_perceptual=g_perceptual,
                g_cycle=g_cycle,
                g_cycle_back=g_cycle_back,
            )
        self.ema.update(self.generator)

        shown = self.pool(torch.cat([painted.detach(), faces], dim=1)).split((3, 1), dim=1)
        shown_back = self.pool_back(torch.cat([photographed.detach(), faces_back], dim=1)).split((3, 1), dim=1)
        d_real = weighted_least_squares_loss(self.discriminator(portraits), faces_back, real=True) / 2
        d_fake = weighted_least_squares_loss(self.discriminator(shown[0]), shown[1], real=False) / 2
        d_real_back = weighted_least_squares_loss(self.discriminator_back(selfies), faces, real=True) / 2
        d_fake_back = weighted_least_squares_loss(self.discriminator_back(shown_back[0]), shown_back[1], real=False) / 2
        judged = optimizer_step(
            self.discriminator_adam, d_real=d_real, d_fake=d_fake, d_real_back=d_real_back, d_fake_back=d_fake_back
        )
        return judged | moved

    def delicate(self, images: Images) -> Masks:
        """Where both eyes and the mouth of an aligned crop are: three round hills of height 1."""
        batch, _, height, width = images.shape
        rows = (torch.arange(height, device=images.device) + 0.5) / height
        columns = (torch.arange(width, device=images.device) + 0.5) / width
        line, way = self.params.eye_line, self.params.eye_to_mouth
        places = [(line, 0.5 - way / 2), (line, 0.5 + way / 2), (line + way, 0.5)]
        hills = [
            torch.exp(-((rows[:, None] - row) ** 2 + (columns - column) ** 2) / (2 * (SPREAD * way) ** 2))
            for row, column in places
        ]
        return torch.stack(hills).amax(0).expand(batch, 1, height, width)
