"""Where a crop shows skin, and which colour it has, in CIELAB (D65, from sRGB)."""

import cv2
import numpy as np
from jaxtyping import Bool, Float

from portraitist.core.types import Picture
from portraitist.crop.params import CropParams
from portraitist.learning.tensors import Images, Masks, to_pictures

SkinMask = Bool[np.ndarray, "height width"]

NEAREST = 0.5  # of the face region: the half whose colour is nearest its median is skin; eyes, glasses, beard are not


def lab(picture: Picture) -> Float[np.ndarray, "height width 3"]:
    """CIELAB: L in [0, 100], a and b about [-128, 127]."""
    return cv2.cvtColor(picture.astype(np.float32) / 255, cv2.COLOR_RGB2LAB).astype(np.float64)


def skin_of(picture: Picture, person: SkinMask, frame: CropParams) -> SkinMask:
    """The skin of an aligned crop: in an ellipse from the brows to the mouth, the half nearest its median colour."""
    side = picture.shape[0]
    rows, columns = (np.mgrid[0:side, 0:side] + 0.5) / side
    span = frame.eye_to_mouth
    across = (columns - 0.5) / (0.75 * span)
    down = (rows - frame.eye_line - 0.35 * span) / (0.75 * span)
    region = (across**2 + down**2 <= 1) & person
    if not region.any():
        region = across**2 + down**2 <= 1
    colours = lab(picture)
    away = np.linalg.norm(colours - np.median(colours[region], axis=0), axis=-1)
    return region & (away <= np.quantile(away[region], NEAREST))


def skins(images: Images, masks: Masks, frame: CropParams) -> list[SkinMask]:
    """Each image's skin."""
    people = (masks[:, 0] > 0.5).cpu().numpy()
    return [skin_of(picture, person, frame) for picture, person in zip(to_pictures(images), people, strict=True)]


def colours(images: Images, where: list[SkinMask]) -> Float[np.ndarray, "batch 3"]:
    """Each image's mean colour in CIELAB over its pixels where."""
    return np.stack(
        [lab(picture)[place].mean(axis=0) for picture, place in zip(to_pictures(images), where, strict=True)]
    )


def background_colours(images: Images, masks: Masks) -> Float[np.ndarray, "batch 3"]:
    """Each image's mean colour in CIELAB over all that is surely not person; NaN where nothing is."""
    outside = (masks[:, 0] < 0.01).cpu().numpy()
    return np.stack(
        [
            lab(picture)[place].mean(axis=0) if place.any() else np.full(3, np.nan)
            for picture, place in zip(to_pictures(images), outside, strict=True)
        ]
    )
