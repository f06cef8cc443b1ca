"""Contact sheets: one picture that shows many pictures as tiles in rows and columns, with labels."""

import re
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from portraitist.core.types import ContactSheet, Tile

GAP_PX = 4
LABEL_PX, LINE_PX = 16, 12  # height of a label with one line of text, and of each further line
FONT = ImageFont.load_default()


def labelled_tile(picture: Tile, text: str = "", size_px: int = 96) -> ContactSheet:
    """Fit a picture into a black square of `size_px` pixels without cropping it; `text` is a label at the bottom."""
    image = Image.fromarray(picture).convert("RGB")
    scale = size_px / max(image.size)
    small = image.resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.BOX)
    canvas = Image.new("RGB", (size_px, size_px), "black")
    canvas.paste(small, ((size_px - small.width) // 2, (size_px - small.height) // 2))
    if text:
        draw = ImageDraw.Draw(canvas)
        draw.rectangle((0, size_px - LABEL_PX, size_px, size_px), fill="white")
        draw.text((2, size_px - LABEL_PX + 2), text, fill="black")
    return np.array(canvas)


def contact_sheet(rows: Sequence[Sequence[Tile]], labels: Sequence[str] = (), size_px: int = 96) -> ContactSheet:
    """Lay out rows of pictures, each resized to a square of `size_px` pixels; `labels` are column headings.

    Raises:
        ValueError: there are no rows, or `labels` is not empty but has fewer labels than there are columns.
    """
    if not rows:
        raise ValueError("a contact sheet needs at least one row")
    columns = max(len(row) for row in rows)
    if labels and len(labels) < columns:
        raise ValueError(f"found {len(labels)} labels for {columns} columns; pass one label for each column")
    pitch = size_px + GAP_PX
    canvas = Image.new("RGB", (columns * pitch + GAP_PX, len(rows) * pitch + GAP_PX), "white")
    for line, row in enumerate(rows):
        for column, picture in enumerate(row):
            tile = Image.fromarray(picture).convert("RGB").resize((size_px, size_px), Image.Resampling.LANCZOS)
            canvas.paste(tile, (GAP_PX + column * pitch, GAP_PX + line * pitch))
    return add_column_labels(np.array(canvas), labels, pitch) if labels else np.array(canvas)


def add_column_labels(sheet: ContactSheet, labels: Sequence[str], pitch_px: int) -> ContactSheet:
    """Add column headings above a contact sheet; long headings are wrapped at underscores and spaces.

    Args:
        sheet: the contact sheet.
        labels: the headings, from left to right.
        pitch_px: distance in pixels between the left borders of two neighbouring columns.
    """
    headings = [_wrapped(label, pitch_px - GAP_PX) for label in labels]
    height = LABEL_PX + LINE_PX * (max(len(lines) for lines in headings) - 1)
    canvas = Image.new("RGB", (sheet.shape[1], sheet.shape[0] + height), "white")
    canvas.paste(Image.fromarray(sheet), (0, height))
    draw = ImageDraw.Draw(canvas)
    for column, lines in enumerate(headings):
        for number, line in enumerate(lines):
            draw.text((GAP_PX + column * pitch_px, 3 + number * LINE_PX), line, fill="black")
    return np.array(canvas)


def _wrapped(label: str, width_px: int) -> list[str]:
    lines = [""]
    for word in re.findall("[^_ ]+[_ ]?", label):
        if lines[-1] and FONT.getlength((lines[-1] + word).rstrip()) > width_px:
            lines.append("")
        lines[-1] += word
    return [line.rstrip() for line in lines]


def split_rows(pictures: Sequence[Tile], columns: int) -> list[Sequence[Tile]]:
    """Split a sequence of pictures into rows of at most `columns`."""
    return [pictures[start : start + columns] for start in range(0, len(pictures), columns)]
