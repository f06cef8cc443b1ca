"""Face landmarks, and similarity transforms (rotation, scale and shift) that align them."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32

from portraitist.core.types import MaskArray, Picture, SquareMaskArray, SquarePicture

Landmarks = Float32[np.ndarray, "count 2"]  # x and y of each point, in pixels
Transform = Float32[np.ndarray, "2 3"]  # a similarity transform, as cv2.warpAffine takes it
# Indexes of the first four of BlazeFace's six points. Left and right are those of the person, so the right eye of an
# upright face is on the left of the picture.
RIGHT_EYE, LEFT_EYE, NOSE, MOUTH = range(4)
# The size of a face is the distance from eyes to mouth, but at least this multiple of the distance between the eyes. If
# the head is lowered, the distance from eyes to mouth appears shorter. If the head is turned, the distance between the
# eyes appears shorter.
MIN_FACE_RATIO = 1.05


@dataclass(frozen=True)
class Face:
    """A detected face."""

    score: float  # 0 to 1
    box: tuple[float, float, float, float]  # left, top, right, bottom, in pixels
    points: Landmarks  # six points, in pixels

    @property
    def side_px(self) -> float:
        """Length of the longer side of the box, in pixels."""
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1])


def eye_to_mouth_px(face: Face) -> float:
    """Return the size of a face: the distance from the eyes to the mouth in pixels.

    If `MIN_FACE_RATIO` times the distance between the eyes is larger, that value is returned.
    """
    right_eye, left_eye, mouth = face.points[RIGHT_EYE], face.points[LEFT_EYE], face.points[MOUTH]
    eye_distance = float(np.linalg.norm(left_eye - right_eye))
    return max(float(np.linalg.norm(mouth - (right_eye + left_eye) / 2)), eye_distance * MIN_FACE_RATIO)


def eye_mouth_similarity(face: Face, size_px: int, eye_line: float, eye_to_mouth: float) -> Transform:
    """Return the similarity transform (2 x 3) that aligns a face.

    The transform maps pixels of the picture to pixels of a square. In the square, the eyes are level and horizontally
    centred.

    Args:
        face: the face in the picture.
        size_px: side of the square.
        eye_line: distance of the eyes from the top of the square, as a fraction of `size_px`.
        eye_to_mouth: distance from the eyes to the mouth, as a fraction of `size_px`.
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
    """Apply a similarity transform to a picture or mask, and return a square.

    If the transform shrinks the picture to less than half its width and height, the picture is first reduced by
    averaging areas, because fine lines would be aliased otherwise.

    Args:
        picture: the picture or mask.
        transform: from pixels of the picture to pixels of the square.
        size_px: side of the square.
        border: OpenCV's border mode, for the area beyond the picture's border.
    """
    size, transform = _reduce(transform, picture.shape)
    if size != picture.shape[1::-1]:
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return _warp_reduced(picture, transform, size_px, border)


def covered_area(shape: tuple[int, ...], transform: np.ndarray, size_px: int) -> SquareMaskArray:
    """Return which part of the square a picture of this shape covers: 255 inside, 0 outside.

    The result is that of `warp` for a picture with the value 255 everywhere. It is faster, because no large picture is
    reduced.
    """
    (width, height), transform = _reduce(transform, shape)
    return _warp_reduced(np.full((height, width), 255, np.uint8), transform, size_px, cv2.BORDER_CONSTANT)


def _warp_reduced(
    picture: Picture | MaskArray, transform: np.ndarray, size_px: int, border: int
) -> SquarePicture | SquareMaskArray:
    interpolation = cv2.INTER_AREA if _scale(transform) < 0.7 else cv2.INTER_CUBIC
    return cv2.warpAffine(
        picture, transform.astype(np.float32), (size_px, size_px), flags=interpolation, borderMode=border
    )


def _scale(transform: np.ndarray) -> float:
    return float(np.hypot(transform[0, 0], transform[1, 0]))


def _reduce(transform: np.ndarray, shape: tuple[int, ...]) -> tuple[tuple[int, int], np.ndarray]:
    """Return the width and height to which `warp` reduces a picture of this shape, and the transform from there."""
    (height, width), factor = shape[:2], 2 * _scale(transform)
    if factor >= 1:
        return (width, height), transform
    reduced = max(1, round(width * factor)), max(1, round(height * factor))
    linear = transform[:, :2] / [reduced[0] / width, reduced[1] / height]
    return reduced, np.concatenate([linear, transform[:, 2:]], axis=1)
