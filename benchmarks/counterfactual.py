"""Measure how the background of the training portraits changes the colour of stylized skin.

Two trainings of a method are compared that differ only in the background colour of the portraits.

    python -m benchmarks.counterfactual '#c82828' '#2848c8' --one RED_1 RED_2 --other BLUE_1 BLUE_2

RED_1 is the folder data/paint/<method> of a clone whose portraits had the first background colour (see
benchmarks/recolour.py). BLUE_1 is that of a clone with the second colour and the same seed, and so on for further
seeds. Run the command in a checkout in which `dvc repro augment` has run. It prints two values:

- distance: mean distance (Delta E, CIE 1976) between the skin colours that both trainings give the same face. A part is
  random, because any change of the data changes the result of a GAN's training.
- bleed: the part of this difference that points from the second background colour to the first, divided by the distance
  of these colours. It is 0 if the background has no effect, because random differences have no direction.
"""

import argparse
from pathlib import Path

import numpy as np

from benchmarks.paths import DATASET
from benchmarks.recolour import parse_colour
from benchmarks.seeds import half_width
from portraitist.core.params import load
from portraitist.core.shards import Shards
from portraitist.crop.params import CropParams
from portraitist.evaluate.data import ImageSequence, map_batches
from portraitist.evaluate.registry import Values
from portraitist.evaluate.skin import mean_colours, skin_masks, to_lab
from portraitist.learning.dataset import LazyImages, load_images, load_masks, split_ids
from portraitist.learning.tensors import Images, Masks

Colour = tuple[int, int, int]


def skin_differences(
    selfies: ImageSequence, masks: ImageSequence, first: ImageSequence, second: ImageSequence, crop_params: CropParams
) -> np.ndarray:
    """Return each face's skin colour in `first` minus that in `second` (CIELAB); the selfie locates the skin."""

    def differences(selfies: Images, masks: Masks, first: Images, second: Images) -> np.ndarray:
        regions = skin_masks(selfies, masks, crop_params)
        return mean_colours(first, regions) - mean_colours(second, regions)

    return map_batches(differences, selfies, masks, first, second)


def distances(differences: np.ndarray) -> Values:
    """Return the length of each difference, which is the distance of the two colours."""
    return np.linalg.norm(differences, axis=1)


def bleed(differences: np.ndarray, first: Colour, second: Colour) -> Values:
    """Return the component of each difference toward the first colour, as a share of the distance of both colours."""
    lab_first, lab_second = (to_lab(np.array([[colour]], np.uint8))[0, 0] for colour in (first, second))
    direction = lab_first - lab_second
    return differences @ direction / (direction @ direction)


def format_mean(values: list[float]) -> str:
    """Return the mean over pairs, with its 95 % interval (Student's t) if there are several."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return f"{mean:.3g}"
    half = half_width(float(np.std(values, ddof=1)), len(values))
    return f"{mean:.3g} [{mean - half:.3g}, {mean + half:.3g}]"


def main() -> None:
    """Print the results of each pair and their means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("colours", nargs=2, type=parse_colour)
    parser.add_argument("--one", nargs="+", type=Path, required=True, help="data/paint/<method> for the first colour")
    parser.add_argument("--other", nargs="+", type=Path, required=True, help="the same for the second colour")
    args = parser.parse_args()
    if len(args.one) != len(args.other):
        parser.error(f"--one has {len(args.one)} folders, --other {len(args.other)}; they are compared in pairs")
    ids, crops, crop_params = split_ids(DATASET, "selfies", "test"), Shards(DATASET.crops), load(CropParams, "crop")

    def read(shards: Shards) -> LazyImages:
        return LazyImages(ids, lambda batch: load_images(shards, batch))

    selfies, masks, rows = read(crops), load_masks(DATASET, ids), []
    for first, second in zip(args.one, args.other, strict=True):
        stylized = [read(Shards(path)) for path in (first, second)]
        differences = skin_differences(selfies, masks, *stylized, crop_params)
        rows.append((float(distances(differences).mean()), float(bleed(differences, *args.colours).mean())))
        print(f"{first} {second}: distance {rows[-1][0]:.3g}, bleed {rows[-1][1]:.3g}")
    all_distances, all_bleeds = (list(values) for values in zip(*rows, strict=True))
    print(
        f"{len(ids)} faces, {len(rows)} pairs: distance {format_mean(all_distances)}, bleed {format_mean(all_bleeds)}"
    )


if __name__ == "__main__":
    main()
