"""Pictures as bytes and arrays: encoded, decoded, laid out on a sheet. No tensor comes in here."""

import io
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw

Picture = UInt8[np.ndarray, "height width 3"]  # RGB, 0 to 255
Plane = UInt8[np.ndarray, "height width"]  # one value a pixel, 0 to 255: a mask or an alpha
SquarePicture = UInt8[np.ndarray, "side side 3"]  # of another size than the picture it was made from
SquarePlane = UInt8[np.ndarray, "side side"]
Tile = UInt8[np.ndarray, "_ _ 3"] | UInt8[np.ndarray, "_ _"]  # of any size, whatever the others'
Sheet = UInt8[np.ndarray, "_ _ 3"]

BLED = (0.02, 0.05, 0.15, 0.5)  # of the longer side: how far around a mean is taken, the nearest that finds something
HALF_RANGE = 127.5  # of 255: networks see pictures in [-1, 1]
SHEET_GAP_PX = 4
SHEET_LABEL_PX = 16


def encode(array: Picture | Plane) -> bytes:
    """PNG bytes of a picture or a plane; equal arrays give equal bytes."""
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, "PNG", compress_level=4)
    return buffer.getvalue()


def decode(data: bytes) -> Picture | Plane:
    """The array that `encode` was given. For bytes of our own making; strangers' bytes go through `clean.read`."""
    with Image.open(io.BytesIO(data)) as picture:
        return np.array(picture)


def over(picture: Picture, alpha: Plane, back: Picture | tuple[int, int, int]) -> Picture:
    """The picture laid over another picture or one colour, by alpha."""
    share = alpha[..., None].astype(np.float32) / 255
    return (picture * share + np.asarray(back, np.float32) * (1 - share)).round().astype(np.uint8)


def bled(picture: Picture, own: Plane) -> Picture:
    """The picture where own is 255; elsewhere the mean colour of the nearest of that, near or, failing that, far.

    So colours of a person reach under its soft edge, where the picture holds some of what was behind.
    """
    image, sure = picture.astype(np.float32), (own == 255).astype(np.float32)
    if not sure.any():
        return picture
    done = image * sure[..., None]
    known = sure
    for part in BLED:
        side = 2 * max(1, round(part * max(own.shape))) + 1
        weight = cv2.blur(sure, (side, side))
        found = (known == 0) & (weight > 1e-4)
        done[found] = (cv2.blur(image * sure[..., None], (side, side)) / np.maximum(weight, 1e-4)[..., None])[found]
        known = np.maximum(known, found)
    return done.clip(0, 255).round().astype(np.uint8)


def tile(picture: Tile, text: str = "", size_px: int = 96) -> Sheet:
    """The whole picture in a square of size_px, for a sheet; the text stands at its foot."""
    whole = Image.fromarray(picture).convert("RGB")
    scale = size_px / max(whole.size)
    small = whole.resize([max(1, round(side * scale)) for side in whole.size], Image.Resampling.BOX)
    canvas = Image.new("RGB", (size_px, size_px), "black")
    canvas.paste(small, ((size_px - small.width) // 2, (size_px - small.height) // 2))
    if text:
        pen = ImageDraw.Draw(canvas)
        pen.rectangle((0, size_px - SHEET_LABEL_PX, size_px, size_px), fill="white")
        pen.text((2, size_px - SHEET_LABEL_PX + 2), text, fill="black")
    return np.array(canvas)


def sheet(rows: Sequence[Sequence[Tile]], labels: Sequence[str] = (), size_px: int = 96) -> Sheet:
    """A contact sheet: each row of pictures in a line, each picture size_px wide; labels name the columns.

    Raises:
        ValueError: There is no row, or a row is longer than the labels.
    """
    if not rows:
        raise ValueError("a sheet needs at least one row")
    columns = max(len(row) for row in rows)
    if labels and len(labels) < columns:
        raise ValueError(f"{len(labels)} labels for {columns} columns")
    pitch = size_px + SHEET_GAP_PX
    canvas = Image.new("RGB", (columns * pitch + SHEET_GAP_PX, len(rows) * pitch + SHEET_GAP_PX), "white")
    for line, row in enumerate(rows):
        for column, picture in enumerate(row):
            tile = Image.fromarray(picture).convert("RGB").resize((size_px, size_px), Image.Resampling.LANCZOS)
            canvas.paste(tile, (SHEET_GAP_PX + column * pitch, SHEET_GAP_PX + line * pitch))
    return labelled(np.array(canvas), labels, pitch) if labels else np.array(canvas)


def labelled(columns: Sheet, labels: Sequence[str], pitch_px: int) -> Sheet:
    """The sheet under a line of labels, one every pitch_px."""
    canvas = Image.new("RGB", (columns.shape[1], columns.shape[0] + SHEET_LABEL_PX), "white")
    canvas.paste(Image.fromarray(columns), (0, SHEET_LABEL_PX))
    pen = ImageDraw.Draw(canvas)
    for column, label in enumerate(labels):
        pen.text((SHEET_GAP_PX + column * pitch_px, 3), label, fill="black")
    return np.array(canvas)


def in_rows(pictures: Sequence[Tile], columns: int) -> list[Sequence[Tile]]:
    """The pictures cut into rows of so many columns."""
    return [pictures[start : start + columns] for start in range(0, len(pictures), columns)]


def jpeg(picture: Picture) -> bytes:
    """JPEG bytes, for sheets that a person looks at."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()
