"""Stage paint: the test selfies, plain and on test backgrounds -> data/paint/<method>, by a method."""

import json
import sys
from pathlib import Path

from tqdm import tqdm

from portraitist import manifest
from portraitist.augment import TEST_BACKGROUNDS
from portraitist.cost import cost
from portraitist.paint import open_painter, paint_squares
from portraitist.params import CropParams, load_or_exit
from portraitist.pictures import decode, encode
from portraitist.shards import Shards, ShardWriter


def main(
    params: CropParams,
    model: Path,
    crops: Path,
    masks: Path,
    split: Path,
    turned: Path,
    dest: Path,
) -> None:
    """Paint each test selfie nine times: as it is, and on every background."""
    painter, made_for = open_painter(model)
    pictures, given, backgrounds = Shards(crops), Shards(masks), Shards(turned)
    tested = manifest.people(split, "selfies", "test")
    with ShardWriter(dest, params.shard_size) as shards:
        for picture in tqdm(tested, f"paint {model.stem}", disable=None):
            seen = [decode(pictures.read(picture, "png"))]
            seen += [decode(backgrounds.read(picture, f"{name}.png")) for name in TEST_BACKGROUNDS]
            mask = [decode(given.read(picture, "png"))]
            mask += [decode(backgrounds.read(picture, f"{name}.mask.png")) for name in TEST_BACKGROUNDS]
            endings = ["png", *(f"{name}.png" for name in TEST_BACKGROUNDS)]
            painted = map(encode, paint_squares(painter, seen, mask))
            shards.add(picture, dict(zip(endings, painted, strict=True)))
    about = cost(painter, made_for["crop"]["size_px"])
    (dest / "cost.json").write_text(json.dumps(about) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(load_or_exit(CropParams, "crop"), *map(Path, sys.argv[1:]))
