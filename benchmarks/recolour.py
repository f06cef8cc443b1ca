"""The training portraits on one background colour: the data of a counterfactual training.

    python -m benchmarks.recolour '#c82828' && dvc repro --single-item train@cartoongan paint@cartoongan

In a clone where `dvc repro augment train_generator train_mask` has run: data/crop is written anew with every portrait's
background in that colour, by the pipeline's own mask; selfies, masks and split stay as they are. `dvc checkout crop`
brings back what was there. benchmarks/counterfactual.py says what the colour did to painted skin.
"""

import shutil
import sys
from pathlib import Path

from portraitist.app import compositing
from portraitist.core import manifest
from portraitist.core.blend import alpha_composite
from portraitist.core.image_io import decode_png, encode_png
from portraitist.core.shards import Shards, ShardWriter

CROPS, MASKS, SPLIT = Path("data/crop"), Path("data/mask"), Path("data/split.csv")


def colour_of(told: str) -> tuple[int, int, int]:
    """'#c82828', or any colour as CSS has them, as three numbers of 0 to 255.

    Raises:
        ValueError: It is no such colour.
    """
    if colour := compositing.colour_of(told):
        return colour
    raise ValueError(f"a colour like #c82828 was expected, found {told!r}")


def main(colour: tuple[int, int, int]) -> None:
    """Write data/crop anew."""
    split = manifest.read(SPLIT)
    portraits = set(split.loc[split["kind"] == "portraits", "id"])
    crops, masks, partial = Shards(CROPS), Shards(MASKS), CROPS.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    with ShardWriter(partial, len(crops)) as shards:
        for picture in crops:
            members = crops.members(picture)
            if picture in portraits:
                seen, mask = decode_png(members["png"]), decode_png(masks.read(picture, "png"))
                members["png"] = encode_png(alpha_composite(seen, mask, colour))
            shards.add(picture, members)
    shutil.copy(CROPS / "manifest.csv", partial)
    shutil.rmtree(CROPS)
    partial.rename(CROPS)


if __name__ == "__main__":
    try:
        main(colour_of(sys.argv[1]))
    except ValueError as error:
        sys.exit(f"recolour: {error}")
