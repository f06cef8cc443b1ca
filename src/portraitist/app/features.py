"""Keep the eyes and the mouth of a selfie in its painting.

The generator gets a smoothed selfie, so that skin looks painted. This also smooths eyes and mouth, which the generator
then blurs or darkens, although people look at them first. Here, their details are taken from the selfie, with the
contrast of the painting. The colours are the painting's.
"""

import cv2
import numpy as np
from jaxtyping import Float, Float32

from portraitist.core.types import SquareMaskArray, SquarePicture
from portraitist.crop.align import Crop
from portraitist.crop.geometry import LEFT_EYE, MOUTH, RIGHT_EYE

# Landmark, half axes of the ellipse around it in which the weight is at least half the largest, and largest weight. All
# lengths are multiples of the distance between the eyes.
FEATURES = ((RIGHT_EYE, 0.42, 0.19, 1.0), (LEFT_EYE, 0.42, 0.19, 1.0), (MOUTH, 0.55, 0.3, 0.8))
FADE = 1.5  # square of the distance from the landmark, in half axes, at which the weight becomes 0
DETAIL = 0.147  # details are what two box blurs with this radius remove
MARGIN = 0.85  # distance from the landmarks to the border of the area that is computed
STRENGTH = 0.8  # fraction of the painting's details that is replaced, where the weight is 1
LIGHTENING = 0.5  # fraction of the difference by which features that are darker than in the selfie are lightened
CONTRAST, MAX_AMPLIFICATION = 1.1, 2.0  # contrast of the details, as a multiple of the painting's, and of the selfie's

Plane = Float32[np.ndarray, "height width"]


def with_features(painting: SquarePicture, selfie: SquarePicture, mask: SquareMaskArray, crop: Crop) -> SquarePicture:
    """Replace the details of eyes and mouth in a painting by the selfie's.

    Args:
        painting: the painted crop.
        selfie: the crop before it was painted.
        mask: mask of the person; the background is not changed.
        crop: face and transform of the crop.
    """
    landmarks = crop.face.points @ crop.transform[:, :2].T + crop.transform[:, 2]
    across = landmarks[LEFT_EYE] - landmarks[RIGHT_EYE]
    distance = max(float(np.hypot(*across)), 1.0)
    points = landmarks[[landmark for landmark, *_ in FEATURES]]
    (left, top), (right, bottom) = (
        np.rint(ends).clip(0, len(painting)).astype(int).tolist()
        for ends in (points.min(axis=0) - MARGIN * distance, points.max(axis=0) + MARGIN * distance)
    )
    if right - left < 2 or bottom - top < 2:
        return painting
    area = np.s_[top:bottom, left:right]
    weight = _weight(landmarks - (left, top), across / distance, distance, (bottom - top, right - left))
    weight *= mask[area] / np.float32(255)
    lab, selfie_lab = (
        cv2.cvtColor(picture[area] / np.float32(255), cv2.COLOR_RGB2LAB) for picture in (painting, selfie)
    )
    lightness, selfie_lightness = lab[..., 0].copy(), selfie_lab[..., 0].copy()
    window = 2 * max(1, round(DETAIL * distance)) + 1
    coarse, selfie_coarse = (
        cv2.blur(cv2.blur(plane, (window, window)), (window, window)) for plane in (lightness, selfie_lightness)
    )
    detail, selfie_detail = lightness - coarse, selfie_lightness - selfie_coarse
    amplification = CONTRAST * _contrast(detail, weight) / max(_contrast(selfie_detail, weight), 1e-3)
    replaced = np.clip(amplification, 1, MAX_AMPLIFICATION) * selfie_detail - detail
    lightened = cv2.max(selfie_coarse - coarse, 0.0)
    lab[..., 0] = (lightness + weight * (STRENGTH * replaced + LIGHTENING * lightened)).clip(0, 100)
    painted = np.rint(255 * cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)).clip(0, 255).astype(np.uint8)
    result = painting.copy()
    result[area] = np.where(weight[..., None] > 0, painted, painting[area])
    return result


def _weight(
    landmarks: Float[np.ndarray, "6 2"], axis: Float[np.ndarray, "2"], distance: float, shape: tuple[int, int]
) -> Plane:
    """Return a weight for each pixel of an area: the largest at eyes and mouth, falling smoothly to 0 around them.

    Args:
        landmarks: in pixels of the area.
        axis: unit vector from the right eye to the left eye.
        distance: distance between the eyes.
        shape: height and width of the area.
    """
    rows, columns = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    weight = np.zeros(shape, np.float32)
    for landmark, half_width, half_height, largest in FEATURES:
        right, down = columns - np.float32(landmarks[landmark, 0]), rows - np.float32(landmarks[landmark, 1])
        along = (right * np.float32(axis[0]) + down * np.float32(axis[1])) / np.float32(half_width * distance)
        across = (down * np.float32(axis[0]) - right * np.float32(axis[1])) / np.float32(half_height * distance)
        ramp = (FADE - along**2 - across**2).clip(0, 1)
        weight = np.maximum(weight, largest * ramp * ramp * (3 - 2 * ramp))
    return weight


def _contrast(detail: Plane, weight: Plane) -> float:
    """Return the weighted root mean square of details."""
    return float(np.sqrt((weight * detail**2).sum() / max(float(weight.sum()), 1e-6)))
