"""Contact sheets: pictures in rows and columns, with labels."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from portraitist.core.types import ContactSheet, Tile

GAP_PX = 4
LABEL_PX = 16


def labelled_tile(picture: Tile, text: str = "", size_px: int = 96) -> ContactSheet:
    """The whole picture in a square of size_px, for a sheet; the text stands at its foot."""
    whole = Image.fromarray(picture).convert("RGB")
    scale = size_px / max(whole.size)
    small = whole.resize([max(1, round(side * scale)) for side in whole.size], Image.Resampling.BOX)
    canvas = Image.new("RGB", (size_px, size_px), "black")
    canvas.paste(small, ((size_px - small.width) // 2, (size_px - small.height) // 2))
    if text:
        pen = ImageDraw.Draw(canvas)
        pen.rectangle((0, size_px - LABEL_PX, size_px, size_px), fill="white")
        pen.text((2, size_px - LABEL_PX + 2), text, fill="black")
    return np.array(canvas)


def contact_sheet(rows: Sequence[Sequence[Tile]], labels: Sequence[str] = (), size_px: int = 96) -> ContactSheet:
    """A contact sheet: each row of pictures in a line, each picture size_px wide; labels name the columns.

    Raises:
        ValueError: There is no row, or a row is longer than the labels.
    """
    if not rows:
        raise ValueError("a sheet needs at least one row")
    columns = max(len(row) for row in rows)
    if labels and len(labels) < columns:
        raise ValueError(f"{len(labels)} labels for {columns} columns")
    pitch = size_px + GAP_PX
    canvas = Image.new("RGB", (columns * pitch + GAP_PX, len(rows) * pitch + GAP_PX), "white")
    for line, row in enumerate(rows):
        for column, picture in enumerate(row):
            tile = Image.fromarray(picture).convert("RGB").resize((size_px, size_px), Image.Resampling.LANCZOS)
            canvas.paste(tile, (GAP_PX + column * pitch, GAP_PX + line * pitch))
    return add_column_labels(np.array(canvas), labels, pitch) if labels else np.array(canvas)


def add_column_labels(columns: ContactSheet, labels: Sequence[str], pitch_px: int) -> ContactSheet:
    """The sheet under a line of labels, one every pitch_px."""
    canvas = Image.new("RGB", (columns.shape[1], columns.shape[0] + LABEL_PX), "white")
    canvas.paste(Image.fromarray(columns), (0, LABEL_PX))
    pen = ImageDraw.Draw(canvas)
    for column, label in enumerate(labels):
        pen.text((GAP_PX + column * pitch_px, 3), label, fill="black")
    return np.array(canvas)


def split_rows(pictures: Sequence[Tile], columns: int) -> list[Sequence[Tile]]:
    """The pictures cut into rows of so many columns."""
    return [pictures[start : start + columns] for start in range(0, len(pictures), columns)]
