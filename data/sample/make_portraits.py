"""Make the sample pack from rendered heads: even seeds become selfies, odd ones portraits.

    python make_portraits.py HEADS PACK

HEADS is the output of make_heads.py: NNNN.png, NNNN_mask.png and NNNN.json. PACK gets selfies/ and portraits/ (JPEG),
masks/ for both (PNG, exact, for evaluation only) and index.csv. A portrait is painted with curved strokes in layers
(Hertzmann, Painterly Rendering with Curved Brush Strokes of Multiple Sizes, SIGGRAPH 1998) and inked along a
difference of Gaussians, over a background that is red four times in five.
"""

from __future__ import annotations

import argparse
import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Rng = np.random.Generator

BRUSHES = ((10, 18), (5, 14), (3, 12))  # radius in pixels, and the mean error that calls for a stroke
CANVAS = 235
SATURATION = 1.25
RED = (196, 30, 36)  # as behind the portraits on which a plain CartoonGAN fills faces with red
RED_SHARE = 0.8
COLUMNS = {"hair": "style", "male": "male", "age": "age", "tone": "tone", "light": "light"}  # to a head's facts


@dataclass(frozen=True)
class Layer:
    """Reference of one brush size: the blurred picture, and the gradient of its brightness."""

    radius_px: int
    threshold: int
    reference: Array
    slope_x: Array
    slope_y: Array


def paint(picture: Array, rng: Rng) -> Array:
    """The picture as strokes and ink, RGB in 0 to 255 like the picture."""
    smooth = cv2.bilateralFilter(paint_strokes(picture, rng), 7, 35, 5)
    return (smooth * ink(picture)[..., None]).astype(np.uint8)


def paint_strokes(picture: Array, rng: Rng) -> Array:
    """A canvas with a layer of strokes for each brush, the broadest first."""
    canvas = np.full_like(picture, CANVAS)
    vivid = saturate(picture)
    for radius_px, threshold in BRUSHES:
        layer = prepare(vivid, radius_px, threshold)
        starts = stroke_starts(layer, canvas)
        rng.shuffle(starts)
        for x, y in starts:
            colour = layer.reference[y, x].astype(int) + rng.normal(0, 5, 3)
            points = np.array(follow(layer, canvas, (x, y), colour, rng), np.int32)
            rgb = tuple(int(channel) for channel in np.clip(colour, 0, 255))
            cv2.polylines(canvas, [points], False, rgb, radius_px, cv2.LINE_AA)
    return canvas


def saturate(picture: Array) -> Array:
    """The picture in stronger colours."""
    hsv = cv2.cvtColor(picture, cv2.COLOR_RGB2HSV).astype(np.float32)
    hsv[..., 1] = np.clip(hsv[..., 1] * SATURATION, 0, 255)
    return cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB)


def prepare(picture: Array, radius_px: int, threshold: int) -> Layer:
    """The layer of a brush, for a picture."""
    reference = cv2.GaussianBlur(picture, (0, 0), radius_px * 0.6)
    grey = cv2.cvtColor(reference, cv2.COLOR_RGB2GRAY).astype(np.float32)
    slope_x, slope_y = cv2.Sobel(grey, cv2.CV_32F, 1, 0, ksize=5), cv2.Sobel(grey, cv2.CV_32F, 0, 1, ksize=5)
    return Layer(radius_px, threshold, reference, slope_x, slope_y)


def stroke_starts(layer: Layer, canvas: Array) -> list[tuple[int, int]]:
    """Column and row of the worst pixel in each cell of a grid whose mean error is over the threshold."""
    error = np.abs(layer.reference.astype(int) - canvas).sum(2).astype(np.float32) / 3
    step = layer.radius_px
    starts = []
    for top in range(0, error.shape[0], step):
        for left in range(0, error.shape[1], step):
            cell = error[top : top + step, left : left + step]
            if cell.mean() > layer.threshold:
                row, column = divmod(int(cell.argmax()), cell.shape[1])
                starts.append((left + column, top + row))
    return starts


def follow(layer: Layer, canvas: Array, start: tuple[int, int], colour: Array, rng: Rng) -> list[tuple[int, int]]:
    """Points of a stroke: across the slope, to the picture's edge or to where the canvas has the better colour."""
    height, width = canvas.shape[:2]
    points = [start]
    x, y = map(float, start)
    heading: tuple[float, float] = (0, 0)
    for _ in range(rng.integers(3, 9)):
        heading = bend(layer.slope_x[int(y), int(x)], layer.slope_y[int(y), int(x)], heading, rng)
        x, y = x + heading[0] * layer.radius_px, y + heading[1] * layer.radius_px
        if not (0 <= x < width and 0 <= y < height):
            break
        wanted = layer.reference[int(y), int(x)].astype(int)
        if len(points) > 2 and np.abs(wanted - colour).sum() > np.abs(wanted - canvas[int(y), int(x)]).sum():
            break
        points.append((int(x), int(y)))
    return points


def bend(slope_x: float, slope_y: float, heading: tuple[float, float], rng: Rng) -> tuple[float, float]:
    """Next direction of a stroke: across the gradient without turning back; if that is flat, straight on or random."""
    steepness = np.hypot(slope_x, slope_y)
    if steepness >= 4:
        x, y = -slope_y / steepness, slope_x / steepness
        return (-x, -y) if x * heading[0] + y * heading[1] < 0 else (x, y)
    if any(heading):
        return heading
    angle = rng.uniform(0, 6.28)
    return np.cos(angle), np.sin(angle)


def ink(picture: Array) -> Array:
    """Factor that darkens the picture along its dark lines, in [0, 1]."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
    fine = cv2.GaussianBlur(grey, (0, 0), 0.8)
    lines = fine - 0.985 * cv2.GaussianBlur(fine, (0, 0), 2.2)
    return np.clip(1 + np.tanh(np.minimum(lines + 0.012, 0) * 38) * 0.75, 0, 1)


def draw_background(size_px: int, rng: Rng) -> Array:
    """Red or, one time in five, any colour: darker to one end, and uneven like paint."""
    red = rng.random() < RED_SHARE
    colour = np.array(RED) + rng.normal(0, 8, 3) if red else rng.uniform(40, 230, 3)
    ramp = np.linspace(-18, 18, size_px)[:, None, None] * rng.choice([-1, 1])
    blotches = rng.normal(0, 14, (12, 12, 1)).astype(np.float32)
    blotches = cv2.resize(blotches, (size_px, size_px), interpolation=cv2.INTER_CUBIC)[..., None]
    return np.clip(colour + ramp + blotches, 0, 255).astype(np.float32)


def paint_portrait(picture: Array, mask: Array, seed: int) -> Array:
    """The person of a picture before a new background, painted."""
    share = mask[..., None] / 255.0
    background = draw_background(len(picture), np.random.default_rng(seed))
    whole = (picture * share + background * (1 - share)).astype(np.uint8)
    return paint(whole, np.random.default_rng(seed))


def read(path: Path, flag: int) -> Array:
    """A picture as OpenCV reads it.

    Raises:
        FileNotFoundError: There is no picture at the path.
    """
    picture = cv2.imread(str(path), flag)
    if picture is None:
        raise FileNotFoundError(f"no picture {path}")
    return picture


def write(path: Path, picture: Array, *options: int) -> None:
    """Save a picture in OpenCV's channel order; create the folder if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), picture, options)


def add_head(path: Path, pack: Path) -> list[Any]:
    """Add one head to the pack; return its row of the index."""
    name = path.stem
    kind = "portraits" if int(name) % 2 else "selfies"
    mask = read(path.with_name(f"{name}_mask.png"), cv2.IMREAD_GRAYSCALE)
    picture = cv2.cvtColor(read(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    if kind == "portraits":
        picture = paint_portrait(picture, mask, int(name))
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    write(pack / kind / f"{name}.jpg", bgr, cv2.IMWRITE_JPEG_QUALITY, 88)
    write(pack / "masks" / kind / f"{name}.png", mask, cv2.IMWRITE_PNG_COMPRESSION, 9)
    return [name, kind, *(facts[fact] for fact in COLUMNS.values())]


def main() -> None:
    """Make a pack of all heads in a folder."""
    parser = argparse.ArgumentParser(description="Make the sample pack from rendered heads.")
    parser.add_argument("heads", type=Path, help="folder that make_heads.py has filled")
    parser.add_argument("pack", type=Path, help="folder for selfies/, portraits/, masks/ and index.csv")
    args = parser.parse_args()
    args.pack.mkdir(parents=True, exist_ok=True)
    rows = [add_head(path, args.pack) for path in sorted(args.heads.glob("????.png"))]
    with (args.pack / "index.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["id", "kind", *COLUMNS], *rows])
    print(f"{len(rows)} pictures")


if __name__ == "__main__":
    main()
