"""Stage augment: recipes of persons on backgrounds; the test selfies on eight backgrounds, masked anew on each."""

import sys
from pathlib import Path

from tqdm import tqdm

from portraitist import manifest
from portraitist.augment import TEST_BACKGROUNDS, compose, recipes
from portraitist.crop import Square
from portraitist.mask import Segmenter, segment
from portraitist.params import AugmentParams, CropParams, MaskParams, load_or_exit
from portraitist.pictures import decode, encode, jpeg, sheet
from portraitist.shards import Shards, ShardWriter


def main(
    params: AugmentParams,
    masking: MaskParams,
    frame: CropParams,
    crops: Path,
    masks: Path,
    split: Path,
    pretrained: Path,
    dest: Path,
    shown: Path,
) -> None:
    """Draw the recipes; compose what the metric `sensitivity` needs, with masks made as a user's selfie gets them."""
    pictures, given, segmenter = Shards(crops), Shards(masks), Segmenter(pretrained)
    people, rows = manifest.read(split), []
    with ShardWriter(dest, params.shard_size) as shards:
        tested = people[(people["kind"] == "selfies") & (people["part"] == "test")]
        for picture in tqdm(sorted(tested["id"]), "augment", disable=None):
            square, mask = Square.of(pictures.members(picture)), decode(given.read(picture, "png"))
            members: dict[str, bytes] = {}
            row = []
            for name, colour in TEST_BACKGROUNDS.items():
                put = compose(square.picture, mask, colour, params.light_wrap)
                found = segment(Square(put, None, square.inside), segmenter, masking, frame)
                members |= {f"{name}.png": encode(put), f"{name}.mask.png": encode(found)}
                row.append(put)
            shards.add(picture, members)
            rows.append(row)
    trained = sorted(people.loc[people["part"] == "train", "id"])
    manifest.write(recipes(trained, params), dest / "recipes.csv", ["id", "background", "seed"])
    shown.write_bytes(jpeg(sheet(rows[:12], list(TEST_BACKGROUNDS))) if rows else b"")


if __name__ == "__main__":
    sections = ((AugmentParams, "augment"), (MaskParams, "mask"), (CropParams, "crop"))
    main(*(load_or_exit(*section) for section in sections), *map(Path, sys.argv[1:]))
