"""Paint the example faces of the page, and the picture of the README, with the model in the package.

The faces are rendered ones of data/sample, and docs/astronaut.jpg: NASA's portrait of Eileen Collins (public domain),
from scikit-image. Run it as `python docs/make_examples.py`.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from portraitist import Portraitist
from portraitist.app.compositing import Finish, apply_finish

ROOT = Path(__file__).parents[1]
SELFIES, PAGE = ROOT / "data" / "sample" / "selfies", ROOT / "src" / "portraitist" / "app" / "static_site"
PAGE_FACES = ("0084", "0180", "0132")  # ids in data/sample/index.csv
README_FACES = ("0012", "0084", "0180", "0156")  # beside the astronaut
SIZE_PX = 256


def main() -> None:
    """Write example_<number>_selfie.webp and example_<number>_avatar.webp of the page, and docs/avatars.jpg."""
    portraitist = Portraitist()
    for number, face in enumerate(PAGE_FACES, 1):
        for kind, picture in zip(("selfie", "avatar"), pair(portraitist, SELFIES / f"{face}.jpg"), strict=True):
            picture.save(PAGE / f"example_{number}_{kind}.webp", "WEBP", quality=85, method=6)
    files = [ROOT / "docs" / "astronaut.jpg", *(SELFIES / f"{face}.jpg" for face in README_FACES)]
    columns = [np.concatenate([np.asarray(each) for each in pair(portraitist, file)]) for file in files]
    Image.fromarray(np.concatenate(columns, axis=1)).save(ROOT / "docs" / "avatars.jpg", quality=88, optimize=True)


def pair(portraitist: Portraitist, selfie: Path) -> tuple[Image.Image, Image.Image]:
    """Return the photo and its avatar, in the same frame."""
    avatar = portraitist.paint(selfie)
    before, after = Image.fromarray(avatar.selfie), apply_finish(avatar, Finish()).convert("RGB")
    return tuple(each.resize((SIZE_PX, SIZE_PX), Image.Resampling.LANCZOS) for each in (before, after))


if __name__ == "__main__":
    main()
