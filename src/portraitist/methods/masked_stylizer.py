"""The exported method: a pretrained style network, fine-tuned with a discriminator that never gets the background.

The generator starts from a network that can already paint (Ghiasi et al., BMVC 2017). With only a few hundred training
portraits, a generator that starts by reproducing its input, as in masked_cartoongan, learns little more than to change
colors.

In each training step, the generator gets the style vectors of the batch's portraits. After training, the mean of these
vectors is the style in which selfies are painted, unless another style vector is given.

As in masked_cartoongan, the generator's input is the person on grey, and the stylized image is masked before the
discriminator gets it. The rest differs. The discriminator has small trained networks on frozen features at four
resolutions. The content loss compares instance-normalized features, so that the style may change the mean and the
standard deviation of each feature. Errors are most visible in eyes and mouth, and as marks on the skin. Therefore, the
face has a higher weight in the content loss than hair and clothes. At the highest of the four resolutions, the content
loss compares features in the face only. A color loss preserves the large-scale colors of the person. Without the color
loss, hair, skin and clothes take on the colors of the portraits.
"""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from portraitist.core.params import Fraction, NonNegativeFloat, OpenFraction, ParamsError, Section
from portraitist.learning.ema import EMA
from portraitist.learning.face_map import face_map
from portraitist.learning.features import FeatureLevels
from portraitist.learning.losses import color_loss, hinge_generator_loss, hinge_loss, normalized_content_loss
from portraitist.learning.method import Method, Shared, UpstreamModels
from portraitist.learning.optim import Losses, freeze, frozen_parameters, optimizer_step
from portraitist.learning.registry import register
from portraitist.learning.tensors import Batch, Images, Masks, composite, erode, on_grey, smooth
from portraitist.nets.arbitrary_style import (
    MeanStyle,
    StylePredictor,
    Styles,
    StyleTransformer,
    kuwahara,
    load_style_transformer,
)
from portraitist.nets.projected import ProjectedDiscriminator

LEVELS = (0, 1, 2, 3)  # of EfficientNet-Lite0's features: 1/2, 1/4, 1/8, 1/16 of the images' height and width
G_BETAS, D_BETAS = (0.5, 0.99), (0.0, 0.99)  # Adam's betas; the discriminator's are those of Sauer et al.
SIDE_MULTIPLE = 16  # height and width of the images must be a multiple of it, for the U-Net and the discriminator
PROBE_PX = 64  # height and width of an image whose features determine the discriminator's number of channels


class Params(Section):
    """Learning rates, weights of the losses, and how the inputs of generator and discriminator are prepared."""

    learning_rate: OpenFraction  # of the generator
    discriminator_learning_rate: OpenFraction
    ema_decay: Annotated[OpenFraction, Shared("train")]  # of the moving average of the generator's weights
    lambda_adv: NonNegativeFloat  # weight of the generator's adversarial loss
    lambda_edge: NonNegativeFloat  # weight of the discriminator's loss for portraits with smoothed edges
    lambda_content: NonNegativeFloat  # weight of the content loss at all resolutions except the highest
    lambda_detail: NonNegativeFloat  # weight of the content loss at the highest resolution, computed in the face only
    face_weight: Annotated[float, Field(ge=1)]  # weight of eyes and mouth in the content loss; hair and clothes: 1
    lambda_color: NonNegativeFloat  # weight of the color loss
    warmup_steps: Annotated[int, Field(ge=0)]  # number of first steps in which the generator has no adversarial loss
    # variance below which texture in the generator's input is smoothed, for pixels in [-1, 1]; 0: no smoothing
    smoothing: NonNegativeFloat
    # radius of the Kuwahara filter on avatars, relative to their width; 0: no filter. No loss depends on it.
    kuwahara_radius: Annotated[float, Field(ge=0, le=0.02)] = 0.0
    # height and width of training images; crops that are at least twice as large are downsampled by an integer factor,
    # to a multiple of 16 pixels that is not smaller. After training, the network paints crops at full size, where its
    # strokes are finer.
    training_px: Annotated[int, Field(ge=32)]
    # mask of the discriminator's input. given: the mask of stage `mask`; product: the product of this mask and the
    # mask predicted by the U-Net of stage `train_mask`; whole: no mask
    mask: Literal["product", "given", "whole"]
    erode_px: Annotated[int, Field(ge=0, le=8)]  # pixels by which masks of stage `mask` are eroded
    eye_line: Annotated[Fraction, Shared("crop")]  # this and `eye_to_mouth`: position of eyes and mouth in the crops
    eye_to_mouth: Annotated[OpenFraction, Shared("crop")]


@register(Params)
class MaskedStylizer(Method):
    """A pretrained generator that takes a style vector, and a discriminator whose input is masked."""

    saved_modules = ("ema", "style")

    def __init__(self, params: Params, upstream: UpstreamModels | None = None) -> None:
        super().__init__()
        self.params = params
        self.style = MeanStyle()
        if upstream is None:
            self.ema = EMA(StyleTransformer(), params.ema_decay)
            return
        features = upstream.require("features")
        if not isinstance(features, FeatureLevels):
            raise ParamsError(
                "content.network: masked_stylizer needs lite0, but another feature network was loaded (Python class "
                f"{type(features).__name__}); set content.network=lite0"
            )
        self.features, self.segmenter = freeze(features), freeze(upstream.require("segmenter"))
        self.predictor = StylePredictor(upstream.require_pretrained())
        self.generator = load_style_transformer(upstream.require_pretrained())
        self.ema = EMA(self.generator, params.ema_decay)
        probe = torch.zeros(1, 3, PROBE_PX, PROBE_PX)
        self.discriminator = ProjectedDiscriminator(self.discriminator_features, probe)
        self.g_optimizer = torch.optim.Adam(self.generator.parameters(), params.learning_rate, betas=G_BETAS)
        self.d_optimizer = torch.optim.Adam(
            self.discriminator.parameters(), params.discriminator_learning_rate, betas=D_BETAS
        )

    def step(self, batch: Batch) -> Losses:
        """Update the discriminator, then the generator."""
        batch = batch.downsampled(downsampling_factor(batch.selfies.shape[-1], self.params.training_px))
        styles = self.predictor(self.style_images(batch.portraits, batch.portrait_masks))
        self.style.add(styles)
        persons = self.generator_input(batch.selfies, batch.selfie_masks)
        stylized = self.generator(persons, styles)
        fake = on_grey(stylized, self.discriminator_masks(stylized, batch.selfie_masks))
        portrait_masks = self.discriminator_masks(batch.portraits, batch.portrait_masks)
        real, edge = on_grey(batch.portraits, portrait_masks), on_grey(self.smoothed_portraits(batch), portrait_masks)
        fake_area, real_area = self.inner_masks(batch.selfie_masks), self.inner_masks(batch.portrait_masks)

        fake_features = self.discriminator.features(fake)
        with torch.no_grad():
            real_features, edge_features = self.discriminator.features(real), self.discriminator.features(edge)
            person_features = self.discriminator_features(persons)
        real_logits, edge_logits = self.discriminator.logits(real_features), self.discriminator.logits(edge_features)
        fake_logits = self.discriminator.logits([layer.detach() for layer in fake_features])
        d_losses = optimizer_step(
            self.d_optimizer,
            d_real=hinge_loss(real_logits, real_area, target_is_real=True),
            d_fake=hinge_loss(fake_logits, fake_area, target_is_real=False),
            d_edge=self.params.lambda_edge * hinge_loss(edge_logits, real_area, target_is_real=False),
        )
        with frozen_parameters(self.discriminator):
            g_adv = hinge_generator_loss(self.discriminator.logits(fake_features), fake_area)
            faces = self.face_map(batch.selfies)
            content_weights = batch.selfie_masks * (1 + (self.params.face_weight - 1) * faces)
            g_content = normalized_content_loss(fake_features[1:], person_features[1:], content_weights)
            g_detail = normalized_content_loss(fake_features[:1], person_features[:1], batch.selfie_masks * faces)
            g_color = color_loss(on_grey(stylized, batch.selfie_masks), persons, batch.selfie_masks)
            g_losses = optimizer_step(
                self.g_optimizer,
                g_adv=self.adversarial_weight() * g_adv,
                g_content=self.params.lambda_content * g_content,
                g_detail=self.params.lambda_detail * g_detail,
                g_color=self.params.lambda_color * g_color,
            )
        self.ema.update(self.generator)
        return d_losses | g_losses

    def face_map(self, images: Images) -> Masks:
        """Return the map of the face for each image: 1 at eyes and mouth, lower on the rest of the face, 0 elsewhere.

        See `learning.face_map`.
        """
        height, width = images.shape[2:]
        faces = face_map(height, width, self.params.eye_line, self.params.eye_to_mouth)
        return faces.to(images).expand_as(images[:, :1])

    def style_images(self, portraits: Images, masks: Masks) -> Images:
        """Return the images from which style vectors are computed: portraits whose background is grey."""
        return on_grey(portraits, masks)

    def adversarial_weight(self) -> float:
        """Return the weight of the adversarial loss: 0 in the first `warmup_steps` steps, then `lambda_adv`.

        In the first steps, the discriminator's weights are still random.
        """
        return self.params.lambda_adv if int(self.ema.num_updates) >= self.params.warmup_steps else 0.0

    def generator_input(self, selfies: Images, masks: Masks) -> Images:
        """Return the selfies with a grey background. If `smoothing` is above 0, their texture is smoothed.

        Without smoothing, the generator turns pores and noise into wrinkles.
        """
        persons = on_grey(selfies, masks)
        return smooth(persons, self.params.smoothing) if self.params.smoothing else persons

    def discriminator_masks(self, images: Images, masks: Masks) -> Masks:
        """Return the masks by which the discriminator's input is multiplied.

        The eroded `masks` are returned. If the parameter `mask` of this method is "product", they are multiplied by the
        masks that the U-Net of stage `train_mask` predicts from `images`; gradients then flow through the U-Net to
        `images`. If the parameter is "whole", the returned masks are 1 everywhere.

        Stylized images and portraits are masked in the same way. Otherwise, the discriminator could tell them apart by
        their masks.

        Args:
            images: stylized images or portraits.
            masks: masks that stage `mask` computed for the selfies or portraits.
        """
        inner = self.inner_masks(masks)
        return inner * self.segmenter(images) if self.params.mask == "product" else inner

    def smoothed_portraits(self, batch: Batch) -> Images:
        """Return the portraits with smoothed edges, before they are masked.

        Unless the parameter `mask` of this method is "whole", the background has no influence on the persons.
        """
        return batch.smoothed if self.params.mask == "whole" else batch.smoothed_persons

    def inner_masks(self, masks: Masks) -> Masks:
        """Return the masks, eroded by `erode_px` pixels. The discriminator's logits are averaged over these masks.

        If the parameter `mask` of this method is "whole", return masks that are 1 everywhere.
        """
        return torch.ones_like(masks) if self.params.mask == "whole" else erode(masks, self.params.erode_px)

    def discriminator_features(self, images: Images) -> list[Tensor]:
        """Return the features that the discriminator classifies, at 1/2, 1/4, 1/8 and 1/16 of height and width."""
        return list(self.features.levels(images, LEVELS))

    def paint(self, selfies: Images, masks: Masks) -> Images:
        """Return the persons stylized in the mean style, in [-1, 1], blended over the selfies' own backgrounds."""
        return self.paint_in_style(selfies, masks, self.style.expand(selfies))

    @torch.no_grad()
    def paint_in_style(self, selfies: Images, masks: Masks, styles: Styles) -> Images:
        """Return the stylized persons, blended over the selfies' own backgrounds, with values in [-1, 1].

        If `kuwahara_radius` is above 0, texture is replaced by small areas of even color.

        Args:
            selfies: (batch, 3, height, width) in [-1, 1].
            masks: (batch, 1, height, width) in [0, 1]; 1 is the person.
            styles: (batch, 100), a style vector for each selfie.
        """
        stylized = self.ema.network(self.generator_input(selfies, masks), styles)
        if self.params.kuwahara_radius:
            stylized = kuwahara(stylized, masks, self.params.kuwahara_radius)
        return composite(stylized, masks, selfies)


def downsampling_factor(side: int, training_px: int) -> int:
    """Return the largest factor by which crops of `side` pixels can be downsampled for training; at least 1.

    The result has at least `training_px` pixels per side, unless `side` is smaller, and a multiple of SIDE_MULTIPLE.
    """
    largest = max(1, side // training_px)
    return next((factor for factor in range(largest, 1, -1) if side % (SIDE_MULTIPLE * factor) == 0), 1)
