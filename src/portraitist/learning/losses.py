"""Tensors in, one unweighted number out. No network.

Two tensors that are held beside each other have one shape, else it is a ValueError: broadcasting would hide a bug.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from portraitist.learning.tensors import Images, Masks

Scalar = Float[Tensor, ""]


def content_loss(features: list[Tensor], target: list[Tensor], masks: Masks | None = None) -> Scalar:
    """Mean absolute distance of features, averaged over the layers: CartoonGAN's content loss (Chen et al., CVPR 2018).

    With masks, of any size, each picture's mean is over the person only; where there is no person it is 0.
    """
    found = []
    for pair in zip(features, target, strict=True):
        _alike(*pair)
        distance = F.l1_loss(*pair, reduction="none").mean(1, keepdim=True)
        found.append(distance.mean() if masks is None else _over_person(distance, masks))
    return torch.stack(found).mean()


def adversarial_loss(judgement: Tensor, *, real: bool) -> Scalar:
    """Binary cross-entropy of a discriminator's logits against all real, or all painted (Goodfellow et al. 2014)."""
    return F.binary_cross_entropy_with_logits(judgement, torch.full_like(judgement, float(real)))


def hinge_loss(judgements: list[Tensor], masks: Masks, *, real: bool) -> Scalar:
    """How far judgements are below 1 for real, above -1 for painted (Lim and Ye 2017): mean over maps and pictures.

    Of each picture's map it is the mean over the person only, by masks of any size; where there is no person it is 0.
    """
    sign = 1 if real else -1
    return torch.stack([_over_person(F.relu(1 - sign * each), masks) for each in judgements]).mean()


def hinge_generator_loss(judgements: list[Tensor], masks: Masks) -> Scalar:
    """What the hinge loss gives the generator: minus the judgement of persons, averaged as `hinge` does."""
    return torch.stack([_over_person(-each, masks) for each in judgements]).mean()


def _over_person(values: Tensor, masks: Masks) -> Scalar:
    share = F.adaptive_avg_pool2d(masks, (values.shape[2], values.shape[3]))
    return ((values * share).sum((1, 2, 3)) / share.sum((1, 2, 3)).clamp(min=1)).mean()


def least_squares_loss(judgement: Tensor, *, real: bool) -> Scalar:
    """Mean square of how far a discriminator's judgement is from 1 for real, 0 for painted (LSGAN, Mao et al. 2017)."""
    return F.mse_loss(judgement, torch.full_like(judgement, float(real)))


def l1_loss(images: Images, wanted: Images) -> Scalar:
    """Mean absolute distance of images, pixel by pixel."""
    _alike(images, wanted)
    return F.l1_loss(images, wanted)


def weighted_least_squares_loss(judgement: Tensor, weights: Masks, *, real: bool) -> Scalar:
    """As `least_squares`, each patch by its weight; the weights, of any size, are averaged down to the judgement's."""
    share = F.adaptive_avg_pool2d(weights, (judgement.shape[2], judgement.shape[3]))
    return ((judgement - float(real)).square() * share).sum() / share.sum()


def weighted_l1_loss(images: Images, wanted: Images, weights: Masks) -> Scalar:
    """As `mean_distance`, each pixel by its weight."""
    _alike(images, wanted)
    return ((images - wanted).abs().mean(1, keepdim=True) * weights).sum() / weights.sum()


def patch_nce_loss(points: Tensor, target: Tensor, temperature: float) -> Scalar:
    """Cross-entropy of finding each point's target among its picture's (PatchNCE, Park et al., ECCV 2020, eq. 3)."""
    _alike(points, target)
    alike = points @ target.transpose(1, 2) / temperature
    own = torch.arange(points.shape[1], device=points.device).expand(points.shape[:2])
    return F.cross_entropy(alike.flatten(0, 1), own.flatten())


def total_variation_loss(images: Images) -> Scalar:
    """Mean absolute difference of neighbours, beside and below (Rudin et al. 1992, anisotropic)."""
    return images.diff(dim=2).abs().mean() + images.diff(dim=3).abs().mean()


def gram_loss(features: Tensor, masks: Masks, target: Tensor, target_masks: Masks) -> Float[Tensor, " batch"]:
    """Of each picture, how far its features' correlations are from the target's: 1 is as far as none at all is.

    The style loss of Gatys et al. (CVPR 2016, eq. 4), by the target's own size in place of the layer's, so that layers
    of any network count alike. The correlations are taken where the masks are, which may be of any size.
    """
    ours, theirs = _gram(features, masks), _gram(target, target_masks)
    return (ours - theirs).square().sum((1, 2)) / theirs.square().sum((1, 2)).clamp(min=1e-8)


def _gram(features: Tensor, masks: Masks) -> Float[Tensor, "batch channels channels"]:
    share = F.adaptive_avg_pool2d(masks, (features.shape[2], features.shape[3])).flatten(2)
    flat = features.flatten(2)
    # one by one: of a batched product of one picture, torch 2.14 gives batch norm a gradient that it reads wrongly
    products = [one @ other.T for one, other in zip(flat * share, flat, strict=True)]
    return torch.stack(products) / share.sum(2, keepdim=True).clamp(min=1)


def relative_content_loss(features: Tensor, target: Tensor) -> Float[Tensor, " batch"]:
    """Of each picture, the features' squared distance from the target's, by the latter's own size (as Gatys, eq. 1)."""
    _alike(features, target)
    return (features - target).square().sum((1, 2, 3)) / target.square().sum((1, 2, 3)).clamp(min=1e-8)


def mask_loss(logits: Masks, target: Masks) -> Scalar:
    """Binary cross-entropy of a segmenter's logits against masks in [0, 1]."""
    _alike(logits, target)
    return F.binary_cross_entropy_with_logits(logits, target)


def _alike(one: Tensor, other: Tensor) -> None:
    if one.shape != other.shape:
        raise ValueError(f"{tuple(one.shape)} against {tuple(other.shape)}")
