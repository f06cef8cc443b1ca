"""Keep the eyes and the mouth of a selfie in its painting.

The generator of `masked_stylizer` gets a smoothed selfie, so that skin looks painted. This also smooths eyes and mouth,
which the generator then blurs or darkens, although people look at them first. Here, their details are taken from the
selfie, and amplified to the painting's contrast where theirs is lower. Hue and chroma only change where the new colour
would leave sRGB.
"""

import cv2
import numpy as np
from jaxtyping import Float, Float32

from portraitist.app.framing import face_in_crop
from portraitist.core.types import SquareMaskArray, SquarePicture
from portraitist.crop.align import Crop
from portraitist.crop.geometry import LEFT_EYE, MOUTH, RIGHT_EYE

# Landmark, half axes of the ellipse around it in which the weight is at least half the largest, and largest weight. All
# lengths are multiples of the distance from the eyes to the mouth. The eyes are level in a crop, as are the ellipses.
FEATURES = ((RIGHT_EYE, 0.4, 0.18, 1.0), (LEFT_EYE, 0.4, 0.18, 1.0), (MOUTH, 0.52, 0.29, 0.8))
FADE = 1.5  # square of the distance from the landmark, in half axes, at which the weight becomes 0
DETAIL = 0.14  # details are what two box blurs with this radius remove
MARGIN = 0.8  # distance from the landmarks to the border of the area that is computed
STRENGTH = 0.8  # fraction of the painting's details that is replaced, where the weight is 1
LIGHTENING = 0.5  # fraction by which features that are darkened more than the rest of the face are lightened
CONTRAST = 1.1  # lowest contrast of the new details, as a multiple of the old ones'
MAX_AMPLIFICATION = 2.0  # of the selfie's details

Plane = Float32[np.ndarray, "height width"]


def with_features(painting: SquarePicture, selfie: SquarePicture, mask: SquareMaskArray, crop: Crop) -> SquarePicture:
    """Replace the details of eyes and mouth in a painting by the selfie's.

    Args:
        painting: the painted crop.
        selfie: the crop before it was painted.
        mask: mask of the person; the background is not changed.
        crop: face and transform of the crop.
    """
    *_, length = face_in_crop(crop)
    landmarks = crop.face.points @ crop.transform[:, :2].T + crop.transform[:, 2]
    points = landmarks[[landmark for landmark, *_ in FEATURES]]
    (left, top), (right, bottom) = (
        np.rint(ends).clip(0, len(painting)).astype(int).tolist()
        for ends in (points.min(axis=0) - MARGIN * length, points.max(axis=0) + MARGIN * length)
    )
    if right - left < 2 or bottom - top < 2:
        return painting
    area = np.s_[top:bottom, left:right]
    person = mask[area] / np.float32(255)
    weight = person * _weight(landmarks - (left, top), length, (bottom - top, right - left))
    lab, selfie_lab = (
        cv2.cvtColor(picture[area] / np.float32(255), cv2.COLOR_RGB2LAB) for picture in (painting, selfie)
    )
    lightness, selfie_lightness = lab[..., 0].copy(), selfie_lab[..., 0].copy()
    window = 2 * max(1, round(DETAIL * length)) + 1
    coarse, selfie_coarse = (
        cv2.blur(cv2.blur(plane, (window, window)), (window, window)) for plane in (lightness, selfie_lightness)
    )
    detail, selfie_detail = lightness - coarse, selfie_lightness - selfie_coarse
    amplification = CONTRAST * _contrast(detail, weight) / max(_contrast(selfie_detail, weight), 1e-3)
    replaced = np.clip(amplification, 1, MAX_AMPLIFICATION) * selfie_detail - detail
    darkening = selfie_coarse - coarse
    of_face = max(_mean(darkening, person), 0.0)
    lightened = cv2.max(darkening - of_face, 0.0)
    lab[..., 0] = (lightness + weight * (STRENGTH * replaced + LIGHTENING * lightened)).clip(0, 100)
    painted = np.rint(255 * cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)).clip(0, 255).astype(np.uint8)
    result = painting.copy()
    result[area] = np.where(weight[..., None] > 0, painted, painting[area])
    return result


def _weight(landmarks: Float[np.ndarray, "6 2"], length: float, shape: tuple[int, int]) -> Plane:
    """Return a weight for each pixel of an area: the largest at eyes and mouth, falling smoothly to 0 around them.

    Args:
        landmarks: in pixels of the area.
        length: distance from the eyes to the mouth.
        shape: height and width of the area.
    """
    weight = np.zeros(shape, np.float32)
    for landmark, half_width, half_height, largest in FEATURES:
        x, y = landmarks[landmark]
        across = (np.arange(shape[1]) - x) / (half_width * length)
        down = (np.arange(shape[0]) - y) / (half_height * length)
        ramp = np.clip(FADE - across**2 - down[:, None] ** 2, 0, 1).astype(np.float32)
        weight = np.maximum(weight, np.float32(largest) * ramp * ramp * (3 - 2 * ramp))
    return weight


def _contrast(detail: Plane, weight: Plane) -> float:
    """Return the weighted root mean square of details."""
    return float(np.sqrt(_mean(detail**2, weight)))


def _mean(values: Plane, weight: Plane) -> float:
    """Return the weighted mean; 0 if all weights are 0."""
    return float((weight * values).sum() / max(float(weight.sum()), 1e-6))
