"""Attentive adversarial network for selfies (Li et al., "scGAN", ICME 2019, arXiv 1904.12615).

No code is public, and only the abstract was available. The abstract lists: unpaired training with a cycle; an
adversarial network that attends to the face; total variation; an attentive cycle loss for delicate areas such as eyes;
and a perceptual loss.

Everything else is assumed. Networks and least-squares losses are CycleGAN's. The mask of the person serves as the area
of the face. The delicate areas are eyes and mouth, whose positions are the same in all crops. The weights in
params.yaml are assumed as well, except for lambda_cycle, which is CycleGAN's.
"""

from typing import Annotated

import torch

from portraitist.core.params import Fraction, NonNegativeFloat
from portraitist.learning.losses import (
    content_loss,
    total_variation_loss,
    weighted_l1_loss,
    weighted_least_squares_loss,
)
from portraitist.learning.method import Shared, UpstreamModels
from portraitist.learning.optim import Losses, freeze, frozen_parameters, optimizer_step
from portraitist.learning.registry import register
from portraitist.learning.tensors import Batch, Images, Masks
from portraitist.methods import _gan

LANDMARK_STD = 0.4  # standard deviation of the Gaussian around eyes and mouth, divided by eye_to_mouth [assumed]


class Params(_gan.CycleParams):
    """CycleGAN's parameters, weights of the other losses, and the position of eyes and mouth in a crop."""

    eye_line: Annotated[Fraction, Shared("crop")]
    eye_to_mouth: Annotated[Fraction, Shared("crop")]
    lambda_attention: NonNegativeFloat  # extra weight of the face in the adversarial losses [assumed]
    lambda_landmarks: NonNegativeFloat  # extra weight of eyes and mouth in the cycle loss [assumed]
    lambda_perceptual: NonNegativeFloat  # weight of the content loss
    lambda_tv: NonNegativeFloat  # weight of the total variation loss


@register(Params)
class AttentiveAdversarial(_gan.CycleBasedGan):
    """CycleGAN whose losses give a higher weight to the face, its eyes and its mouth."""

    params: Params

    def __init__(self, params: Params, upstream: UpstreamModels | None = None) -> None:
        super().__init__(params, upstream)
        if upstream is None:
            return
        self.features = freeze(upstream.require("features"))

    def step(self, batch: Batch) -> Losses:
        """Update the generators. Then update the discriminators, with generated images from the pools."""
        selfies, portraits, params = batch.selfies, batch.portraits, self.params
        face_weights, face_weights_back = (
            1 + params.lambda_attention * masks for masks in (batch.selfie_masks, batch.portrait_masks)
        )
        cycle_weights = 1 + params.lambda_landmarks * self.landmark_heatmap(selfies)
        stylized, fake_selfies = self.generator(selfies), self.generator_back(portraits)

        with frozen_parameters(self.discriminator), frozen_parameters(self.discriminator_back):
            logits, logits_back = self.discriminator(stylized), self.discriminator_back(fake_selfies)
            g_losses = optimizer_step(
                self.g_optimizer,
                g_adv=weighted_least_squares_loss(logits, face_weights, target_is_real=True),
                g_adv_back=weighted_least_squares_loss(logits_back, face_weights_back, target_is_real=True),
                g_tv=params.lambda_tv * total_variation_loss(stylized),
                g_perceptual=params.lambda_perceptual * content_loss(self.features(stylized), self.features(selfies)),
                g_cycle=params.lambda_cycle * weighted_l1_loss(self.generator_back(stylized), selfies, cycle_weights),
                g_cycle_back=params.lambda_cycle
                * weighted_l1_loss(self.generator(fake_selfies), portraits, cycle_weights),
            )
        self.ema.update(self.generator)

        fake, fake_weights = self.pool(torch.cat([stylized.detach(), face_weights], dim=1)).split((3, 1), dim=1)
        fake_back, fake_weights_back = self.pool_back(
            torch.cat([fake_selfies.detach(), face_weights_back], dim=1)
        ).split((3, 1), dim=1)
        real_logits, fake_logits = self.discriminator(portraits), self.discriminator(fake)
        real_logits_back, fake_logits_back = self.discriminator_back(selfies), self.discriminator_back(fake_back)
        d_losses = optimizer_step(
            self.d_optimizer,
            d_real=weighted_least_squares_loss(real_logits, face_weights_back, target_is_real=True) / 2,
            d_fake=weighted_least_squares_loss(fake_logits, fake_weights, target_is_real=False) / 2,
            d_real_back=weighted_least_squares_loss(real_logits_back, face_weights, target_is_real=True) / 2,
            d_fake_back=weighted_least_squares_loss(fake_logits_back, fake_weights_back, target_is_real=False) / 2,
        )
        return d_losses | g_losses

    def landmark_heatmap(self, images: Images) -> Masks:
        """Return a heatmap in [0, 1] for each face crop: Gaussians with maximum 1 at both eyes and at the mouth."""
        batch, _, height, width = images.shape
        rows = (torch.arange(height, device=images.device) + 0.5) / height
        columns = (torch.arange(width, device=images.device) + 0.5) / width
        eye_line, distance = self.params.eye_line, self.params.eye_to_mouth
        landmarks = [(eye_line, 0.5 - distance / 2), (eye_line, 0.5 + distance / 2), (eye_line + distance, 0.5)]
        gaussians = [
            torch.exp(-((rows[:, None] - row) ** 2 + (columns - column) ** 2) / (2 * (LANDMARK_STD * distance) ** 2))
            for row, column in landmarks
        ]
        return torch.stack(gaussians).amax(0).expand(batch, 1, height, width)
