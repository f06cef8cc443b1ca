"""Place the avatar's frame: an upright square around the head.

The painting is an aligned crop of the photo. Where the photo or the crop ends, the person is cut off along a straight
line. Such a line is called a cut. The frame is chosen from a grid of sizes and positions, as the square with the lowest
cost. The cost is low if the head is inside the frame, and if all cuts are outside the frame or on its border.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from jaxtyping import Float

from portraitist.core.types import MaskArray
from portraitist.crop.align import Crop
from portraitist.crop.geometry import LEFT_EYE, MOUTH, RIGHT_EYE, Face, Transform, eye_to_mouth_px, warp

# Lengths below are multiples of the distance from the eyes to the mouth.
IDEAL_SIDE, EYE_LINE = 4.6, 0.44  # side of the frame; distance of its top from the eyes, as a fraction of the side
SIDES, SHIFTS = np.linspace(1.0, IDEAL_SIDE, 19), np.linspace(-1.2, 1.2, 17)  # grid that is searched
FINE_SIDES, FINE_SHIFTS = np.linspace(-0.2, 0.2, 9), np.linspace(-0.15, 0.15, 9)
HEAD_WIDTH, CROWN, CHIN = 1.3, 1.3, 1.75  # half the head's width; its minimum height above, and below the eyes
HEADROOM = 0.05  # free space above the hair, as a fraction of the side
# Weights of the cost terms. A term is the length of a cut inside the frame, or of a missing part, divided by its side.
CUT_COST, HEAD_COST, HEADROOM_COST, EMPTY_COST, SHIFT_COST, ZOOM_COST = 6.0, 4.0, 1.0, 1.0, 4.0, 0.6
CANVAS_SIDE, CANVAS_LENGTHS = 168, 7.0  # side of the square in which frames are searched: in pixels, in lengths
MISSING_GROWTH = 2.0  # if a fraction m of the head is missing, the cost is m + (MISSING_GROWTH * m) ** 2
SLIVER = 0.02  # unpainted strips at the frame's border are filled if narrower than this fraction of the side
MAX_TILT_DEGREES = 60.0  # if a face is tilted more, the photo is probably stored sideways or upside down
FADE = 0.14  # width over which a person fades out at a cut inside the frame, as a fraction of the side


@dataclass(frozen=True)
class Frame:
    """A square of the selfie: centre (x, y) and side in the selfie's pixels, and its rotation in degrees."""

    centre: tuple[float, float]
    side: float
    degrees: float

    def transform(self, size_px: int) -> Transform:
        """Return the similarity transform from the selfie's pixels to those of the frame, scaled to side `size_px`."""
        angle, scale = np.deg2rad(self.degrees), size_px / self.side
        rotation = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        translation = size_px / 2 - rotation @ np.array(self.centre)
        return np.concatenate([rotation, translation[:, None]], axis=1).astype(np.float32)


def whole_crop(crop: Crop) -> Frame:
    """Return the frame that shows a whole crop. As in the crop, the eyes are level."""
    side = crop.square.picture.shape[0]
    inverse = cv2.invertAffineTransform(crop.transform)
    centre = inverse @ np.array([side / 2, side / 2, 1])
    scale = float(np.hypot(inverse[0, 0], inverse[1, 0]))
    degrees = float(np.rad2deg(np.arctan2(inverse[1, 0], inverse[0, 0])))
    return Frame((float(centre[0]), float(centre[1])), side * scale, degrees)


def scale_of(crop: Crop) -> float:
    """Return the factor by which a crop is enlarged, compared with the selfie."""
    return float(np.hypot(*crop.transform[0, :2]))


def face_in_crop(crop: Crop, face: Face | None = None) -> tuple[float, float, float]:
    """Return x and y of a face's centre, and the distance from the eyes to the mouth; all in pixels of the crop.

    Args:
        crop: the aligned crop.
        face: another face of the same photo, inside or outside the crop; by default, the face of the crop.
    """
    face = face or crop.face
    x, y = crop.transform @ np.append(face.points[: MOUTH + 1].mean(axis=0), 1)
    return x, y, eye_to_mouth_px(face) * scale_of(crop)


def upright_frame(crop: Crop, mask: MaskArray) -> Frame:
    """Return the frame with the lowest cost, in the photo's own orientation.

    Args:
        crop: the aligned crop, at any size.
        mask: mask of the person in the crop, at any size.
    """
    points, length = crop.face.points, eye_to_mouth_px(crop.face)
    tilt = whole_crop(crop).degrees
    degrees = 0.0 if abs(tilt) <= MAX_TILT_DEGREES else round(tilt / 90) * 90.0
    eyes = (points[RIGHT_EYE] + points[LEFT_EYE]) / 2
    canvas = Frame((float(eyes[0]), float(eyes[1])), CANVAS_LENGTHS * length, degrees)

    def on_canvas(plane: MaskArray) -> np.ndarray:
        source = crop.transform * (plane.shape[0] / crop.square.inside.shape[0])
        to_canvas = between(source, canvas.transform(CANVAS_SIDE))
        return warp(plane, to_canvas, CANVAS_SIDE, border=cv2.BORDER_CONSTANT) > 127

    person, covered = on_canvas(mask), on_canvas(crop.square.inside)
    mouth = canvas.transform(CANVAS_SIDE) @ np.append(points[MOUTH], 1) - CANVAS_SIDE / 2
    left, top, side = _search(person, covered, mouth / max(float(np.linalg.norm(mouth)), 1e-6))
    pixel = canvas.side / CANVAS_SIDE
    offset = np.array([left + side / 2, top + side / 2]) - CANVAS_SIDE / 2
    angle = np.deg2rad(degrees)
    axes = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = eyes + axes @ offset * pixel
    return replace(canvas, centre=(float(centre[0]), float(centre[1])), side=float(side * pixel))


def _search(person: np.ndarray, covered: np.ndarray, down: np.ndarray) -> tuple[float, float, float]:
    """Return left, top and side of the frame with the lowest cost, in pixels of the canvas.

    The canvas is a square around the face, of `CANVAS_SIDE` pixels per side.

    Args:
        person: whether each canvas pixel shows the person.
        covered: whether the painting covers each canvas pixel.
        down: unit vector from the eyes to the mouth.
    """
    cost = _Cost(person, covered, down)
    best = np.array([IDEAL_SIDE, 0, 0])
    for sides, shifts in ((SIDES - IDEAL_SIDE, SHIFTS), (FINE_SIDES, FINE_SHIFTS)):
        grid = np.stack(np.meshgrid(sides, shifts, shifts, indexing="ij"), axis=-1) + best
        costs = cost(grid)
        best = grid[np.unravel_index(int(np.argmin(costs)), costs.shape)]
    left, top, right, _ = _box(best[None])
    return float(left[0]), float(top[0]), float(right[0] - left[0])


def _box(candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return left, top, right and bottom of frames, in pixels of the canvas.

    Args:
        candidates: array of shape (..., 3): side, shift to the right and shift down of each frame. The unit is the
            distance from the eyes to the mouth. If both shifts are 0, the midpoint between the eyes is at half of the
            frame's width, and below the frame's top by `EYE_LINE` times the frame's height.
    """
    length = CANVAS_SIDE / CANVAS_LENGTHS
    side, right_shift, down_shift = np.moveaxis(candidates * length, -1, 0)
    left, top = CANVAS_SIDE / 2 - side / 2 + right_shift, CANVAS_SIDE / 2 - EYE_LINE * side + down_shift
    return left, top, left + side, top + side


class _Cost:
    """Cost of a frame.

    The cost grows with the length of the cuts inside the frame, the empty area in the frame, the part of the head
    outside the frame, the missing space above the hair, and the difference from the ideal size and position. A cut is a
    straight line along which the end of the photo or of the crop cuts off the person.
    """

    def __init__(self, person: np.ndarray, covered: np.ndarray, down: np.ndarray) -> None:
        uncovered = (~covered).astype(np.uint8)
        cut = (person & (cv2.dilate(uncovered, np.ones((3, 3), np.uint8)) > 0)).astype(np.uint8)
        self.uncovered, self.cut = _integral(uncovered, cv2.BORDER_REPLICATE), _integral(cut, cv2.BORDER_CONSTANT)
        # The head is a box around the middle of the face, up to the top of the hair, as far as the photo shows it.
        length = CANVAS_SIDE / CANVAS_LENGTHS
        x, y = CANVAS_SIDE / 2 + down * length * (CHIN - CROWN) / 2
        half_width, half_height = HEAD_WIDTH * length, (CHIN + CROWN) * length / 2
        columns, rows = np.flatnonzero(covered.any(axis=0)), np.flatnonzero(covered.any(axis=1))
        hair = np.flatnonzero(person[:, max(0, round(x - half_width)) : round(x + half_width)].any(axis=1))
        self.crown = max(min(hair[0], y - half_height), rows[0]) if len(hair) else y - half_height
        self.head = (
            max(x - half_width, columns[0]),
            self.crown,
            min(x + half_width, columns[-1]),
            min(y + half_height, rows[-1]),
        )
        self.is_crown_cut = bool(len(hair)) and hair[0] <= rows[0] + 2

    def __call__(self, candidates: np.ndarray) -> np.ndarray:
        """Return the cost of each frame.

        Args:
            candidates: array of shape (..., 3): side, shift to the right and shift down of each frame; see `_box`.
        """
        left, top, right, bottom = _box(candidates)
        side = right - left
        cost = CUT_COST * _sum(self.cut, left, top, right, bottom) / side
        cost += EMPTY_COST * _sum(self.uncovered, left, top, right, bottom) / side**2
        signs = (left - self.head[0], top - self.head[1], self.head[2] - right, self.head[3] - bottom)
        missing = sum(np.maximum(each, 0) for each in signs) / side
        cost += HEAD_COST * (missing + (MISSING_GROWTH * missing) ** 2)
        if not self.is_crown_cut:
            cost += HEADROOM_COST * np.maximum(top + HEADROOM * side - self.crown, 0) / side
        shifts = candidates[..., 1:] / candidates[..., :1]
        cost += SHIFT_COST * (shifts**2).sum(axis=-1)
        return cost + ZOOM_COST * np.log(IDEAL_SIDE / candidates[..., 0]) ** 2


def _integral(plane: np.ndarray, border: int) -> np.ndarray:
    """Extend a canvas by half of its width in all four directions, and return the integral image of the result."""
    margin = CANVAS_SIDE // 2
    return cv2.integral(cv2.copyMakeBorder(plane, margin, margin, margin, margin, border, value=0))


def _sum(table: np.ndarray, *box: np.ndarray) -> Float[np.ndarray, "..."]:
    """Return the sum over each box (left, top, right, bottom), given the integral image that `_integral` returns."""
    margin = CANVAS_SIDE // 2
    x0, y0, x1, y1 = (np.rint(edge).astype(int).clip(-margin, CANVAS_SIDE + margin) + margin for edge in box)
    return (table[y1, x1] - table[y0, x1] - table[y1, x0] + table[y0, x0]).astype(np.float64)


def between(source: Transform, target: Transform) -> Transform:
    """Return the transform from one picture to another.

    Args:
        source: the transform from the selfie to the first picture.
        target: the transform from the selfie to the second picture.
    """
    whole = np.vstack([target, [0, 0, 1]]) @ np.vstack([cv2.invertAffineTransform(source), [0, 0, 1]])
    return whole[:2].astype(np.float32)


def fade_cuts(mask: MaskArray, covered: MaskArray) -> MaskArray:
    """Fade out a person's mask where the painting ends inside the frame, so that no straight edge is visible.

    Args:
        mask: mask of the person in the frame.
        covered: for each pixel of the frame, 255 if the painting covers the whole pixel, otherwise less.
    """
    size = mask.shape[0]
    edge = max(3, round(0.01 * size) | 1)
    near = cv2.dilate(np.where(mask > 127, 255, 0).astype(np.uint8), np.ones((edge, edge), np.uint8))
    ends = ((covered < 255) & (near > 0)).astype(np.uint8)
    if not ends.any():
        return mask
    distance = cv2.distanceTransform(1 - ends, cv2.DIST_L2, 5) / (FADE * size)
    ramp = np.minimum(distance, 1).astype(np.float32)
    return (mask * (ramp * ramp * (3 - 2 * ramp))).round().astype(np.uint8)
