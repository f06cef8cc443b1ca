"""Loss functions. Each takes tensors and returns an unweighted loss.

Two tensors that are compared must have the same shape; otherwise, ValueError is raised. Broadcasting would hide a bug.
Masks and weights have one value per pixel. Feature maps and logits may have a lower resolution, so that one
location covers several pixels. In this case, the mask or weight of a location is the mean over these pixels.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from portraitist.learning.tensors import Images, Masks

# color_loss averages over square cells: CELLS_PER_HEIGHT cells from top to bottom, each at least MIN_CELL_PX high
CELLS_PER_HEIGHT, MIN_CELL_PX = 16, 4
Scalar = Float[Tensor, ""]
Features = Float[Tensor, "batch channels rows columns"]
FeatureLayers = list[Float[Tensor, "_ _ _ _"]]  # (batch, channels, rows, columns); layers differ in size
LogitLayers = list[Float[Tensor, "_ 1 _ _"]]
PatchLogits = Float[Tensor, "batch 1 rows columns"]
Points = Float[Tensor, "batch patches dimensions"]


def content_loss(features: FeatureLayers, target: FeatureLayers, masks: Masks | None = None) -> Scalar:
    """Mean L1 distance of feature maps, averaged over layers (CartoonGAN, Chen et al., CVPR 2018, eq. 4).

    Args:
        features: one (batch, channels, height, width) map per layer.
        target: the same number of maps, with the same shapes.
        masks: if given, average over the person only; an image with an empty mask has loss 0.

    Raises:
        ValueError: shapes or numbers of layers differ.
    """
    layers = []
    for predicted, expected in zip(features, target, strict=True):
        _check_same_shape(features=predicted, target=expected)
        distance = F.l1_loss(predicted, expected, reduction="none").mean(1, keepdim=True)
        layers.append(distance.mean() if masks is None else _weighted_mean(distance, masks))
    return torch.stack(layers).mean()


def normalized_content_loss(features: FeatureLayers, target: FeatureLayers, masks: Masks | None = None) -> Scalar:
    """`content_loss` of instance-normalized feature maps; the arguments are the same.

    The loss therefore ignores the mean and the standard deviation of each channel in each image. A style may change
    both.

    Raises:
        ValueError: shapes or numbers of layers differ.
    """
    return content_loss([_normalize(layer) for layer in features], [_normalize(layer) for layer in target], masks)


def _normalize(layer: Features) -> Features:
    deviation, mean = torch.std_mean(layer, (2, 3), correction=0, keepdim=True)
    return (layer - mean) / (deviation + 1e-3)  # the deviation is 0 for an image of one color


def color_loss(images: Images, target: Images, masks: Masks) -> Scalar:
    """Mean L1 distance between the person's colors in two images, without regard to brightness and lines.

    To ignore brightness, two opponent colors are compared: r - g and (r + g) / 2 - b, with RGB in [0, 1]. To ignore
    lines, the opponent colors are first averaged over square cells. The side of a cell is 1/16 of the height, at least
    4 px. Hair, skin and clothes must therefore keep their colors, while lines and brightness may change.

    Args:
        images: stylized images in [-1, 1].
        target: images with the colors to keep, in [-1, 1].
        masks: the person, over which the distance is averaged.

    Raises:
        ValueError: shapes differ.
    """
    _check_same_shape(images=images, target=target)
    distance = (_opponent_colors(images) - _opponent_colors(target)).abs().mean(1, keepdim=True)
    return _weighted_mean(distance, masks)


def _opponent_colors(images: Images) -> Float[Tensor, "batch 2 rows columns"]:
    red, green, blue = ((images + 1) / 2).unbind(1)
    opponents = torch.stack([red - green, (red + green) / 2 - blue], dim=1)
    return F.avg_pool2d(opponents, max(MIN_CELL_PX, images.shape[2] // CELLS_PER_HEIGHT))


def adversarial_loss(logits: Float[Tensor, " batch *locations"], *, target_is_real: bool) -> Scalar:
    """Binary cross-entropy of a discriminator's logits (Goodfellow et al., 2014).

    The target is 1 if `target_is_real`, else 0.
    """
    return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, float(target_is_real)))


def hinge_loss(logits: LogitLayers, masks: Masks, *, target_is_real: bool) -> Scalar:
    """Hinge loss of a discriminator with several logit maps (Lim and Ye, 2017).

    The loss of a logit x is relu(1 - x) if `target_is_real`, else relu(1 + x). The loss is averaged over the person in
    each image, then over images and maps. An image with an empty mask has loss 0.
    """
    sign = 1 if target_is_real else -1
    return torch.stack([_weighted_mean(F.relu(1 - sign * logit_map), masks) for logit_map in logits]).mean()


def hinge_generator_loss(logits: LogitLayers, masks: Masks) -> Scalar:
    """Hinge loss of the generator: the mean of the negative logits.

    The mean is computed over the person in each image, then over images and logit maps.
    """
    return torch.stack([_weighted_mean(-logit_map, masks) for logit_map in logits]).mean()


def _weighted_mean(values: PatchLogits, weights: Masks) -> Scalar:
    """Return the weighted mean of each image, averaged over images; a location has the mean weight of its pixels."""
    weights = F.adaptive_avg_pool2d(weights, (values.shape[2], values.shape[3]))
    return ((values * weights).sum((1, 2, 3)) / weights.sum((1, 2, 3)).clamp(min=1)).mean()


def least_squares_loss(logits: Float[Tensor, " batch *locations"], *, target_is_real: bool) -> Scalar:
    """Mean squared distance of a discriminator's output from the target (LSGAN, Mao et al., ICCV 2017).

    The target is 1 if `target_is_real`, else 0.
    """
    return F.mse_loss(logits, torch.full_like(logits, float(target_is_real)))


def l1_loss(images: Images, target: Images) -> Scalar:
    """Mean absolute distance of images, over all pixels and channels.

    Raises:
        ValueError: shapes differ.
    """
    _check_same_shape(images=images, target=target)
    return F.l1_loss(images, target)


def weighted_least_squares_loss(logits: PatchLogits, weights: Masks, *, target_is_real: bool) -> Scalar:
    """`least_squares_loss` as a weighted mean over the patches of each image; a patch has its pixels' mean weight.

    The loss is then averaged over images, so that the mean over several processes is the loss of the whole batch.
    """
    return _weighted_mean((logits - float(target_is_real)).square(), weights)


def weighted_l1_loss(images: Images, target: Images, weights: Masks) -> Scalar:
    """`l1_loss` as a weighted mean over the pixels of each image, averaged over images.

    `weights` have the images' height and width.

    Raises:
        ValueError: shapes of images and target differ.
    """
    _check_same_shape(images=images, target=target)
    return _weighted_mean((images - target).abs().mean(1, keepdim=True), weights)


def patch_nce_loss(points: Points, target: Points, temperature: float) -> Scalar:
    """PatchNCE loss (Park et al., ECCV 2020, eq. 3): cross-entropy of choosing the right target for each point.

    The right target of a point is the vector at the same position in `target`. The other targets of the same image are
    the negatives.

    Args:
        points: (batch, patches, dimensions) feature vectors of norm 1.
        target: (batch, patches, dimensions) feature vectors of norm 1.
        temperature: divisor of the similarities, above 0.

    Raises:
        ValueError: shapes differ.
    """
    _check_same_shape(points=points, target=target)
    similarities = points @ target.transpose(1, 2) / temperature
    own = torch.arange(points.shape[1], device=points.device).expand(points.shape[:2])
    return F.cross_entropy(similarities.flatten(0, 1), own.flatten())


def total_variation_loss(images: Images) -> Scalar:
    """Anisotropic total variation (Rudin et al., 1992) per pixel.

    It is the mean absolute difference of vertically adjacent pixels, plus that of horizontally adjacent pixels.
    """
    return images.diff(dim=2).abs().mean() + images.diff(dim=3).abs().mean()


def gram_loss(features: Features, masks: Masks, target: Features, target_masks: Masks) -> Float[Tensor, " batch"]:
    """Relative squared distance of two Gram matrices, per image (style loss of Gatys et al., CVPR 2016, eq. 4).

    The squared distance is divided by the squared norm of the target's Gram matrix, instead of by the layer's size. The
    losses of different layers and networks then have the same scale. If the Gram matrix of `features` is zero, the loss
    is 1.

    Args:
        features: feature maps of the stylized images.
        masks: area over which the Gram matrices of `features` are computed.
        target: feature maps of the portraits that give the style.
        target_masks: area over which the Gram matrices of `target` are computed.
    """
    gram, target_gram = _gram_matrix(features, masks), _gram_matrix(target, target_masks)
    return (gram - target_gram).square().sum((1, 2)) / target_gram.square().sum((1, 2)).clamp(min=1e-8)


def _gram_matrix(features: Features, masks: Masks) -> Float[Tensor, "batch channels channels"]:
    weights = F.adaptive_avg_pool2d(masks, (features.shape[2], features.shape[3])).flatten(2)
    flat = features.flatten(2)
    # a separate matrix product for each image: if a batched matrix product has only one image, torch 2.14 computes a
    # wrong gradient of batch norm
    products = [weighted @ image.T for weighted, image in zip(flat * weights, flat, strict=True)]
    return torch.stack(products) / weights.sum(2, keepdim=True).clamp(min=1)


def relative_content_loss(features: Features, target: Features) -> Float[Tensor, " batch"]:
    """Squared distance of features, divided by the target's squared norm, per image (after Gatys et al., eq. 1).

    Raises:
        ValueError: shapes differ.
    """
    _check_same_shape(features=features, target=target)
    return (features - target).square().sum((1, 2, 3)) / target.square().sum((1, 2, 3)).clamp(min=1e-8)


def mask_loss(logits: Masks, target: Masks) -> Scalar:
    """Binary cross-entropy of a segmenter's logits with masks in [0, 1].

    Raises:
        ValueError: shapes differ.
    """
    _check_same_shape(logits=logits, target=target)
    return F.binary_cross_entropy_with_logits(logits, target)


def _check_same_shape(**tensors: Tensor) -> None:
    if len({tensor.shape for tensor in tensors.values()}) > 1:
        shapes = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in tensors.items())
        raise ValueError(f"shape mismatch: {shapes}; pass tensors of the same shape")
