"""Faces and the similarity transforms that align them."""

from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float32

from portraitist.core.types import MaskArray, Picture, SquareMaskArray, SquarePicture

Landmarks = Float32[np.ndarray, "count 2"]  # x and y, in pixels
Transform = Float32[np.ndarray, "2 3"]  # a similarity of x and y
RIGHT_EYE, LEFT_EYE, NOSE, MOUTH = range(4)  # of BlazeFace's six points; the person's right is left in the picture


@dataclass(frozen=True)
class Face:
    """A face as the detector sees it: score in [0, 1], box (left, top, right, bottom) and six points in pixels."""

    score: float
    box: tuple[float, float, float, float]
    points: Landmarks

    @property
    def side_px(self) -> float:
        """The longer side of the box."""
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1])


def eye_mouth_similarity(face: Face, size_px: int, eye_line: float, eye_to_mouth: float) -> Transform:
    """The transform that sets the eyes level in the middle of the eye line, and the mouth at its distance below."""
    right, left, mouth = face.points[RIGHT_EYE], face.points[LEFT_EYE], face.points[MOUTH]
    eyes, across = (right + left) / 2, left - right
    apart = float(np.linalg.norm(across))
    axis = across / max(apart, 1e-6)
    down = max(float(np.linalg.norm(mouth - eyes)), apart * 1.05)  # a head that nods or turns: the longer one holds
    scale = eye_to_mouth * size_px / max(down, 1e-6)
    turn = scale * np.array([[axis[0], axis[1]], [-axis[1], axis[0]]])
    shift = np.array([0.5, eye_line]) * size_px - turn @ eyes
    return np.concatenate([turn, shift[:, None]], axis=1).astype(np.float32)


def warp(
    picture: Picture | MaskArray, transform: np.ndarray, size_px: int, border: int
) -> SquarePicture | SquareMaskArray:
    """The picture under a similarity, antialiased: reduced by area first, so that fine lines survive."""
    scale = float(np.hypot(transform[0, 0], transform[1, 0]))
    if scale < 0.5:
        height, width = picture.shape[:2]
        factor = 2 * scale
        small = (max(1, round(width * factor)), max(1, round(height * factor)))
        picture = cv2.resize(picture, small, interpolation=cv2.INTER_AREA)
        turn = transform[:, :2] / [small[0] / width, small[1] / height]
        transform = np.concatenate([turn, transform[:, 2:]], axis=1)
    smooth = cv2.INTER_AREA if scale < 0.7 else cv2.INTER_CUBIC
    return cv2.warpAffine(picture, transform.astype(np.float32), (size_px, size_px), flags=smooth, borderMode=border)
