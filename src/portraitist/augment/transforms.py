"""Random transforms of training pictures and their masks: flip, rotation, scale, shift and colour."""

import albumentations as A
import cv2

from portraitist.augment.params import AugmentParams
from portraitist.core.types import MaskArray, Picture


class RandomTransform:
    """Function object that flips, rotates, scales, shifts and recolours a picture, and moves its mask in the same way.

    Scaling and shifting move people to the borders of the square, so that networks learn to paint them there as well.
    """

    def __init__(self, params: AugmentParams) -> None:
        self.transform = A.Compose(
            [
                A.HorizontalFlip(p=params.flip_probability),
                A.Affine(
                    rotate=(-params.max_rotation_degrees, params.max_rotation_degrees),
                    scale=(1 - params.max_zoom, 1 + params.max_zoom),
                    translate_percent=(-params.max_shift, params.max_shift),
                    keep_ratio=True,
                    border_mode=cv2.BORDER_REPLICATE,
                    mask_interpolation=cv2.INTER_LINEAR,  # so that the mask's edge stays soft
                    p=1,
                ),
                A.ColorJitter(
                    brightness=(1 - params.brightness, 1 + params.brightness),
                    contrast=(1 - params.brightness, 1 + params.brightness),
                    saturation=(1, 1),
                    hue=(-params.hue, params.hue),
                    p=1,
                ),
            ]
        )

    def __call__(self, picture: Picture, mask: MaskArray, seed: int) -> tuple[Picture, MaskArray]:
        """Return the transformed picture and mask; equal seeds select equal transforms."""
        self.transform.set_random_seed(seed)
        result = self.transform(image=picture, mask=mask)
        return result["image"], result["mask"]
