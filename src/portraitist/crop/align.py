"""Cut a level square around a face."""

from dataclasses import dataclass

import cv2
import numpy as np

from portraitist.clean.decode import CleanPicture, RejectedError
from portraitist.core.blend import alpha_composite
from portraitist.core.image_io import decode_png, encode_png
from portraitist.core.outcome import Status
from portraitist.core.types import MaskArray, Picture, SquareMaskArray, SquarePicture
from portraitist.crop.detector import FaceDetector
from portraitist.crop.geometry import MOUTH, Face, Transform, eye_mouth_similarity, warp
from portraitist.crop.params import CropParams

FADED = 0.06  # of the square's side: how far beyond its border a picture is all blurred
FADED_SIDE = 64  # pixels in which it is blurred, for speed
GREY = (128, 128, 128)


@dataclass(frozen=True)
class CropImage:
    """A face's square: its alpha if the picture had one, and which of its pixels lie in the picture (255)."""

    picture: Picture
    alpha: MaskArray | None
    inside: MaskArray

    def members(self) -> dict[str, bytes]:
        """As a shard's members."""
        alpha = {} if self.alpha is None else {"alpha.png": encode_png(self.alpha)}
        return {"png": encode_png(self.picture), "inside.png": encode_png(self.inside), **alpha}

    @classmethod
    def from_members(cls, members: dict[str, bytes]) -> "CropImage":
        """From a shard's members."""
        alpha = decode_png(members["alpha.png"]) if "alpha.png" in members else None
        return cls(decode_png(members["png"]), alpha, decode_png(members["inside.png"]))


@dataclass(frozen=True)
class Crop:
    """A square, the face it was made around, and the 2 x 3 similarity from the picture's pixels to the square's."""

    square: CropImage
    face: Face
    transform: Transform

    def warp(self, plane: MaskArray) -> SquareMaskArray:
        """Another plane of the same picture, an exact mask, cut like it."""
        return warp(plane, self.transform, self.square.picture.shape[0], border=cv2.BORDER_CONSTANT)


def alignment(face: Face, picture: Picture, params: CropParams) -> Transform:
    """The similarity from a picture to the square around a face: head and shoulders.

    Where the picture ends on all sides before its square does, the frame closes in until they meet, or
    `closest_eye_to_mouth` is reached: nothing of the picture is lost, and less of the square is unknown.
    """
    there = eye_mouth_similarity(face, params.size_px, params.eye_line, params.eye_to_mouth)
    height, width = picture.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32) @ there[:, :2].T + there[:, 2]
    anchor = np.array([0.5, params.eye_line]) * params.size_px
    room = np.concatenate([anchor, params.size_px - anchor])
    reach = np.concatenate([anchor - corners.min(axis=0), corners.max(axis=0) - anchor])
    nearer = float((room / np.maximum(reach, 1e-6)).min())
    nearer = min(max(nearer, 1.0), max(params.closest_eye_to_mouth / params.eye_to_mouth, 1.0))
    return eye_mouth_similarity(face, params.size_px, params.eye_line, params.eye_to_mouth * nearer)


def crop_face(cleaned: CleanPicture, face: Face, params: CropParams) -> Crop:
    """The square around one face. What lies beyond the picture is its border, blurred, and is marked in `inside`.

    Raises:
        RejectedError: The face is too small for the size wanted, or too much of its square lies beyond the picture.
    """
    transform = alignment(face, cleaned.picture, params)
    scale = float(np.hypot(transform[0, 0], transform[1, 0]))
    if scale > params.max_upscale:
        raise RejectedError(
            Status.FACE_TOO_SMALL,
            f"the face is {face.side_px:.0f} px wide; enlarged {scale:.1f}-fold, {params.max_upscale:g} is allowed",
        )
    full = np.full(cleaned.picture.shape[:2], 255, np.uint8)
    inside = warp(full, transform, params.size_px, border=cv2.BORDER_CONSTANT)
    share = float(inside.mean()) / 255
    if share < params.min_inside:
        raise RejectedError(
            Status.FACE_CUT_OFF,
            f"only {share:.0%} of the head and shoulders lie in the picture, {params.min_inside:.0%} needed",
        )
    picture = _fade_border(warp(cleaned.picture, transform, params.size_px, border=cv2.BORDER_REPLICATE), inside)
    alpha = None
    if cleaned.alpha is not None:
        alpha = warp(cleaned.alpha, transform, params.size_px, border=cv2.BORDER_CONSTANT)
    return Crop(CropImage(picture, alpha, inside), face, transform)


def _fade_border(picture: SquarePicture, inside: SquareMaskArray) -> SquarePicture:
    """The picture, ever more blurred beyond its border: a hint of colour, not streaks that look like hair or a wall."""
    if inside.min() == 255:
        return picture
    side = picture.shape[0]
    small = cv2.resize(picture, (FADED_SIDE, FADED_SIDE), interpolation=cv2.INTER_AREA)
    blurred = cv2.resize(cv2.GaussianBlur(small, (0, 0), FADED * FADED_SIDE), (side, side))
    beyond = cv2.distanceTransform((inside < 255).astype(np.uint8), cv2.DIST_L2, 3) / (FADED * side)
    return alpha_composite(blurred, (255 * np.minimum(beyond, 1)).astype(np.uint8), picture)


def crop_faces(cleaned: CleanPicture, detector: FaceDetector, params: CropParams) -> list[Crop | RejectedError]:
    """The faces that are wanted of a picture, the largest first, each as a square or as the reason why not.

    A picture without a face is one refusal.
    """
    picture = cleaned.picture
    if cleaned.alpha is not None:  # the detector should see what a person would: the figure on something plain
        picture = alpha_composite(picture, cleaned.alpha, GREY)
    faces = detector.detect(picture, params.min_score)
    if not faces:
        height, width = picture.shape[:2]
        return [RejectedError(Status.NO_FACE, f"no face found in the {width} x {height} picture")]
    large = [face for face in faces if face.side_px >= params.large * faces[0].side_px]
    return [_crop_or_reject(cleaned, face, params) for face in (large if params.faces == "each" else faces[:1])]


def _crop_or_reject(cleaned: CleanPicture, face: Face, params: CropParams) -> Crop | RejectedError:
    try:
        return crop_face(cleaned, face, params)
    except RejectedError as error:
        return error


def draw_detection(cleaned: CleanPicture, crop: Crop) -> Picture:
    """The picture with what was found in it: the square in red, the face's box in green, its points in yellow."""
    seen = cleaned.picture.copy() if cleaned.alpha is None else alpha_composite(cleaned.picture, cleaned.alpha, GREY)
    thick = max(1, max(seen.shape) // 100)
    back, side = cv2.invertAffineTransform(crop.transform), crop.square.picture.shape[0]
    corners = np.array([[0, 0], [side, 0], [side, side], [0, side]]) @ back[:, :2].T + back[:, 2]
    left, top, right, bottom = (round(value) for value in crop.face.box)
    cv2.polylines(seen, [corners.round().astype(np.int32)], True, (220, 40, 40), thick)
    cv2.rectangle(seen, (left, top), (right, bottom), (60, 220, 60), thick)
    for x, y in crop.face.points[: MOUTH + 1]:
        cv2.circle(seen, (round(float(x)), round(float(y))), 2 * thick, (250, 230, 60), -1)
    return seen
