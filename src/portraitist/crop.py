"""A face becomes a square: found, turned level, head and shoulders around it, always at the same place and size.

The detector is MediaPipe's BlazeFace (Bazarevsky et al. 2019; Apache-2.0), run by OpenCV: its full-range model, then
its short-range one, then closer looks at the upper centre, brighter ones too, for dark paintings. What was found is
looked at once more, turned level and near: that refuses most beasts and ornaments, and places eyes and mouth exactly.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float32

from portraitist.clean import Cleaned, RefusedError
from portraitist.params import CropParams
from portraitist.pictures import HALF_RANGE, Picture, Plane, SquarePicture, SquarePlane, decode, encode, over
from portraitist.verdict import Verdict

Points = Float32[np.ndarray, "count 2"]  # x and y, in pixels
Transform = Float32[np.ndarray, "2 3"]  # a similarity of x and y

RIGHT_EYE, LEFT_EYE, NOSE, MOUTH = range(4)  # of BlazeFace's six points; the person's right is left in the picture
OVERLAP = 0.3  # boxes that share more than this are one face (MediaPipe's graph)
FIRST = 0.4  # score of what is worth a second look
AT_ALL = 0.1  # score at the second look of what is seen at all
CLOSER = 0.6  # side of the closer look, as a share of the picture's shorter side
BRIGHTER = 0.6  # gamma of its brighter copy
SECOND_EYE_LINE, SECOND_EYE_TO_MOUTH = 0.44, 0.2  # where the second look expects the face
ASTRAY = 0.1  # of the score, for points that moved by the length from the eyes to the mouth
FAR_ASTRAY = 2.0  # such lengths at which the second look has found something else
SAME = 0.3  # of a face's side: noses nearer than this are one face's
FADED = 0.06  # of the square's side: how far beyond its border a picture is all blurred
FADED_SIDE = 64  # pixels in which it is blurred, for speed
GREY = (128, 128, 128)


@dataclass(frozen=True)
class Face:
    """A face as the detector sees it: score in [0, 1], box (left, top, right, bottom) and six points in pixels."""

    score: float
    box: tuple[float, float, float, float]
    points: Points

    @property
    def side_px(self) -> float:
        """The longer side of the box."""
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1])


@dataclass(frozen=True)
class Square:
    """A face's square: its alpha if the picture had one, and which of its pixels lie in the picture (255)."""

    picture: Picture
    alpha: Plane | None
    inside: Plane

    def members(self) -> dict[str, bytes]:
        """As a shard's members."""
        alpha = {} if self.alpha is None else {"alpha.png": encode(self.alpha)}
        return {"png": encode(self.picture), "inside.png": encode(self.inside), **alpha}

    @classmethod
    def of(cls, members: dict[str, bytes]) -> "Square":
        """From a shard's members."""
        alpha = decode(members["alpha.png"]) if "alpha.png" in members else None
        return cls(decode(members["png"]), alpha, decode(members["inside.png"]))


@dataclass(frozen=True)
class Crop:
    """A square, the face it was made around, and the 2 x 3 similarity from the picture's pixels to the square's."""

    square: Square
    face: Face
    transform: Transform

    def along(self, plane: Plane) -> SquarePlane:
        """Another plane of the same picture, an exact mask, cut like it."""
        return warped(plane, self.transform, self.square.picture.shape[0], border=cv2.BORDER_CONSTANT)


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

FILES = (FULL_RANGE.file, SHORT_RANGE.file)  # of the folder that stage `weights` leaves


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

    def find(self, picture: Picture, min_score: float = 0.5) -> list[Face]:
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
        there = similarity(face, side, SECOND_EYE_LINE, SECOND_EYE_TO_MOUTH)
        view = warped(picture, there, side, border=cv2.BORDER_CONSTANT)
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
        back = lambda spots: (spots * model.side - [left, top]) / scale  # noqa: E731
        return [
            Face(best, tuple(back(box.reshape(2, 2)).ravel().tolist()), back(spots).astype(np.float32))
            for best, box, spots in _merged(score[sure], corners, points)
        ]


def _anchors(model: _Model) -> Points:
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
            group = free & (_overlap(boxes[best], boxes) > OVERLAP)
            group[best] = True
            free &= ~group
            share = scores[group] / scores[group].sum()
            box = np.tensordot(share, boxes[group], 1)
            found.append((float(scores[best]), box, np.tensordot(share, points[group], 1)))
    return found


def _overlap(box: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of one box with each of the others."""
    inner = np.clip(np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2]), 0, None).prod(axis=1)
    area = lambda b: (b[..., 2] - b[..., 0]) * (b[..., 3] - b[..., 1])  # noqa: E731
    return inner / np.maximum(area(box) + area(boxes) - inner, 1e-9)


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


def similarity(face: Face, size_px: int, eye_line: float, eye_to_mouth: float) -> Transform:
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


def alignment(face: Face, picture: Picture, params: CropParams) -> Transform:
    """The similarity from a picture to the square around a face: head and shoulders.

    Where the picture ends on all sides before its square does, the frame closes in until they meet, or
    `closest_eye_to_mouth` is reached: nothing of the picture is lost, and less of the square is unknown.
    """
    there = similarity(face, params.size_px, params.eye_line, params.eye_to_mouth)
    height, width = picture.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32) @ there[:, :2].T + there[:, 2]
    anchor = np.array([0.5, params.eye_line]) * params.size_px
    room = np.concatenate([anchor, params.size_px - anchor])
    reach = np.concatenate([anchor - corners.min(axis=0), corners.max(axis=0) - anchor])
    nearer = float((room / np.maximum(reach, 1e-6)).min())
    nearer = min(max(nearer, 1.0), max(params.closest_eye_to_mouth / params.eye_to_mouth, 1.0))
    return similarity(face, params.size_px, params.eye_line, params.eye_to_mouth * nearer)


def crop(cleaned: Cleaned, face: Face, params: CropParams) -> Crop:
    """The square around one face. What lies beyond the picture is its border, blurred, and is marked in `inside`.

    Raises:
        RefusedError: The face is too small for the size wanted, or too much of its square lies beyond the picture.
    """
    transform = alignment(face, cleaned.picture, params)
    scale = float(np.hypot(transform[0, 0], transform[1, 0]))
    if scale > params.max_upscale:
        raise RefusedError(
            Verdict.FACE_TOO_SMALL,
            f"the face is {face.side_px:.0f} px wide; enlarged {scale:.1f}-fold, {params.max_upscale:g} is allowed",
        )
    full = np.full(cleaned.picture.shape[:2], 255, np.uint8)
    inside = warped(full, transform, params.size_px, border=cv2.BORDER_CONSTANT)
    share = float(inside.mean()) / 255
    if share < params.min_inside:
        raise RefusedError(
            Verdict.FACE_CUT_OFF,
            f"only {share:.0%} of the head and shoulders lie in the picture, {params.min_inside:.0%} needed",
        )
    picture = _fading(warped(cleaned.picture, transform, params.size_px, border=cv2.BORDER_REPLICATE), inside)
    alpha = None
    if cleaned.alpha is not None:
        alpha = warped(cleaned.alpha, transform, params.size_px, border=cv2.BORDER_CONSTANT)
    return Crop(Square(picture, alpha, inside), face, transform)


def _fading(picture: SquarePicture, inside: SquarePlane) -> SquarePicture:
    """The picture, ever more blurred beyond its border: a hint of colour, not streaks that look like hair or a wall."""
    if inside.min() == 255:
        return picture
    side = picture.shape[0]
    small = cv2.resize(picture, (FADED_SIDE, FADED_SIDE), interpolation=cv2.INTER_AREA)
    blurred = cv2.resize(cv2.GaussianBlur(small, (0, 0), FADED * FADED_SIDE), (side, side))
    beyond = cv2.distanceTransform((inside < 255).astype(np.uint8), cv2.DIST_L2, 3) / (FADED * side)
    return over(blurred, (255 * np.minimum(beyond, 1)).astype(np.uint8), picture)


def warped(picture: Picture | Plane, transform: np.ndarray, size_px: int, border: int) -> SquarePicture | SquarePlane:
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


def crop_faces(cleaned: Cleaned, detector: FaceDetector, params: CropParams) -> list[Crop | RefusedError]:
    """The faces that are wanted of a picture, the largest first, each as a square or as the reason why not.

    A picture without a face is one refusal.
    """
    picture = cleaned.picture
    if cleaned.alpha is not None:  # the detector should see what a person would: the figure on something plain
        picture = over(picture, cleaned.alpha, GREY)
    faces = detector.find(picture, params.min_score)
    if not faces:
        height, width = picture.shape[:2]
        return [RefusedError(Verdict.NO_FACE, f"no face found in the {width} x {height} picture")]
    large = [face for face in faces if face.side_px >= params.large * faces[0].side_px]
    return [_or_refused(cleaned, face, params) for face in (large if params.faces == "each" else faces[:1])]


def _or_refused(cleaned: Cleaned, face: Face, params: CropParams) -> Crop | RefusedError:
    try:
        return crop(cleaned, face, params)
    except RefusedError as error:
        return error


def drawn(cleaned: Cleaned, crop: Crop) -> Picture:
    """The picture with what was found in it: the square in red, the face's box in green, its points in yellow."""
    seen = cleaned.picture.copy() if cleaned.alpha is None else over(cleaned.picture, cleaned.alpha, GREY)
    thick = max(1, max(seen.shape) // 100)
    back, side = cv2.invertAffineTransform(crop.transform), crop.square.picture.shape[0]
    corners = np.array([[0, 0], [side, 0], [side, side], [0, side]]) @ back[:, :2].T + back[:, 2]
    left, top, right, bottom = (round(value) for value in crop.face.box)
    cv2.polylines(seen, [corners.round().astype(np.int32)], True, (220, 40, 40), thick)
    cv2.rectangle(seen, (left, top), (right, bottom), (60, 220, 60), thick)
    for x, y in crop.face.points[: MOUTH + 1]:
        cv2.circle(seen, (round(float(x)), round(float(y))), 2 * thick, (250, 230, 60), -1)
    return seen
