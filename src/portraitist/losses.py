"""Tensors in, one unweighted number out. No network."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from portraitist.images import Images, Masks

Scalar = Float[Tensor, ""]


def content(features: list[Tensor], target: list[Tensor]) -> Scalar:
    """Mean absolute distance of features, averaged over the layers: CartoonGAN's content loss (Chen et al., CVPR 2018).

    Raises:
        ValueError: The shapes differ; broadcasting here would hide a bug.
    """
    if [layer.shape for layer in features] != [layer.shape for layer in target]:
        raise ValueError(f"features {[tuple(f.shape) for f in features]} against {[tuple(t.shape) for t in target]}")
    return torch.stack([F.l1_loss(*pair) for pair in zip(features, target, strict=True)]).mean()


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


def total_variation(images: Images) -> Scalar:
    """Mean absolute difference of neighbours, down and across: small where strokes are calm."""
    down = (images[:, :, 1:] - images[:, :, :-1]).abs().mean()
    across = (images[:, :, :, 1:] - images[:, :, :, :-1]).abs().mean()
    return down + across
