"""Tensors in, one unweighted number out. No network."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from portraitist.images import Masks

Scalar = Float[Tensor, ""]


def content(features: list[Tensor], target: list[Tensor], masks: Masks | None = None) -> Scalar:
    """Mean absolute distance of features, averaged over the layers: CartoonGAN's content loss (Chen et al., CVPR 2018).

    With masks, of any size, each picture's mean is over the person only; where there is no person it is 0.

    Raises:
        ValueError: The shapes differ; broadcasting here would hide a bug.
    """
    if [layer.shape for layer in features] != [layer.shape for layer in target]:
        raise ValueError(f"features {[tuple(f.shape) for f in features]} against {[tuple(t.shape) for t in target]}")
    found = []
    for pair in zip(features, target, strict=True):
        distance = F.l1_loss(*pair, reduction="none").mean(1, keepdim=True)
        if masks is None:
            found.append(distance.mean())
        else:
            share = F.adaptive_avg_pool2d(masks, (distance.shape[2], distance.shape[3]))
            found.append(((distance * share).sum((1, 2, 3)) / share.sum((1, 2, 3)).clamp(min=1)).mean())
    return torch.stack(found).mean()


def adversarial(judgement: Tensor, *, real: bool) -> Scalar:
    """Binary cross-entropy of a discriminator's logits against all real, or all painted (Goodfellow et al. 2014)."""
    return F.binary_cross_entropy_with_logits(judgement, torch.full_like(judgement, float(real)))


def mask(logits: Masks, target: Masks) -> Scalar:
    """Binary cross-entropy of a masker's logits against masks in [0, 1].

    Raises:
        ValueError: The shapes differ.
    """
    if logits.shape != target.shape:
        raise ValueError(f"logits {tuple(logits.shape)} against masks {tuple(target.shape)}")
    return F.binary_cross_entropy_with_logits(logits, target)
