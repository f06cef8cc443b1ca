"""Does the portraits' background reach the faces? Pairs of trainings that differ in it alone, on the same selfies.

    python -m benchmarks.counterfactual '#c82828' '#2848c8' --one RED_1 RED_2 --other BLUE_1 BLUE_2

RED_1 is the data/paint/<method> of a clone whose portraits stood on the first colour (benchmarks/recolour.py), BLUE_1
that of one on the second, with the same seed; and so on. Run it where `dvc repro augment` has run.

*apart*: the mean distance (Delta E, CIE 1976) of painted skin between the two, face by face; a part of it is chance, as
any change makes a GAN's training another one. *along*: how far the first skin lies from the second one in the direction
from the second colour to the first, as a share of the way between the colours. 0 is right; chance has no direction.
"""

import argparse
from pathlib import Path

import numpy as np

from benchmarks.recolour import colour_of
from benchmarks.seeds import margin
from portraitist.core.params import load
from portraitist.core.shards import Shards
from portraitist.crop.params import CropParams
from portraitist.evaluate._skin import colours, lab, skins
from portraitist.evaluate.registry import Stack, Values, by_parts
from portraitist.learning.tensors import Images, Masks
from portraitist.train.batches import DatasetPaths, LazyImages, load_images, load_masks, split_ids


def between(selfies: Stack, masks: Stack, one: Stack, other: Stack, frame: CropParams) -> np.ndarray:
    """Of each face the skin's colour in one less that in the other, in CIELAB; where the skin is, the selfie says."""

    def part(now: Images, people: Masks, first: Images, second: Images) -> np.ndarray:
        where = skins(now, people, frame)
        return colours(first, where) - colours(second, where)

    return by_parts(part, selfies, masks, one, other)


def apart(difference: np.ndarray) -> Values:
    """How large each difference is."""
    return np.linalg.norm(difference, axis=1)


def along(difference: np.ndarray, one: tuple[int, int, int], other: tuple[int, int, int]) -> Values:
    """How far each difference goes from the other colour to the one: 1 is all the way."""
    first, second = (lab(np.array([[colour]], np.uint8))[0, 0] for colour in (one, other))
    way = first - second
    return difference @ way / (way @ way)


def spread(values: list[float]) -> str:
    """The mean over pairs, and its 95 % interval (Student's t) where there are several."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return f"{mean:.3g}"
    half = margin(float(np.std(values, ddof=1)), len(values))
    return f"{mean:.3g} [{mean - half:.3g}, {mean + half:.3g}]"


def main() -> None:
    """A line for each pair, and one for all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("colours", nargs=2, type=colour_of)
    parser.add_argument("--one", nargs="+", type=Path, required=True)
    parser.add_argument("--other", nargs="+", type=Path, required=True)
    told = parser.parse_args()
    if len(told.one) != len(told.other):
        parser.error(f"{len(told.one)} of the one colour, {len(told.other)} of the other; they are compared in pairs")
    folders = DatasetPaths(*map(Path, ("data/crop", "data/mask", "data/split.csv", "data/augment/recipes.csv")))
    tested, crops, frame = split_ids(folders, "selfies", "test"), Shards(folders.crops), load(CropParams, "crop")

    def asked(shards: Shards) -> LazyImages:
        return LazyImages(tested, lambda ids: load_images(shards, ids))

    selfies, masks, found = asked(crops), load_masks(folders, tested), []
    for first, second in zip(told.one, told.other, strict=True):
        painted = [asked(Shards(path)) for path in (first, second)]
        difference = between(selfies, masks, *painted, frame)
        found.append((float(apart(difference).mean()), float(along(difference, *told.colours).mean())))
        print(f"{first} {second}: apart {found[-1][0]:.3g}, along {found[-1][1]:.3g}")
    far, directed = (list(values) for values in zip(*found, strict=True))
    print(f"{len(tested)} faces, {len(found)} pairs: apart {spread(far)}, along {spread(directed)}")


if __name__ == "__main__":
    main()
