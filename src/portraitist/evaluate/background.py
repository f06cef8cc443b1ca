"""Effect of the background on the avatar: colour bleed into the skin, changes outside the person, sensitivity."""

import numpy as np

from portraitist.augment.backgrounds import TEST_BACKGROUNDS
from portraitist.core.types import HALF_RANGE
from portraitist.evaluate.data import EvaluationData, map_batches
from portraitist.evaluate.registry import (
    Indices,
    Measurement,
    Values,
    mean_over_faces,
    mean_relative_to_portraits,
    metric,
)
from portraitist.evaluate.skin import background_colours, mean_colours, skin_masks
from portraitist.learning.tensors import Images, Masks


@metric(
    name="background_bleed",
    description="Shift of the stylized skin colour toward the portraits' mean background, as a share of its distance "
    "from the portraits' skin: 0 is the portraits' skin colour, 1 the background's.",
    optimum=0.0,
)
def background_bleed(data: EvaluationData) -> Measurement:
    """Return the projection of (stylized skin - portrait skin) on (portrait background - portrait skin) in CIELAB.

    The skin is located in the selfie. Negative values are shifts away from the background's colour.
    """

    def portrait_skin(images: Images, masks: Masks) -> np.ndarray:
        return mean_colours(images, skin_masks(images, masks, data.crop_params))

    def stylized_skin(selfies: Images, masks: Masks, stylized: Images) -> np.ndarray:
        return mean_colours(stylized, skin_masks(selfies, masks, data.crop_params))

    skins = map_batches(portrait_skin, data.portraits, data.portrait_masks)
    backgrounds = map_batches(background_colours, data.portraits, data.portrait_masks)
    stylized_skins = map_batches(stylized_skin, data.selfies, data.masks, data.stylized)

    def skin_to_background(portraits: Indices) -> np.ndarray:
        return np.nanmean(backgrounds[portraits], axis=0) - skins[portraits].mean(axis=0)

    def bleed(portraits: Indices) -> Values:
        direction = skin_to_background(portraits)
        return (stylized_skins - skins[portraits].mean(axis=0)) @ direction / (direction @ direction)

    length = np.linalg.norm(skin_to_background(np.arange(len(skins))))
    return mean_relative_to_portraits(bleed, len(skins), data, background_to_skin=float(f"{length:.4g}"))


@metric(
    name="background_repainted",
    description="Mean absolute change of the selfie outside the person's mask.",
    optimum=0.0,
    unit="of 255",
)
def background_repainted(data: EvaluationData) -> Measurement:
    """Return the mean change of the background; pixels at a soft edge are weighted by their share of background."""

    def mean_change(selfies: Images, masks: Masks, stylized: Images) -> np.ndarray:
        outside = 1 - masks
        change = ((stylized.clamp(-1, 1) - selfies).abs() * HALF_RANGE).mean(dim=1, keepdim=True)
        return ((change * outside).sum((1, 2, 3)) / outside.sum((1, 2, 3)).clamp(min=1)).double().numpy()

    return mean_over_faces(map_batches(mean_change, data.selfies, data.masks, data.stylized), data)


@metric(
    name="background_sensitivity",
    description="Variation of the stylized skin colour (CIE 1976) when the same selfie is placed on eight backgrounds.",
    optimum=0.0,
    unit="ΔE",
)
def background_sensitivity(data: EvaluationData) -> Measurement:
    """Return the mean distance of a face's eight skin colours from their mean; the skin is located in the selfie."""

    def variation(selfies: Images, masks: Masks, *on_backgrounds: Images) -> np.ndarray:
        regions = skin_masks(selfies, masks, data.crop_params)
        colours = np.stack([mean_colours(stylized, regions) for stylized in on_backgrounds])  # background, face, Lab
        return np.linalg.norm(colours - colours.mean(axis=0), axis=-1).mean(axis=0)

    values = map_batches(variation, data.selfies, data.masks, *data.on_backgrounds)
    return mean_over_faces(values, data, backgrounds=list(TEST_BACKGROUNDS))
