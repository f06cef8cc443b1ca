"""A face becomes a square: found, turned level, head and shoulders around it, always at the same place and size.

The detector is MediaPipe's BlazeFace (Bazarevsky et al. 2019; Apache-2.0), run by OpenCV: its full-range model, then
its short-range one, then closer looks at the upper centre, brighter ones too, for dark paintings. What was found is
looked at once more, turned level and near: that refuses most beasts and ornaments, and places eyes and mouth exactly."""

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from portraitist.core.geometry import box_iou
from portraitist.core.types import HALF_RANGE, Picture, SquarePicture
from portraitist.crop.geometry import (
    LEFT_EYE,
    MOUTH,
    NOSE,
    RIGHT_EYE,
    Face,
    Landmarks,
    eye_mouth_similarity,
    warp,
)

OVERLAP = 0.3  # boxes that share more than this are one face (MediaPipe's graph)
FIRST = 0.4  # score of what is worth a second look
AT_ALL = 0.1  # score at the second look of what is seen at all
CLOSER = 0.6  # side of the closer look, as a share of the picture's shorter side
BRIGHTER = 0.6  # gamma of its brighter copy
SECOND_EYE_LINE, SECOND_EYE_TO_MOUTH = 0.44, 0.2  # where the second look expects the face
ASTRAY = 0.1  # of the score, for points that moved by the length from the eyes to the mouth
FAR_ASTRAY = 2.0  # such lengths at which the second look has found something else
SAME = 0.3  # of a face's side: noses nearer than this are one face's


@dataclass(frozen=True)
class _Model:
    file: str
    side: int
    anchors: tuple[tuple[int, int], ...]  # (stride, anchors a cell)
    outputs: tuple[str, str]  # boxes and points; scores


FULL_RANGE = _Model(
    "face_full_range.tflite", 192, ((4, 1),), ("reshaped_regressor_face_4", "reshaped_classifier_face_4")
)
SHORT_RANGE = _Model("face_short_range.tflite", 128, ((8, 2), (16, 6)), ("regressors", "classificators"))
DETECTOR_FILES = (FULL_RANGE.file, SHORT_RANGE.file)  # of the folder that stage `weights` leaves


def open_tflite(path: Path) -> "cv2.dnn.Net":
    """A tflite model in OpenCV; its classic engine, for the new one of OpenCV 5 gives only one output.

    Raises:
        FileNotFoundError: There is no such file; stage `weights` brings it.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: `dvc repro weights` brings it")
    engine = [cv2.dnn.ENGINE_CLASSIC] if hasattr(cv2.dnn, "ENGINE_CLASSIC") else []
    return cv2.dnn.readNetFromTFLite(str(path), *engine)


class FaceDetector:
    """Finds faces in photographs and paintings; `pretrained` is the folder that stage `weights` leaves."""

    def __init__(self, pretrained: Path) -> None:
        self.models = [(model, open_tflite(pretrained / model.file)) for model in (FULL_RANGE, SHORT_RANGE)]
        self.anchors = {model.file: _anchors(model) for model, _ in self.models}

    def detect(self, picture: Picture, min_score: float = 0.5) -> list[Face]:
        """The faces in a picture, the largest first; none is an empty list.

        A face's score is the mean of two looks, less what its points moved from one to the other.
        """
        faces = self._look(picture, 0, FIRST) or self._look(picture, 1, FIRST) or self._closer(picture)
        seen = [self._again(picture, face) for face in faces]
        sure = [face for face in seen if face.score >= min_score]
        return sorted(_apart(sure), key=lambda face: -face.score * face.side_px)

    def _closer(self, picture: Picture) -> list[Face]:
        height, width = picture.shape[:2]
        side = round(min(height, width) * CLOSER)
        left = (width - side) // 2
        for top in (0, (height - side) // 2):
            view = picture[top : top + side, left : left + side]
            brighter = (255 * (view / 255.0) ** BRIGHTER).astype(np.uint8)
            for look in (view, brighter):
                faces = self._look(look, 0, FIRST)
                if faces:
                    return [_moved(face, left, top) for face in faces]
        return []

    def _again(self, picture: Picture, face: Face) -> Face:
        """The face as the short-range model sees it, level and near; one that it does not see loses half its score."""
        side = SHORT_RANGE.side
        there = eye_mouth_similarity(face, side, SECOND_EYE_LINE, SECOND_EYE_TO_MOUTH)
        view = warp(picture, there, side, border=cv2.BORDER_CONSTANT)
        found = max(self._look(view, 1, AT_ALL), key=lambda one: one.score, default=None)
        if found is None:
            return replace(face, score=face.score / 2)
        back = cv2.invertAffineTransform(there)
        points = (found.points @ back[:, :2].T + back[:, 2]).astype(np.float32)
        moved = np.abs(points - face.points)[[RIGHT_EYE, LEFT_EYE, MOUTH]].max() * np.hypot(*there[:, 0])
        astray = min(float(moved) / (SECOND_EYE_TO_MOUTH * side), FAR_ASTRAY)
        return replace(face, score=(face.score + found.score) / 2 - ASTRAY * astray, points=points)

    def _look(self, picture: Picture, which: int, min_score: float) -> list[Face]:
        model, net = self.models[which]
        boxed, scale, left, top = _letterboxed(picture, model.side)
        blob = (boxed.astype(np.float32) / HALF_RANGE - 1).transpose(2, 0, 1)[None]
        net.setInput(np.ascontiguousarray(blob))
        regressed, scores = net.forward(list(model.outputs))
        score = 1 / (1 + np.exp(-np.clip(scores.reshape(-1), -80, 80)))
        sure = score > min_score
        if not sure.any():
            return []
        anchors = self.anchors[model.file][sure]
        values = regressed.reshape(-1, 16)[sure] / model.side
        centre, size = values[:, :2] + anchors, values[:, 2:4]
        corners = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
        points = values[:, 4:].reshape(-1, 6, 2) + anchors[:, None]
        back = lambda spots: (spots * model.side - [left, top]) / scale
        return [
            Face(best, tuple(back(box.reshape(2, 2)).ravel().tolist()), back(spots).astype(np.float32))
            for best, box, spots in _merged(score[sure], corners, points)
        ]


def _anchors(model: _Model) -> Landmarks:
    """The middle of each cell, as shares of the side, as often as the cell has anchors."""
    grids = []
    for stride, per_cell in model.anchors:
        count = model.side // stride
        rows, columns = np.mgrid[0:count, 0:count]
        centres = np.stack([(columns + 0.5) / count, (rows + 0.5) / count], axis=-1).reshape(-1, 2)
        grids.append(np.repeat(centres, per_cell, axis=0))
    return np.concatenate(grids).astype(np.float32)


def _letterboxed(picture: Picture, side: int) -> tuple[SquarePicture, float, int, int]:
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(picture, inner, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    left, top = (side - inner[0]) // 2, (side - inner[1]) // 2
    boxed = np.zeros((side, side, 3), np.uint8)
    boxed[top : top + inner[1], left : left + inner[0]] = small
    return boxed, scale, left, top


def _merged(scores: np.ndarray, boxes: np.ndarray, points: np.ndarray) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """Overlapping finds as one, averaged by score: MediaPipe's weighted non-maximum suppression."""
    found = []
    free = np.ones(len(scores), bool)
    for best in np.argsort(-scores, kind="stable"):
        if free[best]:
            group = free & (box_iou(boxes[best], boxes) > OVERLAP)
            group[best] = True
            free &= ~group
            share = scores[group] / scores[group].sum()
            box = np.tensordot(share, boxes[group], 1)
            found.append((float(scores[best]), box, np.tensordot(share, points[group], 1)))
    return found


def _moved(face: Face, left: int, top: int) -> Face:
    box = (face.box[0] + left, face.box[1] + top, face.box[2] + left, face.box[3] + top)
    return Face(face.score, box, face.points + np.array([left, top], np.float32))


def _apart(faces: list[Face]) -> list[Face]:
    """The faces without those that the second look took for another one."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        away = [np.linalg.norm(face.points[NOSE] - other.points[NOSE]) / other.side_px for other in kept]
        if min(away, default=1.0) > SAME:
            kept.append(face)
    return kept
