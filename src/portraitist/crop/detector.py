"""Face detection by MediaPipe's BlazeFace (Bazarevsky et al. 2019; Apache-2.0), run by OpenCV.

Two models search for faces in the whole picture: full-range, for small faces, and short-range, for large ones. If both
find nothing, enlarged and brightened cutouts of the upper centre are searched, which helps with dark paintings.

Each face found is then verified: the short-range model runs again on a close-up of the face with level eyes. This
rejects most animals and ornaments, and locates eyes and mouth precisely.
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

# `detect_any` reduces pictures by an integer factor, to a longer side of at least this number of pixels. Pictures of
# stage `clean` are not reduced, unless clean.max_side_px is raised to twice this number.
MIN_REDUCED_PX = 1008
MIN_IOU = 0.3  # boxes with a larger intersection over union are the same face (value of MediaPipe's graph)
MIN_CANDIDATE_SCORE = 0.4  # of a detection before it is verified
# Enlarged cutouts: their side as a fraction of the picture's shorter side, and the gamma of their brightened copies.
VIEW_SIDE, VIEW_GAMMA = 0.6, 0.6
# Verification: height of the eyes and distance from eyes to mouth in the close-up, as fractions of its side, and the
# lowest score that counts as a detection there.
VERIFY_EYE_LINE, VERIFY_EYE_TO_MOUTH = 0.44, 0.2
MIN_VERIFY_SCORE = 0.1
# If verification finds the landmarks at another place than detection, the score is lowered. The penalty is MOVE_PENALTY
# times the distance between the two places, in multiples of the distance from the eyes to the mouth. This number is at
# most MAX_MOVE.
MOVE_PENALTY, MAX_MOVE = 0.1, 2.0
# If the distance of two noses, divided by the side of a face, is at most this, they belong to the same face.
MIN_NOSE_DISTANCE = 0.3
# BlazeFace often reports an upside-down face as an upright one, but with a score below SURE_SCORE. To find out, a wider
# close-up and its copy rotated by 180 degrees are compared. If the face is upside down or its score is below
# CONFIDENT_SCORE, the picture is also searched in other orientations. A face found there must have a score that is
# higher by ROTATION_MARGIN. If no face was found in the picture as given, the score must exceed MIN_ROTATED_SCORE.
SURE_SCORE = 0.85
ORIENTATION_EYE_TO_MOUTH, MIN_ORIENTATION_SCORE = 0.13, 0.02
CONFIDENT_SCORE = 0.77
ROTATION_MARGIN = 0.06
MIN_ROTATED_SCORE = 0.65


@dataclass(frozen=True)
class BlazeFaceModel:
    """File, input size, anchors and output names of a detection model."""

    file: str  # in the folder that stage `weights` writes
    side: int  # of the square input, in pixels
    anchors: tuple[tuple[int, int], ...]  # (stride in pixels, anchors per grid cell) of each grid
    outputs: tuple[str, str]  # names of the outputs: boxes with landmarks, and scores


FULL_RANGE = BlazeFaceModel(
    "face_full_range.tflite", 192, ((4, 1),), ("reshaped_regressor_face_4", "reshaped_classifier_face_4")
)
SHORT_RANGE = BlazeFaceModel("face_short_range.tflite", 128, ((8, 2), (16, 6)), ("regressors", "classificators"))
DETECTOR_FILES = (FULL_RANGE.file, SHORT_RANGE.file)  # in the folder that stage `weights` writes


# The folder that stage `weights` writes, or the contents of its files, by file name.
PretrainedModels = Path | Mapping[str, bytes]


@contextmanager
def pretrained_path(pretrained: PretrainedModels, file: str) -> Iterator[str]:
    """Yield a path from which OpenCV can read a pretrained model.

    If `pretrained` is a dictionary of file contents, the model is written to a temporary file, which on Linux is in
    memory. The reason is that OpenCV 5.0 ignores the choice of an engine (see `open_tflite`) for a model in bytes.

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

    OpenCV 5 has several inference engines. The classic engine is selected, because the new engine returns only one of
    several outputs.

    Raises:
        FileNotFoundError: the file is missing; stage `weights` writes it.
    """
    engine = [cv2.dnn.ENGINE_CLASSIC] if hasattr(cv2.dnn, "ENGINE_CLASSIC") else []
    with pretrained_path(pretrained, file) as path:
        return cv2.dnn.readNetFromTFLite(path, *engine)


class FaceDetector:
    """Face detector for photographs and paintings.

    Args:
        pretrained: the folder that stage `weights` writes, or the contents of `DETECTOR_FILES` by file name.
    """

    def __init__(self, pretrained: PretrainedModels) -> None:
        self.nets = {model: open_tflite(pretrained, model.file) for model in (FULL_RANGE, SHORT_RANGE)}
        self.anchors = {model: _anchor_centres(model) for model in self.nets}

    def detect(self, picture: Picture, min_score: float = 0.5) -> list[Face]:
        """Return the faces of an upright picture with one main face, such as a crop.

        The face with the largest product of score and size comes first. The full-range model searches the picture. The
        short-range model searches it only if the full-range model finds nothing; `detect_any` always uses both models.

        Each face found is then verified: the short-range model runs again, and computes a second score and second
        landmarks. The score of the face is the mean of both scores, minus a penalty for the distance between the first
        and the second landmarks. If the verification finds no face, the first score is halved.

        Args:
            picture: an upright picture.
            min_score: lowest accepted score, 0 to 1.
        """
        candidates = self.run(FULL_RANGE, picture, MIN_CANDIDATE_SCORE)
        candidates = candidates or self.run(SHORT_RANGE, picture, MIN_CANDIDATE_SCORE)
        return self._verified(picture, candidates or self._candidates_in_views(picture), min_score)

    def detect_any(self, picture: Picture, min_score: float = 0.5) -> list[Face]:
        """Return the faces of any size in a picture of any orientation.

        The face with the largest product of score and size comes first. The picture can be upside down or rotated by 90
        degrees. Boxes and landmarks are in the coordinates of `picture`. In an upside-down face, the eyes are therefore
        below the mouth, and alignment by these landmarks makes the face upright.

        Args:
            picture: the picture. It is reduced before the search, if its longer side has at least twice
                `MIN_REDUCED_PX` pixels.
            min_score: lowest accepted score, 0 to 1.
        """
        height, width = picture.shape[:2]
        factor = max(height, width) // MIN_REDUCED_PX  # an integer, because cv2.resize is several times faster then
        if factor < 2:
            return self._detect_any(picture, min_score)
        reduced = (max(1, width // factor), max(1, height // factor))
        faces = self._detect_any(cv2.resize(picture, reduced, interpolation=cv2.INTER_AREA), min_score)
        return [_scale(face, width / reduced[0], height / reduced[1]) for face in faces]

    def _detect_any(self, picture: Picture, min_score: float) -> list[Face]:
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
        """Return the faces that one model detects, without verification, with scores above `min_score`."""
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
        """Verify a face by the short-range model on a close-up with level eyes.

        Returns:
            The face with updated score and landmarks. If the model finds no face in the close-up, the score is halved.
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
        """Return whether a face is upside down.

        This is the case if the short-range model gives a higher score to the face's close-up after a rotation by 180
        degrees.
        """
        transform = eye_mouth_similarity(face, SHORT_RANGE.side, VERIFY_EYE_LINE, ORIENTATION_EYE_TO_MOUTH)
        view = warp(picture, transform, SHORT_RANGE.side, border=cv2.BORDER_CONSTANT)
        upright, rotated = (
            max((found.score for found in self.run(SHORT_RANGE, variant, MIN_ORIENTATION_SCORE)), default=0.0)
            for variant in (view, np.ascontiguousarray(view[::-1, ::-1]))
        )
        return rotated > upright

    def _detect_merged(self, picture: Picture, min_score: float) -> list[Face]:
        """Return the faces that either model finds in an upright picture.

        The full-range model does not find a face that fills the picture; the short-range model does not find small
        faces.
        """
        candidates = self.run(FULL_RANGE, picture, MIN_CANDIDATE_SCORE)
        boxes = np.array([face.box for face in candidates]).reshape(-1, 4)
        for face in self.run(SHORT_RANGE, picture, MIN_CANDIDATE_SCORE):
            if box_iou(face.box, boxes).max(initial=0) <= MIN_IOU:
                candidates.append(face)
        return self._verified(picture, candidates or self._candidates_in_views(picture), min_score)

    def _verified(self, picture: Picture, candidates: list[Face], min_score: float) -> list[Face]:
        """Verify faces, and return those that reach `min_score`, without duplicates, sorted by score times size."""
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
    """Return x and y of each anchor's centre (the centre of its grid cell), as fractions of the input's side."""
    grids = []
    for stride, per_cell in model.anchors:
        count = model.side // stride
        rows, columns = np.mgrid[0:count, 0:count]
        centres = np.stack([(columns + 0.5) / count, (rows + 0.5) / count], axis=-1).reshape(-1, 2)
        grids.append(np.repeat(centres, per_cell, axis=0))
    return np.concatenate(grids).astype(np.float32)


def _letterbox(picture: Picture, side: int) -> tuple[SquarePicture, float, int, int]:
    """Fit a picture into a black square; return the square, the scale, and the left and top margins in pixels."""
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
    """Merge overlapping detections into one, as MediaPipe's weighted non-maximum suppression does.

    The box and the landmarks of the result are means over the overlapping detections, weighted by score. The score of
    the result is the highest of their scores.

    Returns:
        Score, box and landmarks of each merged detection, the highest score first.
    """
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


def _scale(face: Face, across: float, down: float) -> Face:
    box = (face.box[0] * across, face.box[1] * down, face.box[2] * across, face.box[3] * down)
    return Face(face.score, box, face.points * np.array([across, down], np.float32))


def _rotate_back(face: Face, quarter_turns: int, rotated: Picture) -> Face:
    """Map a face from the coordinates of a rotated picture to those of the original picture.

    Args:
        face: the face in the rotated picture.
        quarter_turns: the rotation in units of 90 degrees, as the argument `k` of `np.rot90`.
        rotated: the rotated picture.
    """
    height, width = rotated.shape[:2]
    corners, points = np.array(face.box, np.float64).reshape(2, 2), face.points
    for _ in range(quarter_turns):
        corners, points = (np.stack([height - 1 - xy[:, 1], xy[:, 0]], axis=1) for xy in (corners, points))
        height, width = width, height
    (left, top), (right, bottom) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
    return Face(face.score, (left, top, right, bottom), points.astype(np.float32))


def _drop_duplicates(faces: list[Face]) -> list[Face]:
    """Remove each face whose nose is close to the nose of a face with a higher score, and return the other faces."""
    distinct: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.score):
        distances = [np.linalg.norm(face.points[NOSE] - other.points[NOSE]) / other.side_px for other in distinct]
        if min(distances, default=1.0) > MIN_NOSE_DISTANCE:
            distinct.append(face)
    return distinct
