"""Metrics of backgrounds: how they affect the avatars' skin colour, and how they differ between selfie and avatar."""

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
from portraitist.stats.bootstrap import TooFewSamplesError


@metric(
    name="background_bleed",
    description="Position of the stylized skin colour between the mean skin colour of the portraits (0) and the mean "
    "colour of their backgrounds (1).",
    optimum=0.0,
)
def background_bleed(data: EvaluationData) -> Measurement:
    """Return the mean position of the avatars' skin colours on a line in CIELAB.

    The line is computed from the test portraits, which people painted. It runs from the mean colour of the skin in
    these portraits (position 0) to the mean colour of the backgrounds of these portraits (position 1). The mean skin
    colour of each avatar is projected onto the line. A negative position lies beyond the portraits' skin colour, on the
    side away from the background colour. The skin is located in the unchanged selfie, and
    the avatar's skin colour is measured at the same pixels.
    """

    def portrait_skin(images: Images, masks: Masks) -> np.ndarray:
        return mean_colours(images, skin_masks(images, masks, data.crop_params))

    def stylized_skin(selfies: Images, masks: Masks, stylized: Images) -> np.ndarray:
        return mean_colours(stylized, skin_masks(selfies, masks, data.crop_params))

    skins = map_batches(portrait_skin, data.portraits, data.portrait_masks)
    backgrounds = map_batches(background_colours, data.portraits, data.portrait_masks)
    if np.isnan(backgrounds).all():
        raise TooFewSamplesError("no test portrait shows any background; add portraits with a background")
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
    description="Mean absolute change of the selfie's pixels outside the person's mask.",
    optimum=0.0,
    unit="on a scale of 0 to 255",
)
def background_repainted(data: EvaluationData) -> Measurement:
    """Return the mean absolute difference of background pixels between selfie and avatar, from 0 to 255.

    A pixel has the weight 1 - mask, so pixels at the soft edge of the mask have a lower weight. The result is a mean
    over faces.
    """

    def mean_change(selfies: Images, masks: Masks, stylized: Images) -> np.ndarray:
        outside = 1 - masks
        change = ((stylized.clamp(-1, 1) - selfies).abs() * HALF_RANGE).mean(dim=1, keepdim=True)
        return ((change * outside).sum((1, 2, 3)) / outside.sum((1, 2, 3)).clamp(min=1)).double().numpy()

    return mean_over_faces(map_batches(mean_change, data.selfies, data.masks, data.stylized), data)


@metric(
    name="background_sensitivity",
    description="Variation of the stylized skin colour when the same person is placed on eight backgrounds.",
    optimum=0.0,
    unit="ΔE",
)
def background_sensitivity(data: EvaluationData) -> Measurement:
    """Return how much the skin colour of avatars depends on the background, as CIE 1976 colour difference.

    Each selfie is stylized on eight test backgrounds, so it has eight avatars with one mean skin colour each. The
    variation of a selfie is the mean distance of these eight colours from their mean. The result is the mean variation
    over selfies. The skin is located in the unchanged selfie, and the skin colours of the avatars are measured at the
    same pixels.
    """

    def variation(selfies: Images, masks: Masks, *on_backgrounds: Images) -> np.ndarray:
        regions = skin_masks(selfies, masks, data.crop_params)
        colours = np.stack([mean_colours(stylized, regions) for stylized in on_backgrounds])  # background, face, Lab
        return np.linalg.norm(colours - colours.mean(axis=0), axis=-1).mean(axis=0)

    values = map_batches(variation, data.selfies, data.masks, *data.on_backgrounds)
    return mean_over_faces(values, data, backgrounds=list(TEST_BACKGROUNDS))
