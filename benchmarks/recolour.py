"""Give all portraits the same background colour, for the trainings that benchmarks/counterfactual.py compares.

    python -m benchmarks.recolour '#c82828' && dvc repro --single-item train@cartoongan paint@cartoongan

Run the command in a clone in which `dvc repro augment train_generator train_mask` has run. It replaces data/crop by a
copy in which the backgrounds of the portraits have this colour, according to the masks in data/mask. Selfies, masks and
split stay the same. `dvc checkout crop` restores the original.
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


def parse_colour(text: str) -> tuple[int, int, int]:
    """Return a CSS colour, such as '#c82828', as red, green and blue from 0 to 255.

    Raises:
        ValueError: the text is not a CSS colour.
    """
    if colour := compositing.colour_of(text):
        return colour
    raise ValueError(f"expected a colour such as #c82828, found {text!r}")


def main(colour: tuple[int, int, int]) -> None:
    """Replace data/crop by the recoloured copy."""
    split = manifest.read(SPLIT)
    portraits = set(split.loc[split["kind"] == "portraits", "id"])
    crops, masks, partial = Shards(CROPS), Shards(MASKS), CROPS.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    with ShardWriter(partial, len(crops)) as shards:
        for face in crops:
            members = crops.members(face)
            if face in portraits:
                crop, mask = decode_png(members["png"]), decode_png(masks.read(face, "png"))
                members["png"] = encode_png(alpha_composite(crop, mask, colour))
            shards.add(face, members)
    shutil.copy(CROPS / "manifest.csv", partial)
    shutil.rmtree(CROPS)
    partial.rename(CROPS)


if __name__ == "__main__":
    try:
        main(parse_colour(sys.argv[1]))
    except ValueError as error:
        sys.exit(f"recolour: {error}")
