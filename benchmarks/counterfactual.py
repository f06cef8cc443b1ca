"""Does the portraits' background reach the faces? Two trainings that differ in it alone, on the same selfies.

    python -m benchmarks.counterfactual RED/data/paint/cartoongan BLUE/data/paint/cartoongan

Each from a checkout where `dvc repro` has run, one with the portraits as they are, one with the same portraits on
another background. The mean distance (Delta E, CIE 1976) of painted skin between the two, face by face: what remains
when all but the background is equal. Two seeds of one training say how much of it is chance.
"""

import argparse
from pathlib import Path

import numpy as np

from portraitist.bootstrap import interval
from portraitist.dataset import Asked, Folders, best_masks, ids_of, images_of
from portraitist.evaluate import Stack, Values, by_parts
from portraitist.evaluate._skin import colours, skins
from portraitist.images import Images, Masks
from portraitist.params import CropParams, load
from portraitist.shards import Shards

RESAMPLINGS = 1000


def apart(selfies: Stack, masks: Stack, one: Stack, other: Stack, frame: CropParams) -> Values:
    """Of each face; where the skin is, the selfie says."""

    def part(now: Images, people: Masks, first: Images, second: Images) -> np.ndarray:
        where = skins(now, people, frame)
        return np.linalg.norm(colours(first, where) - colours(second, where), axis=1)

    return by_parts(part, selfies, masks, one, other)


def main() -> None:
    """The mean and its interval over faces."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("one", type=Path)
    parser.add_argument("other", type=Path)
    told = parser.parse_args()
    folders = Folders(*map(Path, ("data/crop", "data/mask", "data/split.csv", "data/augment/recipes.csv")))
    tested, crops = ids_of(folders, "selfies", "test"), Shards(folders.crops)

    def asked(shards: Shards) -> Asked:
        return Asked(tested, lambda ids: images_of(shards, ids))

    selfies, painted = asked(crops), [asked(Shards(path)) for path in (told.one, told.other)]
    values = apart(selfies, best_masks(folders, tested), *painted, load(CropParams, "crop"))
    drawn = np.random.default_rng(0).integers(len(values), size=(RESAMPLINGS, len(values)))
    low, high = interval(float(values.mean()), values[drawn].mean(axis=1), len(values))
    print(f"{len(values)} faces: painted skin {values.mean():.3g} [{low:.3g}, {high:.3g}] apart (Delta E)")


if __name__ == "__main__":
    main()
