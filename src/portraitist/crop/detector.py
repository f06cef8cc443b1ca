"""Face detection by MediaPipe's BlazeFace (Bazarevsky et al. 2019; Apache-2.0), run by OpenCV.

Candidates come from two models, full-range and short-range, on the whole picture; if both find nothing, from enlarged
and brightened views of the upper centre, for dark paintings. Each candidate is verified: the short-range model runs
again on a levelled close-up. This rejects most animals and ornaments, and locates eyes and mouth precisely.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from portraitist.core.geometry import box_iou
from portraitist.core.types import HALF_RANGE, Picture, SquarePicture
from portraitist.crop.geometry import LEFT_EYE, MOUTH, NOSE, RIGHT_EYE, Face, Landmarks, eye_mouth_similarity, warp

MIN_IOU = 0.3  # boxes that overlap more are the same face (value of MediaPipe's graph)
MIN_CANDIDATE_SCORE = 0.4
# Enlarged views: their side as a fraction of the picture's shorter side, and the gamma of their brightened copies.
VIEW_SIDE, VIEW_GAMMA = 0.6, 0.6
# Verification: position of the face in the close-up, and the lowest score that counts as a detection there.
VERIFY_EYE_LINE, VERIFY_EYE_TO_MOUTH = 0.44, 0.2
MIN_VERIFY_SCORE = 0.1
# Penalty on the score when landmarks move between detection and verification: per distance from eyes to mouth, and
# the distance from which it is constant, because verification has found something else.
MOVE_PENALTY, MAX_MOVE = 0.1, 2.0
MIN_NOSE_DISTANCE = 0.3  # in sides of a face: closer noses belong to the same face
# BlazeFace often reports an upside-down face as an upright one, but with a score below SURE_SCORE. A wider close-up,
# compared with itself after a half turn, tells them apart. For upside-down faces, and below CONFIDENT_SCORE, the other
# orientations are tried; one must win by a margin or, if the upright picture shows no face, reach a minimum.
SURE_SCORE = 0.85
ORIENTATION_EYE_TO_MOUTH, MIN_ORIENTATION_SCORE = 0.13, 0.02
CONFIDENT_SCORE = 0.77
ROTATION_MARGIN = 0.06
MIN_ROTATED_SCORE = 0.65


@dataclass(frozen=True)
class BlazeFaceModel:
    """File, input size, anchors and output names of a detection model."""

    file: str
    side: int
    anchors: tuple[tuple[int, int], ...]  # (stride, anchors per cell)
    outputs: tuple[str, str]  # boxes and points; scores


FULL_RANGE = BlazeFaceModel(
    "face_full_range.tflite", 192, ((4, 1),), ("reshaped_regressor_face_4", "reshaped_classifier_face_4")
)
SHORT_RANGE = BlazeFaceModel("face_short_range.tflite", 128, ((8, 2), (16, 6)), ("regressors", "classificators"))
DETECTOR_FILES = (FULL_RANGE.file, SHORT_RANGE.file)  # in the folder that stage `weights` writes


PretrainedModels = Path | Mapping[str, bytes]  # the folder that stage `weights` writes, or its files' contents by name


@contextmanager
def pretrained_path(pretrained: PretrainedModels, file: str) -> Iterator[str]:
    """Yield a path from which OpenCV can read a pretrained model.

    On Linux, contents are put into a file in memory instead of on disk. OpenCV also reads
    TensorFlow Lite from buffers, but version 5.0 then ignores the engine.

    Raises:
        FileNotFoundError: the file is missing; stage `weights` writes it.
    """
    if isinstance(pretrained, Path):
        path = pretrained / file
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing; run `dvc repro weights`")
        yield str(path)
    elif hasattr(os, "memfd_create"):
        with os.fdopen(os.memfd_create(file), "wb") as memory:
            memory.write(pretrained[file])
            memory.flush()
            yield f"/proc/self/fd/{memory.fileno()}"
    else:
        with tempfile.NamedTemporaryFile(prefix="portraitist-") as copy:
            copy.write(pretrained[file])
            copy.flush()
            yield copy.name


def open_tflite(pretrained: PretrainedModels, file: str) -> "cv2.dnn.Net":
    """Open a TensorFlow Lite model in OpenCV.

    With OpenCV 5, the classic engine is selected, because the new one returns only one output.

    Raises:
        FileNotFoundError: the file is missing; stage `weights` writes it.
    """
    engine = [cv2.dnn.ENGINE_CLASSIC] if hasattr(cv2.dnn, "ENGINE_CLASSIC") else []
    with pretrained_path(pretrained, file) as path:
        return cv2.dnn.readNetFromTFLite(path, *engine)


class FaceDetector:
    """Face detector for photographs and paintings.

    Args:
        pretrained: the folder that stage `weights` writes, or the contents of `DETECTOR_FILES` by name.
    """

    def __init__(self, pretrained: PretrainedModels) -> None:
        self.nets = {model: open_tflite(pretrained, model.file) for model in (FULL_RANGE, SHORT_RANGE)}
        self.anchors = {model: _anchor_centres(model) for model in self.nets}

    def detect(self, picture: Picture, min_score: float = 0.5) -> list[Face]:
        """Return the faces of an upright picture with one main face, such as an aligned crop, the largest first.

        The short-range model runs only if the full-range model finds nothing. A face's score is the mean of detection
        and verification, less a penalty for landmarks that moved between them.
        """
        candidates = self.run(FULL_RANGE, picture, MIN_CANDIDATE_SCORE)
        candidates = candidates or self.run(SHORT_RANGE, picture, MIN_CANDIDATE_SCORE)
        return self._verified(picture, candidates or self._candidates_in_views(picture), min_score)

    def detect_any(self, picture: Picture, min_score: float = 0.5) -> list[Face]:
        """Return the faces of any size in a picture of any orientation, the largest first.

        For a picture that is upside down or rotated by 90 degrees, boxes and landmarks are in the coordinates of the
        picture as given, so that alignment by the landmarks rotates the face upright.
        """
        faces = self._detect_merged(picture, min_score)
        score_to_beat = faces[0].score + ROTATION_MARGIN if faces else MIN_ROTATED_SCORE
        if faces and faces[0].score < SURE_SCORE and self.is_upside_down(picture, faces[0]):
            faces, score_to_beat = [], min_score
        elif faces and faces[0].score >= CONFIDENT_SCORE:
            return faces
        for quarter_turns in (1, 2, 3):
            rotated = np.ascontiguousarray(np.rot90(picture, quarter_turns))
            found = self._detect_merged(rotated, min_score)
            if found and found[0].score > score_to_beat and not self.is_upside_down(rotated, found[0]):
                faces = [_rotate_back(face, quarter_turns, rotated) for face in found]
                score_to_beat = found[0].score
        return faces

    def run(self, model: BlazeFaceModel, picture: Picture, min_score: float) -> list[Face]:
        """Return the detections of one model, without verification."""
        boxed, scale, left, top = _letterbox(picture, model.side)
        blob = (boxed.astype(np.float32) / HALF_RANGE - 1).transpose(2, 0, 1)[None]
        net = self.nets[model]
        net.setInput(np.ascontiguousarray(blob))
        regression, logits = net.forward(list(model.outputs))
        scores = 1 / (1 + np.exp(-np.clip(logits.reshape(-1), -80, 80)))
        selected = scores > min_score
        if not selected.any():
            return []
        anchors = self.anchors[model][selected]
        values = regression.reshape(-1, 16)[selected] / model.side
        centre, size = values[:, :2] + anchors, values[:, 2:4]
        boxes = np.concatenate([centre - size / 2, centre + size / 2], axis=1)
        points = values[:, 4:].reshape(-1, 6, 2) + anchors[:, None]

        def to_picture(positions: np.ndarray) -> np.ndarray:
            return (positions * model.side - [left, top]) / scale

        return [
            Face(score, tuple(to_picture(box.reshape(2, 2)).ravel().tolist()), to_picture(marks).astype(np.float32))
            for score, box, marks in _weighted_nms(scores[selected], boxes, points)
        ]

    def verify(self, picture: Picture, face: Face) -> Face:
        """Return the face with score and landmarks updated by the short-range model on a levelled close-up.

        If the model finds no face there, the score is halved.
        """
        side = SHORT_RANGE.side
        transform = eye_mouth_similarity(face, side, VERIFY_EYE_LINE, VERIFY_EYE_TO_MOUTH)
        view = warp(picture, transform, side, border=cv2.BORDER_CONSTANT)
        found = max(self.run(SHORT_RANGE, view, MIN_VERIFY_SCORE), key=lambda candidate: candidate.score, default=None)
        if found is None:
            return replace(face, score=face.score / 2)
        inverse = cv2.invertAffineTransform(transform)
        points = (found.points @ inverse[:, :2].T + inverse[:, 2]).astype(np.float32)
        moved_px = np.abs(points - face.points)[[RIGHT_EYE, LEFT_EYE, MOUTH]].max() * np.hypot(*transform[:, 0])
        moved = min(float(moved_px) / (VERIFY_EYE_TO_MOUTH * side), MAX_MOVE)
        return replace(face, score=(face.score + found.score) / 2 - MOVE_PENALTY * moved, points=points)

    def is_upside_down(self, picture: Picture, face: Face) -> bool:
        """Return whether the short-range model gives a higher score to a face's levelled close-up after a half turn."""
        transform = eye_mouth_similarity(face, SHORT_RANGE.side, VERIFY_EYE_LINE, ORIENTATION_EYE_TO_MOUTH)
        view = warp(picture, transform, SHORT_RANGE.side, border=cv2.BORDER_CONSTANT)
        upright, rotated = (
            max((found.score for found in self.run(SHORT_RANGE, variant, MIN_ORIENTATION_SCORE)), default=0.0)
            for variant in (view, np.ascontiguousarray(view[::-1, ::-1]))
        )
        return rotated > upright

    def _detect_merged(self, picture: Picture, min_score: float) -> list[Face]:
        """Return the faces that either model finds in an upright picture.

        The full-range model misses a face that fills the picture, the short-range model small ones.
        """
        candidates = self.run(FULL_RANGE, picture, MIN_CANDIDATE_SCORE)
        boxes = np.array([face.box for face in candidates]).reshape(-1, 4)
        for face in self.run(SHORT_RANGE, picture, MIN_CANDIDATE_SCORE):
            if box_iou(face.box, boxes).max(initial=0) <= MIN_IOU:
                candidates.append(face)
        return self._verified(picture, candidates or self._candidates_in_views(picture), min_score)

    def _verified(self, picture: Picture, candidates: list[Face], min_score: float) -> list[Face]:
        """Return the distinct candidates that reach `min_score` after verification, largest score x size first."""
        verified = [self.verify(picture, face) for face in candidates]
        accepted = [face for face in verified if face.score >= min_score]
        return sorted(_drop_duplicates(accepted), key=lambda face: -face.score * face.side_px)

    def _candidates_in_views(self, picture: Picture) -> list[Face]:
        height, width = picture.shape[:2]
        side = round(min(height, width) * VIEW_SIDE)
        left = (width - side) // 2
        for top in (0, (height - side) // 2):
            view = picture[top : top + side, left : left + side]
            brightened = (255 * (view / 255.0) ** VIEW_GAMMA).astype(np.uint8)
            for variant in (view, brightened):
                faces = self.run(FULL_RANGE, variant, MIN_CANDIDATE_SCORE)
                if faces:
                    return [_translate(face, left, top) for face in faces]
        return []


def _anchor_centres(model: BlazeFaceModel) -> Landmarks:
    """Return the centre of each grid cell as fractions of the side, repeated for each of its anchors."""
    grids = []
    for stride, per_cell in model.anchors:
        count = model.side // stride
        rows, columns = np.mgrid[0:count, 0:count]
        centres = np.stack([(columns + 0.5) / count, (rows + 0.5) / count], axis=-1).reshape(-1, 2)
        grids.append(np.repeat(centres, per_cell, axis=0))
    return np.concatenate(grids).astype(np.float32)


def _letterbox(picture: Picture, side: int) -> tuple[SquarePicture, float, int, int]:
    """Fit the picture into a black square; return also its scale and the left and top margins."""
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    inner = (max(1, round(width * scale)), max(1, round(height * scale)))
    resized = cv2.resize(picture, inner, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    left, top = (side - inner[0]) // 2, (side - inner[1]) // 2
    boxed = np.zeros((side, side, 3), np.uint8)
    boxed[top : top + inner[1], left : left + inner[0]] = resized
    return boxed, scale, left, top


def _weighted_nms(
    scores: np.ndarray, boxes: np.ndarray, points: np.ndarray
) -> list[tuple[float, np.ndarray, np.ndarray]]:
    """Merge overlapping detections by their score-weighted mean: MediaPipe's weighted non-maximum suppression."""
    merged = []
    remaining = np.ones(len(scores), bool)
    for best in np.argsort(-scores, kind="stable"):
        if remaining[best]:
            group = remaining & (box_iou(boxes[best], boxes) > MIN_IOU)
            group[best] = True
            remaining &= ~group
            weights = scores[group] / scores[group].sum()
            box = np.tensordot(weights, boxes[group], 1)
            merged.append((float(scores[best]), box, np.tensordot(weights, points[group], 1)))
    return merged


def _translate(face: Face, left: int, top: int) -> Face:
    box = (face.box[0] + left, face.box[1] + top, face.box[2] + left, face.box[3] + top)
    return Face(face.score, box, face.points + np.array([left, top], np.float32))


def _rotate_back(face: Face, quarter_turns: int, rotated: Picture) -> Face:
    """Map a face from a picture that `np.rot90` rotated by `quarter_turns` to the original one."""
    height, width = rotated.shape[:2]
    corners, points = np.array(face.box, np.float64).reshape(2, 2), face.points
    for _ in range(quarter_turns):
        corners, points = (np.stack([height - 1 - xy[:, 1], xy[:, 0]], axis=1) for xy in (corners, points))
        height, width = width, height
    (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return Face(face.score, (left, top, right, bottom), points.astype(np.float32))


def _drop_duplicates(faces: list[Face]) -> list[Face]:
    """Drop faces whose nose, after verification, is close to that of a face with a higher score."""
    distinct: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        distances = [np.linalg.norm(face.points[NOSE] - other.points[NOSE]) / other.side_px for other in distinct]
        if min(distances, default=1.0) > MIN_NOSE_DISTANCE:
            distinct.append(face)
    return distinct
