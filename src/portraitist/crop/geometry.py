"""Face landmarks, and the similarity transforms that align them."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32

from portraitist.core.types import MaskArray, Picture, SquareMaskArray, SquarePicture

Landmarks = Float32[np.ndarray, "count 2"]  # x and y, in pixels
Transform = Float32[np.ndarray, "2 3"]  # a similarity of x and y
# Indexes of BlazeFace's six points; left and right are the person's own, so the right eye is on the picture's left.
RIGHT_EYE, LEFT_EYE, NOSE, MOUTH = range(4)
# The distance from eyes to mouth is at least this multiple of the distance between the eyes. On a nodding head the
# mouth moves towards the eyes, and on a turned head the eyes move together: the longer of the two sets the scale.
MIN_FACE_RATIO = 1.05


@dataclass(frozen=True)
class Face:
    """A detected face: score in [0, 1], box (left, top, right, bottom) and six landmarks, both in pixels."""

    score: float
    box: tuple[float, float, float, float]
    points: Landmarks

    @property
    def side_px(self) -> float:
        """Length of the longer side of the box."""
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1])


def eye_to_mouth_px(face: Face) -> float:
    """Return the distance from the eyes to the mouth, or its estimate from the distance between the eyes if larger."""
    right_eye, left_eye, mouth = face.points[RIGHT_EYE], face.points[LEFT_EYE], face.points[MOUTH]
    eye_distance = float(np.linalg.norm(left_eye - right_eye))
    return max(float(np.linalg.norm(mouth - (right_eye + left_eye) / 2)), eye_distance * MIN_FACE_RATIO)


def eye_mouth_similarity(face: Face, size_px: int, eye_line: float, eye_to_mouth: float) -> Transform:
    """Return the similarity from picture to square that aligns a face.

    The eyes become level, with their midpoint horizontally centred at height `eye_line`; the mouth is `eye_to_mouth`
    below them. Both are fractions of `size_px`.
    """
    right_eye, left_eye = face.points[RIGHT_EYE], face.points[LEFT_EYE]
    eye_centre, eye_vector = (right_eye + left_eye) / 2, left_eye - right_eye
    axis = eye_vector / max(float(np.linalg.norm(eye_vector)), 1e-6)
    scale = eye_to_mouth * size_px / max(eye_to_mouth_px(face), 1e-6)
    rotation = scale * np.array([[axis[0], axis[1]], [-axis[1], axis[0]]])
    translation = np.array([0.5, eye_line]) * size_px - rotation @ eye_centre
    return np.concatenate([rotation, translation[:, None]], axis=1).astype(np.float32)


def warp(
    picture: Picture | MaskArray, transform: np.ndarray, size_px: int, border: int
) -> SquarePicture | SquareMaskArray:
    """Apply a similarity to a picture or mask and return a square of `size_px`.

    `border` is one of OpenCV's border modes. When the picture shrinks to less than half, it is reduced by area first:
    this prevents aliasing of fine lines.
    """
    scale = float(np.hypot(transform[0, 0], transform[1, 0]))
    if scale < 0.5:
        height, width = picture.shape[:2]
        factor = 2 * scale
        reduced = (max(1, round(width * factor)), max(1, round(height * factor)))
        picture = cv2.resize(picture, reduced, interpolation=cv2.INTER_AREA)
        linear = transform[:, :2] / [reduced[0] / width, reduced[1] / height]
        transform = np.concatenate([linear, transform[:, 2:]], axis=1)
    interpolation = cv2.INTER_AREA if scale < 0.7 else cv2.INTER_CUBIC
    return cv2.warpAffine(
        picture, transform.astype(np.float32), (size_px, size_px), flags=interpolation, borderMode=border
    )
