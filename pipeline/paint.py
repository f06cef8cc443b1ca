"""Stage paint: the test selfies, plain and on test backgrounds -> data/paint/<method>, by a method."""

import json
import sys
from pathlib import Path

from tqdm import tqdm

from pipeline.stage import load_or_exit
from portraitist.augment.render import TEST_BACKGROUNDS
from portraitist.core import manifest
from portraitist.core.image_io import decode_png, encode_png
from portraitist.core.shards import Shards, ShardWriter
from portraitist.crop.params import CropParams
from portraitist.learning.flops import inference_cost
from portraitist.paint import load_method, paint_crops


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
    painter, made_for = load_method(model)
    pictures, given, backgrounds = Shards(crops), Shards(masks), Shards(turned)
    tested = manifest.split_ids(split, "selfies", "test")
    with ShardWriter(dest, params.shard_size) as shards:
        for picture in tqdm(tested, f"paint {model.stem}", disable=None):
            seen = [decode_png(pictures.read(picture, "png"))]
            seen += [decode_png(backgrounds.read(picture, f"{name}.png")) for name in TEST_BACKGROUNDS]
            mask = [decode_png(given.read(picture, "png"))]
            mask += [decode_png(backgrounds.read(picture, f"{name}.mask.png")) for name in TEST_BACKGROUNDS]
            endings = ["png", *(f"{name}.png" for name in TEST_BACKGROUNDS)]
            painted = map(encode_png, paint_crops(painter, seen, mask))
            shards.add(picture, dict(zip(endings, painted, strict=True)))
    about = inference_cost(painter, made_for["crop"]["size_px"])
    (dest / "cost.json").write_text(json.dumps(about) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(load_or_exit(CropParams, "crop"), *map(Path, sys.argv[1:]))
