"""Paint the example faces of the web page, and the pictures of README and gallery, with the model in the package.

The faces are rendered faces of data/sample, and docs/astronaut.jpg: NASA's portrait of Eileen Collins (public domain),
from scikit-image. The pictures that give the style (`like`) are a drawn portrait of data/sample, and the same portrait
after simple filters, so that they differ in style only. Run `python docs/make_examples.py` whenever the model changes.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from portraitist import Portraitist
from portraitist.app.compositing import Finish, apply_finish

ROOT = Path(__file__).parents[1]
DOCS, SAMPLE = ROOT / "docs", ROOT / "data" / "sample"
SELFIES, PAGE = SAMPLE / "selfies", ROOT / "src" / "portraitist" / "app" / "static_site"
PAGE_FACES = ("0084", "0180", "0132")  # ids in data/sample/index.csv
README_FACES = ("0012", "0084", "0180", "0156")  # in addition to the astronaut
STYLE_SELFIES = (DOCS / "astronaut.jpg", SELFIES / "0084.jpg")
LIKE_PORTRAIT = SAMPLE / "portraits" / "0147.jpg"
SIZE_PX = 256  # side of a face in README and web page
CELL_PX, LABEL_PX = 176, 22  # gallery: side of a face, height of the labels


def main() -> None:
    """Write the web page's example_<number>_{selfie,avatar}.webp, and docs/{avatars,styles,like}.jpg."""
    portraitist = Portraitist()
    for number, face in enumerate(PAGE_FACES, 1):
        for kind, picture in zip(("selfie", "avatar"), pair(portraitist, SELFIES / f"{face}.jpg"), strict=True):
            picture.save(PAGE / f"example_{number}_{kind}.webp", "WEBP", quality=92, method=6)
    files = [DOCS / "astronaut.jpg", *(SELFIES / f"{face}.jpg" for face in README_FACES)]
    columns = [np.concatenate([np.asarray(each) for each in pair(portraitist, file)]) for file in files]
    Image.fromarray(np.concatenate(columns, axis=1)).save(DOCS / "avatars.jpg", quality=88, optimize=True)
    style_sheet(portraitist).save(DOCS / "styles.jpg", quality=75, optimize=True)
    like_sheet(portraitist).save(DOCS / "like.jpg", quality=75, optimize=True)


def pair(portraitist: Portraitist, selfie: Path, **style: object) -> tuple[Image.Image, Image.Image]:
    """Return the photo, cut to what the avatar shows, and the avatar; `style` are arguments of `Portraitist.paint`."""
    avatar = portraitist.paint(selfie, **style)
    before, after = Image.fromarray(avatar.selfie), apply_finish(avatar, Finish()).convert("RGB")
    return tuple(each.resize((SIZE_PX, SIZE_PX), Image.Resampling.LANCZOS) for each in (before, after))


def style_sheet(portraitist: Portraitist) -> Image.Image:
    """Return a row for each selfie: the photo, then its avatar in each style of the model."""
    names = portraitist.style_names
    rows = []
    for selfie in STYLE_SELFIES:
        painted = [pair(portraitist, selfie, style=name) for name in names]
        rows.append([painted[0][0], *(after for _, after in painted)])
    return grid(rows, ("photo", *names))


def like_sheet(portraitist: Portraitist) -> Image.Image:
    """Return a row of portraits, and below each portrait the avatars of two selfies in its style."""
    examples = like_examples()
    rows = [[Image.new("RGB", (SIZE_PX, SIZE_PX), "white"), *examples.values()]]
    for selfie in STYLE_SELFIES:
        painted = [pair(portraitist, selfie, like=example) for example in examples.values()]
        rows.append([painted[0][0], *(after for _, after in painted)])
    return grid(rows, ("", *examples))


def like_examples() -> dict[str, Image.Image]:
    """Return a drawn portrait, and copies of it in four other styles, by the style's name."""
    with Image.open(LIKE_PORTRAIT) as opened:
        drawn = np.asarray(opened.convert("RGB").resize((512, 512), Image.Resampling.BICUBIC))
    grey = cv2.cvtColor(drawn, cv2.COLOR_RGB2GRAY)
    soft = cv2.GaussianBlur(grey, (0, 0), 1.5)
    ink = cv2.adaptiveThreshold(soft, 255, cv2.ADAPTIVE_THRESH_GAUSSIAN_C, cv2.THRESH_BINARY, 31, 6)
    pencil, _ = cv2.pencilSketch(drawn, sigma_s=40, sigma_r=0.07, shade_factor=0.05)
    palette = np.array([(30, 20, 90), (220, 40, 90), (250, 150, 50), (255, 240, 180)], np.uint8)  # dark to light
    weights = grey[..., None] / 255
    pictures = {
        "drawn": drawn,
        "ink": np.dstack([ink] * 3),
        "pencil": np.dstack([pencil] * 3),
        "four colours": palette[np.digitize(soft, [70, 120, 170])],
        "blue": np.rint(weights * (190, 225, 255) + (1 - weights) * (10, 25, 70)).astype(np.uint8),
    }
    return {name: Image.fromarray(picture) for name, picture in pictures.items()}


def grid(rows: Sequence[Sequence[Image.Image]], labels: Sequence[str]) -> Image.Image:
    """Return pictures in rows, with a label above each column."""
    sheet = Image.new("RGB", (CELL_PX * len(labels), CELL_PX * len(rows) + LABEL_PX), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for column, label in enumerate(labels):
        draw.text((CELL_PX * (column + 0.5), LABEL_PX / 2), label, "black", font, anchor="mm")
        for row, pictures in enumerate(rows):
            cell = pictures[column].resize((CELL_PX, CELL_PX), Image.Resampling.LANCZOS)
            sheet.paste(cell, (CELL_PX * column, CELL_PX * row + LABEL_PX))
    return sheet


if __name__ == "__main__":
    main()
