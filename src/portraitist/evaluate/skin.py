"""Locate the skin in a face crop, and measure colours in CIELAB (D65, from sRGB)."""

import cv2
import numpy as np
from jaxtyping import Bool, Float

from portraitist.core.types import Picture
from portraitist.crop.params import CropParams
from portraitist.learning.tensors import Images, Masks, to_pictures

SkinMask = Bool[np.ndarray, "height width"]
Colours = Float[np.ndarray, "batch 3"]  # CIELAB

SKIN_SHARE = 0.5  # share of the face's pixels that count as skin; the others may be eyes, glasses or beard
BACKGROUND_BELOW = 0.01  # pixels with a lower value of the person's mask are background


def to_lab(picture: Picture) -> Float[np.ndarray, "height width 3"]:
    """Convert an RGB array (0 to 255) to CIELAB: L from 0 to 100, a and b from about -128 to 127."""
    return cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).astype(np.float64)


def skin_mask(picture: Picture, person: SkinMask, crop_params: CropParams) -> SkinMask:
    """Return which pixels of a square face crop are skin.

    The pixels in an ellipse from the eyebrows to the mouth are compared with their median colour. Half of these pixels
    are skin: those with the smallest difference from the median colour.

    Args:
        picture: the crop.
        person: which pixels belong to the person.
        crop_params: position of eyes and mouth in the crop.
    """
    side = picture.shape[0]
    rows, columns = (np.mgrid[0:side, 0:side] + 0.5) / side
    span = crop_params.eye_to_mouth
    x = (columns - 0.5) / (0.75 * span)
    y = (rows - crop_params.eye_line - 0.35 * span) / (0.75 * span)
    region = (x**2 + y**2 <= 1) & person
    if not region.any():
        region = x**2 + y**2 <= 1
    lab = to_lab(picture)
    distance = np.linalg.norm(lab - np.median(lab[region], axis=0), axis=-1)
    return region & (distance <= np.quantile(distance[region], SKIN_SHARE))


def skin_masks(images: Images, masks: Masks, crop_params: CropParams) -> list[SkinMask]:
    """Return which pixels are skin in each face crop; `images` are in [-1, 1], `masks` mark the persons."""
    persons = (masks[:, 0] > 0.5).cpu().numpy()
    pairs = zip(to_pictures(images), persons, strict=True)
    return [skin_mask(picture, person, crop_params) for picture, person in pairs]


def mean_colours(images: Images, regions: list[SkinMask]) -> Colours:
    """Return the mean CIELAB colour of each image, over the pixels that the image's region marks."""
    pairs = zip(to_pictures(images), regions, strict=True)
    return np.stack([to_lab(picture)[region].mean(axis=0) for picture, region in pairs])


def background_colours(images: Images, masks: Masks) -> Colours:
    """Return the mean CIELAB colour of each image's background; NaN if the person fills the image."""
    outside = (masks[:, 0] < BACKGROUND_BELOW).cpu().numpy()
    return np.stack(
        [
            to_lab(picture)[region].mean(axis=0) if region.any() else np.full(3, np.nan)
            for picture, region in zip(to_pictures(images), outside, strict=True)
        ]
    )
