"""Locate the skin in a crop and measure colours in CIELAB (D65, from sRGB)."""

import cv2
import numpy as np
from jaxtyping import Bool, Float

from portraitist.core.types import Picture
from portraitist.crop.params import CropParams
from portraitist.learning.tensors import Images, Masks, to_pictures

SkinMask = Bool[np.ndarray, "height width"]
Colours = Float[np.ndarray, "batch 3"]

SKIN_SHARE = 0.5  # share of the face region that counts as skin; the rest may be eyes, glasses or beard
BACKGROUND_BELOW = 0.01  # pixels with lower mask values are background


def to_lab(picture: Picture) -> Float[np.ndarray, "height width 3"]:
    """Convert to CIELAB: L in [0, 100], a and b about [-128, 127]."""
    return cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).astype(np.float64)


def skin_mask(picture: Picture, person: SkinMask, crop_params: CropParams) -> SkinMask:
    """Return the skin of an aligned crop.

    The skin is half of the pixels of an ellipse from the eyebrows to the mouth: those nearest to its median colour.
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
    """Return the skin of each image."""
    persons = (masks[:, 0] > 0.5).cpu().numpy()
    pairs = zip(to_pictures(images), persons, strict=True)
    return [skin_mask(picture, person, crop_params) for picture, person in pairs]


def mean_colours(images: Images, regions: list[SkinMask]) -> Colours:
    """Return the mean CIELAB colour of each image over its region."""
    pairs = zip(to_pictures(images), regions, strict=True)
    return np.stack([to_lab(picture)[region].mean(axis=0) for picture, region in pairs])


def background_colours(images: Images, masks: Masks) -> Colours:
    """Return the mean CIELAB colour of each background; NaN if the image has none."""
    outside = (masks[:, 0] < BACKGROUND_BELOW).cpu().numpy()
    return np.stack(
        [
            to_lab(picture)[region].mean(axis=0) if region.any() else np.full(3, np.nan)
            for picture, region in zip(to_pictures(images), outside, strict=True)
        ]
    )
