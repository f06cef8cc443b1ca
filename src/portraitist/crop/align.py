"""Select faces in a picture, and cut an aligned square with head and shoulders (a crop) around each face."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from portraitist.clean.decode import CleanPicture, RejectedError
from portraitist.core.blend import alpha_composite
from portraitist.core.image_io import decode_png, encode_png
from portraitist.core.outcome import Status
from portraitist.core.types import MaskArray, Picture, SquareMaskArray, SquarePicture
from portraitist.crop.detector import FaceDetector
from portraitist.crop.geometry import MOUTH, Face, Transform, covered_area, eye_mouth_similarity, warp
from portraitist.crop.params import CropParams

GREY = (128, 128, 128)
# Where a crop extends beyond the picture's border, it is filled with blurred colours of the border. FADE_WIDTH is the
# width of the transition to fully blurred colours, and the sigma of the blur, as a fraction of the crop's side. For
# speed, the blur is computed at BLUR_SIDE pixels.
FADE_WIDTH, BLUR_SIDE = 0.06, 64
CROP_COLOUR, FACE_COLOUR, LANDMARK_COLOUR = (220, 40, 40), (60, 220, 60), (250, 230, 60)


@dataclass(frozen=True)
class CropImage:
    """The pixels of a crop."""

    picture: Picture
    alpha: MaskArray | None  # alpha channel, or None if the picture is opaque
    inside: MaskArray  # 255 where the picture covers the crop, 0 beyond the picture's border

    def members(self) -> dict[str, bytes]:
        """Return the arrays as PNG files for a shard, in a dictionary from ending to bytes."""
        alpha = {} if self.alpha is None else {"alpha.png": encode_png(self.alpha)}
        return {"png": encode_png(self.picture), "inside.png": encode_png(self.inside), **alpha}

    @classmethod
    def from_members(cls, members: dict[str, bytes]) -> "CropImage":
        """Decode the files that `members` returned."""
        alpha = decode_png(members["alpha.png"]) if "alpha.png" in members else None
        return cls(decode_png(members["png"]), alpha, decode_png(members["inside.png"]))


@dataclass(frozen=True)
class Crop:
    """A cropped face."""

    square: CropImage
    face: Face  # box and landmarks in the original picture
    transform: Transform  # from pixels of the original picture to pixels of the square
    other_faces: tuple[Face, ...] = ()  # other faces that `crop_faces` detected in the original picture

    def warp(self, plane: MaskArray) -> SquareMaskArray:
        """Crop a mask of the original picture to the same square; the result is 0 beyond the picture's border."""
        return warp(plane, self.transform, self.square.picture.shape[0], border=cv2.BORDER_CONSTANT)


def alignment(face: Face, picture: Picture, crop_params: CropParams) -> Transform:
    """Return the transform (rotation, scale and shift) that aligns a face.

    The transform maps the picture to a square that shows head and shoulders. If the whole picture fits into the square
    with empty space on all sides, the picture is enlarged until it touches a side of the square. This leaves less of
    the square empty, and no part of the picture is cut off. The enlargement stops earlier if the distance from the eyes
    to the mouth reaches `closest_eye_to_mouth`, a fraction of the square's side.
    """
    size_px, eye_line, eye_to_mouth = crop_params.size_px, crop_params.eye_line, crop_params.eye_to_mouth
    transform = eye_mouth_similarity(face, size_px, eye_line, eye_to_mouth)
    height, width = picture.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    corners = corners @ transform[:, :2].T + transform[:, 2]
    anchor = np.array([0.5, eye_line]) * size_px
    available = np.concatenate([anchor, size_px - anchor])
    covered = np.concatenate([anchor - corners.min(axis=0), corners.max(axis=0) - anchor])
    zoom = float((available / np.maximum(covered, 1e-6)).min())
    zoom = min(max(zoom, 1.0), max(crop_params.closest_eye_to_mouth / eye_to_mouth, 1.0))
    return eye_mouth_similarity(face, size_px, eye_line, eye_to_mouth * zoom)


def crop_face(cleaned: CleanPicture, face: Face, crop_params: CropParams) -> Crop:
    """Cut the aligned square around one face.

    Where the square extends beyond the picture's border, it has the blurred colours of the border.

    Raises:
        RejectedError: the face is too small, or too much of the square is beyond the picture's border.
    """
    transform = alignment(face, cleaned.picture, crop_params)
    size_px = crop_params.size_px
    needed = eye_mouth_similarity(face, size_px, crop_params.eye_line, crop_params.eye_to_mouth)
    scale = float(np.hypot(needed[0, 0], needed[1, 0]))
    if scale > crop_params.max_upscale:
        raise RejectedError(
            Status.FACE_TOO_SMALL,
            f"the face is {face.side_px:.0f} px wide and needs {scale:.1f}x enlargement; "
            f"at most {crop_params.max_upscale:g}x is allowed",
        )
    inside = covered_area(cleaned.picture.shape, transform, size_px)
    visible = float(inside.mean()) / 255
    if visible < crop_params.min_visible:
        raise RejectedError(
            Status.FACE_CUT_OFF,
            f"only {visible:.0%} of head and shoulders are in the picture; "
            f"at least {crop_params.min_visible:.0%} are needed",
        )
    picture = fade_border(warp(cleaned.picture, transform, size_px, border=cv2.BORDER_REPLICATE), inside)
    alpha = None
    if cleaned.alpha is not None:
        alpha = warp(cleaned.alpha, transform, size_px, border=cv2.BORDER_CONSTANT)
    return Crop(CropImage(picture, alpha, inside), face, transform)


def fade_border(picture: SquarePicture, inside: SquareMaskArray) -> SquarePicture:
    """Blur the area beyond the original picture's border (`inside` below 255).

    In the input, this area repeats the colours of the picture's border pixels, which looks like streaks. The blur hides
    the streaks.
    """
    if inside.min() == 255:
        return picture
    side = picture.shape[0]
    reduced = cv2.resize(picture, (BLUR_SIDE, BLUR_SIDE), interpolation=cv2.INTER_AREA)
    blurred = cv2.resize(cv2.GaussianBlur(reduced, (0, 0), FADE_WIDTH * BLUR_SIDE), (side, side))
    distance = cv2.distanceTransform((inside < 255).astype(np.uint8), cv2.DIST_L2, 3) / (FADE_WIDTH * side)
    return alpha_composite(blurred, (255 * np.minimum(distance, 1)).astype(np.uint8), picture)


def crop_faces(cleaned: CleanPicture, detector: FaceDetector, crop_params: CropParams) -> list[Crop | RejectedError]:
    """Crop the largest face of a picture, or each face, as section `crop` of params.yaml selects.

    Faces become upright even if the picture is upside down or rotated by 90 degrees.

    Returns:
        For each selected face, in the detector's order: the crop, or a RejectedError if the face cannot be used. If
        there is no face, the list contains one RejectedError.
    """
    faces = detector.detect_any(_on_grey(cleaned), crop_params.min_score)
    if not faces:
        height, width = cleaned.picture.shape[:2]
        return [RejectedError(Status.NO_FACE, f"no face found in the {width} x {height} picture")]
    if crop_params.faces == "each":
        selected = [face for face in faces if face.side_px >= crop_params.min_relative_size * faces[0].side_px]
    else:
        selected = faces[:1]
    return [_crop_or_reject(cleaned, face, faces, crop_params) for face in selected]


def _crop_or_reject(
    cleaned: CleanPicture, face: Face, faces: Sequence[Face], crop_params: CropParams
) -> Crop | RejectedError:
    try:
        crop = crop_face(cleaned, face, crop_params)
    except RejectedError as error:
        return error
    return replace(crop, other_faces=tuple(other for other in faces if other is not face))


def draw_detection(cleaned: CleanPicture, crop: Crop) -> Picture:
    """Draw a crop into the original picture: the square in red, the face's box in green, its landmarks in yellow."""
    canvas = _on_grey(cleaned).copy()
    thickness = max(1, max(canvas.shape) // 100)
    inverse, side = cv2.invertAffineTransform(crop.transform), crop.square.picture.shape[0]
    corners = np.array([[0, 0], [side, 0], [side, side], [0, side]]) @ inverse[:, :2].T + inverse[:, 2]
    left, top, right, bottom = (round(value) for value in crop.face.box)
    cv2.polylines(canvas, [corners.round().astype(np.int32)], True, CROP_COLOUR, thickness)
    cv2.rectangle(canvas, (left, top), (right, bottom), FACE_COLOUR, thickness)
    for x, y in crop.face.points[: MOUTH + 1]:
        cv2.circle(canvas, (round(float(x)), round(float(y))), 2 * thickness, LANDMARK_COLOUR, -1)
    return canvas


def _on_grey(cleaned: CleanPicture) -> Picture:
    """Return the picture, composited over grey if it has an alpha channel."""
    return cleaned.picture if cleaned.alpha is None else alpha_composite(cleaned.picture, cleaned.alpha, GREY)
