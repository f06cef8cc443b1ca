"""Image and mask tensors, and their conversion from and to arrays of bytes.

Images have three RGB channels in [-1, 1]. Masks have one channel in [0, 1]; 1 is the person.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

from portraitist.core.types import HALF_RANGE, MaskArray, Picture

Images = Float[Tensor, "batch 3 height width"]
Masks = Float[Tensor, "batch 1 height width"]
ByteImages = UInt8[Tensor, "batch height width 3"]
CANNY_THRESHOLDS = (100, 200)  # of the edge detector, for pixels from 0 to 255; as in all public ports of CartoonGAN
# The two filters of `smooth`: height and width at which their coefficients are computed, and radius of their windows
COARSE_PX, COARSE_RADIUS = 128, 2
FINE_PX, FINE_RADIUS = 256, 1
FINE_EPSILON = 2.0  # threshold of the finer filter, relative to that of the coarser one


@dataclass(frozen=True)
class Batch:
    """The input of one training step: the same number of selfies and portraits, usually of different people.

    Attributes:
        selfies: selfies, each on its own background or on a background that stage `augment` listed for it.
        selfie_masks: masks of the persons in `selfies`.
        portraits: pictures painted by people.
        portrait_masks: masks of the persons in `portraits`.
        smoothed: the portraits with blurred edges, which CartoonGAN's discriminator must reject.
        smoothed_persons: the portraits with blurred edges of the persons, on whom the background has no influence.
    """

    selfies: Images
    selfie_masks: Masks
    portraits: Images
    portrait_masks: Masks
    smoothed: Images
    smoothed_persons: Images

    def to(self, device: torch.device) -> "Batch":
        """Return a copy of the batch on another device."""
        return self._map(lambda images: images.to(device, non_blocking=True))

    def downsampled(self, factor: int) -> "Batch":
        """Return a copy with height and width divided by `factor`; each pixel is the mean of a square of pixels."""
        return self._map(lambda images: F.avg_pool2d(images, factor)) if factor > 1 else self

    def _map(self, function: Callable[[Tensor], Tensor]) -> "Batch":
        return Batch(*(function(getattr(self, name)) for name in self.__dataclass_fields__))


def from_bytes(pictures: ByteImages) -> Images:
    """Convert uint8 pixels, channels last, to images in [-1, 1]."""
    return pictures.permute(0, 3, 1, 2).float() / HALF_RANGE - 1


def to_bytes(images: Images) -> ByteImages:
    """Convert images in [-1, 1] to uint8 pixels, channels last; values outside [-1, 1] are clipped."""
    return ((images.clamp(-1, 1) + 1) * HALF_RANGE).round().byte().permute(0, 2, 3, 1)


def to_images(pictures: list[Picture]) -> Images:
    """Convert RGB arrays of equal size to one tensor of images in [-1, 1]."""
    return from_bytes(torch.from_numpy(np.stack(pictures)))


def to_masks(mask_arrays: list[MaskArray]) -> Masks:
    """Convert mask arrays (0 to 255) of equal size to one tensor of masks in [0, 1]."""
    return torch.from_numpy(np.stack(mask_arrays))[:, None].float() / 255


def to_pictures(images: Images) -> list[Picture]:
    """Convert images in [-1, 1] to RGB arrays (0 to 255); values outside [-1, 1] are clipped."""
    return list(to_bytes(images.detach()).cpu().numpy())


def to_mask_arrays(masks: Masks) -> list[MaskArray]:
    """Convert masks in [0, 1] to arrays (0 to 255); values outside [0, 1] are clipped."""
    return list((masks.detach().clamp(0, 1) * 255).round().byte()[:, 0].cpu().numpy())


def composite(front: Images, masks: Masks, back: Images) -> Images:
    """Alpha-blend two images: `front` where the mask is 1, `back` where it is 0."""
    return front * masks + back * (1 - masks)


def on_grey(images: Images, masks: Masks) -> Images:
    """Replace the background by neutral grey (value 0), so that the background has no effect and no gradient."""
    return images * masks


def erode(masks: Masks, by_px: int) -> Masks:
    """Shrink the persons in the masks by `by_px` pixels. Where a person touches the image's border, nothing changes."""
    return -F.max_pool2d(-masks, 2 * by_px + 1, stride=1, padding=by_px) if by_px else masks


def smooth(images: Images, epsilon: float) -> Images:
    """Smooth skin, noise and texture but not edges.

    Texture is smoothed at two scales: relative to the height of the image, the finer filter has windows of 1/85, the
    coarser one windows of 1/26. The finer filter does not change images of up to 128 x 128 pixels. From 256 pixels, it
    has its full strength; in between, it is blended in.

    Args:
        images: images in [-1, 1].
        epsilon: variance below which texture is removed, for pixels in [-1, 1].
    """
    if torch.compiler.is_exporting() or images.shape[-1] > COARSE_PX:  # an exported network takes images of every size
        side = images.new_ones(images.shape[-1]).sum()  # a tensor, so that it is not a constant in exported networks
        detail = (side / COARSE_PX - 1).clamp(0, 1)
        fine = _guided_filter(images, FINE_PX, FINE_RADIUS, FINE_EPSILON * epsilon, power=2)
        images = images + detail * (fine - images)
    return _guided_filter(images, COARSE_PX, COARSE_RADIUS, epsilon, power=1)


def _guided_filter(images: Images, side_px: int, radius: int, epsilon: float, power: int) -> Images:
    """Return a * pixel + b for each pixel (He and Sun, "Fast Guided Filter", 2015).

    The coefficients a and b are computed at `side_px` x `side_px` pixels, so that the result looks the same at every
    size. a is v / (v + e), where v is the variance in windows of 2 * `radius` + 1 pixels, and e is `epsilon`. Both are
    raised to `power`: with 2, texture whose variance is below `epsilon` is removed more, and edges keep more contrast.
    """
    small = F.interpolate(images, size=(side_px, side_px), mode="bilinear", antialias=True)
    mean = _box_mean(small, radius)
    variance = (_box_mean(small * small, radius) - mean * mean).mean(1, keepdim=True)
    scale = variance**power / (variance**power + epsilon**power)
    offset = mean - scale * mean
    scale, offset = (
        F.interpolate(_box_mean(each, radius), size=images.shape[-2:], mode="bilinear") for each in (scale, offset)
    )
    return scale * images + offset


def _box_mean(values: Tensor, radius: int) -> Tensor:
    """Return the mean of a square window around each pixel; windows at the border are smaller."""
    return F.avg_pool2d(values, 2 * radius + 1, stride=1, padding=radius, count_include_pad=False)
