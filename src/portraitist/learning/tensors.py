"""What an image is: a tensor with three channels of RGB in [-1, 1]; a mask: one channel in [0, 1], 1 is the person.

The only place where pictures become images and images become pictures.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from portraitist.core.types import HALF_RANGE, MaskArray, Picture

Images = Float[Tensor, "batch 3 height width"]
Masks = Float[Tensor, "batch 1 height width"]
ByteImages = UInt8[Tensor, "batch height width 3"]  # pictures in one tensor


@dataclass(frozen=True)
class Batch:
    """One step's pictures: selfies and portraits of different people, as many of each.

    `smoothed` are the portraits with their edges blurred (CartoonGAN's third kind of picture).
    """

    selfies: Images
    selfie_masks: Masks
    portraits: Images
    portrait_masks: Masks
    smoothed: Images

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device."""
        return Batch(*(getattr(self, name).to(device, non_blocking=True) for name in self.__dataclass_fields__))


def from_bytes(pictures: ByteImages) -> Images:
    """Images in [-1, 1]."""
    return pictures.permute(0, 3, 1, 2).float() / HALF_RANGE - 1


def to_bytes(images: Images) -> ByteImages:
    """Pictures in one tensor; what lies outside [-1, 1] is clipped."""
    return ((images.clamp(-1, 1) + 1) * HALF_RANGE).round().byte().permute(0, 2, 3, 1)


def to_images(pictures: list[Picture]) -> Images:
    """Pictures of one size as one tensor in [-1, 1]."""
    return from_bytes(torch.from_numpy(np.stack(pictures)))


def to_masks(planes: list[MaskArray]) -> Masks:
    """Planes of one size as one tensor in [0, 1]."""
    return torch.from_numpy(np.stack(planes))[:, None].float() / 255


def to_pictures(images: Images) -> list[Picture]:
    """Images as pictures; what lies outside [-1, 1] is clipped."""
    return list(to_bytes(images.detach()).cpu().numpy())


def to_mask_arrays(masks: Masks) -> list[MaskArray]:
    """Masks as planes of 0 to 255."""
    return list((masks.detach().clamp(0, 1) * 255).round().byte()[:, 0].cpu().numpy())


def composite(front: Images, masks: Masks, back: Images) -> Images:
    """Front where the mask is 1, back where it is 0."""
    return front * masks + back * (1 - masks)


def on_grey(images: Images, masks: Masks) -> Images:
    """The person on neutral grey, which is 0: the background is gone, and so is its gradient."""
    return images * masks


def erode(masks: Masks, by_px: int) -> Masks:
    """Masks whose edge has moved inward by so many pixels; what leaves the frame does not count as edge."""
    return -F.max_pool2d(-masks, 2 * by_px + 1, stride=1, padding=by_px) if by_px else masks
