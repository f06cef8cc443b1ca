"""Agreement of the segmenter's masks with reference masks, as intersection over union."""

import numpy as np
from jaxtyping import Float

from portraitist.core.geometry import mask_iou
from portraitist.evaluate.data import EvaluationData, map_batches
from portraitist.evaluate.registry import Measurement, Metric, Values, mean_over_faces, metric
from portraitist.learning.tensors import Images, Masks
from portraitist.stats.bootstrap import confidence_interval


def mask_ious(masks: Masks, references: Masks) -> Float[np.ndarray, " batch"]:
    """Return the intersection over union of each mask with its reference, in [0, 1]; both are thresholded at 0.5."""
    pairs = zip(_binary(masks), _binary(references), strict=True)
    return np.array([mask_iou(mask, reference) for mask, reference in pairs])


def _binary(masks: Masks) -> np.ndarray:
    return ((masks[:, 0] > 0.5).byte() * 255).cpu().numpy()


@metric(
    name="mask_iou_stylized",
    description="Intersection over union of two masks: the segmenter's mask of the avatar, and the selfie's mask.",
    optimum=1.0,
)
def mask_iou_stylized(data: EvaluationData) -> Measurement:
    """Return the intersection over union of two masks, as a mean over faces.

    One mask is predicted by the segmenter for the avatar. The other is the mask of the selfie.
    """

    def ious(stylized: Images, masks: Masks) -> np.ndarray:
        return mask_ious(data.segmenter(stylized), masks)

    return mean_over_faces(map_batches(ious, data.stylized, data.masks), data)


def mask_iou_held_out(data: EvaluationData) -> Measurement:
    """Return the mean intersection over union of the segmenter's masks and the reference masks.

    The mean is computed over all unchanged test selfies and all test portraits.

    For the interval, selfies and portraits are resampled separately.
    """

    def ious(images: Images, masks: Masks) -> np.ndarray:
        return mask_ious(data.segmenter(images), masks)

    selfies = map_batches(ious, data.selfies, data.masks)
    portraits = map_batches(ious, data.portraits, data.portrait_masks)
    both = np.concatenate([selfies, portraits])
    resampled = (
        selfies[data.resamples(len(selfies))],
        portraits[data.resamples(len(portraits), "portraits")],
    )
    draws: Values = np.concatenate(resampled, axis=1).mean(axis=1)
    details = {"selfies": float(f"{selfies.mean():.4g}"), "portraits": float(f"{portraits.mean():.4g}")}
    value = float(both.mean())
    return Measurement(value, *confidence_interval(value, draws, len(both)), len(both), details, draws=draws)


# Not in the registry: the segmenter is the same for all methods, so this metric is measured once.
HELD_OUT = Metric(
    "mask_iou_held_out",
    "Intersection over union of the segmenter's masks and the reference masks, on test selfies and test portraits.",
    optimum=1.0,
    unit="",
    network=None,
    measure=mask_iou_held_out,
)
