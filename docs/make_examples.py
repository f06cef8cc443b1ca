"""Paint the page's three example faces: `python docs/make_examples.py --model models/portraitist`.

The faces are rendered ones of data/sample. Each is written twice, as the photo and as its avatar of the same square, to
src/portraitist/app/static_site/.
"""

from argparse import ArgumentParser
from pathlib import Path

from PIL import Image

from portraitist import Portraitist
from portraitist.app.compositing import Finish, apply_finish

ROOT = Path(__file__).parents[1]
FACES = ("0052", "0008", "0046")  # ids in data/sample/index.csv
SIZE_PX = 256
BACKGROUND = (239, 228, 208)


def main() -> None:
    """Write example_<number>_selfie.webp and example_<number>_avatar.webp."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "portraitist")
    portraitist = Portraitist(parser.parse_args().model)
    for number, face in enumerate(FACES, 1):
        avatar = portraitist.paint(ROOT / "data" / "sample" / "selfies" / f"{face}.jpg")
        selfie = Image.fromarray(avatar.selfie).resize((SIZE_PX, SIZE_PX), Image.Resampling.LANCZOS)
        painted = apply_finish(avatar, Finish(BACKGROUND, size_px=SIZE_PX))
        for kind, picture in (("selfie", selfie), ("avatar", painted)):
            path = ROOT / "src" / "portraitist" / "app" / "static_site" / f"example_{number}_{kind}.webp"
            picture.save(path, "WEBP", quality=85, method=6)


if __name__ == "__main__":
    main()
