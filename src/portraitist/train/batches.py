"""Shards to batches. What a step sees is a function of seed, epoch and step alone, whatever the number of processes."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from portraitist.augment.params import AugmentParams
from portraitist.augment.render import LIBRARY_FOLDER, BackgroundLibrary, RandomTransform, render_recipe
from portraitist.core import manifest
from portraitist.core.image_io import decode_png
from portraitist.core.manifest import Kind
from portraitist.core.shards import Shards
from portraitist.core.types import MaskArray, Picture
from portraitist.learning import distributed
from portraitist.learning.tensors import Batch, Images, Masks, to_images, to_masks

CANNY = (100, 200)  # thresholds; with 5 x 5 dilation and blur the values of all public CartoonGAN ports
EDGE_KERNEL = 5


@dataclass(frozen=True)
class DatasetPaths:
    """What training reads."""

    crops: Path
    masks: Path
    split: Path
    recipes: Path  # beside it lie the rooms that they name


class PersonImages:
    """The persons of one kind in one part of the split: each as it is, and on the backgrounds it was given."""

    def __init__(self, folders: DatasetPaths, kind: Kind, part: str) -> None:
        self.ids = split_ids(folders, kind, part)
        self.crops, self.masks = Shards(folders.crops), Shards(folders.masks)
        self.recipes: dict[str, list[tuple[str, int]]] = {person: [] for person in self.ids}
        for person, kind_of, seed in manifest.read(folders.recipes).itertuples(index=False, name=None):
            if person in self.recipes:
                self.recipes[person].append((kind_of, seed))
        self.rooms = BackgroundLibrary(folders.recipes.parent / LIBRARY_FOLDER)

    def __len__(self) -> int:
        return len(self.ids)

    def plain(self, index: int) -> tuple[Picture, MaskArray]:
        """A person's picture and mask, as they are."""
        person = self.ids[index]
        return decode_png(self.crops.read(person, "png")), decode_png(self.masks.read(person, "png"))

    def on_background(self, index: int, rng: np.random.Generator, light_wrap: float) -> tuple[Picture, MaskArray]:
        """A person and its mask, on a background drawn from its recipes."""
        picture, mask = self.plain(index)
        recipes = self.recipes[self.ids[index]]
        kind, seed = recipes[int(rng.integers(len(recipes)))]
        return render_recipe(picture, mask, kind, seed, light_wrap, self.rooms), mask


def smoothed_edges(picture: Picture) -> Picture:
    """The picture with its edges blurred (Chen et al., CVPR 2018, section 3.2.1): Canny, dilated, Gaussian in there."""
    kernel = np.ones((EDGE_KERNEL, EDGE_KERNEL), np.uint8)
    edges = cv2.dilate(cv2.Canny(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), *CANNY), kernel)
    return np.where(edges[..., None] > 0, cv2.GaussianBlur(picture, (EDGE_KERNEL, EDGE_KERNEL), 0), picture)


class EpochBatches(Dataset[Batch]):
    """One epoch: every selfie once, on one of its backgrounds, each step beside as many portraits.

    With `diverse` the portraits stand on their backgrounds too (for the segmenter); without, on their own. Of several
    processes each gets its share of every step. With `pairs` each selfie that has one comes with its own portrait, both
    turned and lit alike.

    Raises:
        RanksError: The batch cannot be shared out evenly.
    """

    def __init__(
        self,
        folders: DatasetPaths,
        augment: AugmentParams,
        *,
        batch: int,
        seed: int,
        diverse: bool,
        pairs: Mapping[str, str] | None = None,
    ) -> None:
        self.selfies, self.portraits = (
            PersonImages(folders, "selfies", "train"),
            PersonImages(folders, "portraits", "train"),
        )
        self.vary, self.light_wrap = RandomTransform(augment), augment.light_wrap
        self.batch, self.share, self.seed, self.diverse = batch, distributed.local_batch_size(batch), seed, diverse
        places = [{name: place for place, name in enumerate(people.ids)} for people in (self.selfies, self.portraits)]
        self.pairs = [(places[0][one], places[1][other]) for one, other in (pairs or {}).items()]
        self.start(0)

    def start(self, epoch: int) -> None:
        """Shuffle for an epoch. A portrait comes round again only when every other has been seen."""
        self.epoch = epoch
        rng = np.random.default_rng([self.seed, epoch])
        wanted = len(self) * self.batch
        if self.pairs:
            self.selfie_order, self.portrait_order = np.array(self.pairs)[_rounds(len(self.pairs), wanted, rng)].T
            return
        self.selfie_order = _rounds(len(self.selfies), wanted, rng)
        self.portrait_order = _rounds(len(self.portraits), wanted, rng)

    def __len__(self) -> int:
        return max(1, len(self.pairs or self.selfies) // self.batch)

    def __getitem__(self, step: int) -> Batch:
        first = step * self.batch + distributed.rank() * self.share
        places = range(first, first + self.share)
        selfies = [self._varied(self.selfies, 1, int(self.selfie_order[at]), at, diverse=True) for at in places]
        portraits = [self._varied(self.portraits, 2, int(self.portrait_order[at]), at, self.diverse) for at in places]
        return Batch(
            to_images([picture for picture, _ in selfies]),
            to_masks([mask for _, mask in selfies]),
            to_images([picture for picture, _ in portraits]),
            to_masks([mask for _, mask in portraits]),
            to_images([smoothed_edges(picture) for picture, _ in portraits]),
        )

    def _varied(
        self, people: PersonImages, kind: int, index: int, place: int, diverse: bool
    ) -> tuple[Picture, MaskArray]:
        rng = np.random.default_rng([self.seed, self.epoch, kind, place])
        picture, mask = people.on_background(index, rng, self.light_wrap) if diverse else people.plain(index)
        if self.pairs:  # both are varied by one number
            rng = np.random.default_rng([self.seed, self.epoch, 0, place])
        return self.vary(picture, mask, int(rng.integers(2**31)))


def _rounds(count: int, wanted: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """So many indexes below count, in rounds: each comes once before any comes again."""
    return np.concatenate([rng.permutation(count) for _ in range(-(-wanted // count))])[:wanted]


def prefetch(steps: EpochBatches, workers: int, first: int = 0) -> Iterator[Batch]:
    """The steps of the epoch, in order, from the first on, prepared ahead by so many worker processes."""
    order = range(first, len(steps))
    return iter(DataLoader(steps, batch_size=None, sampler=order, num_workers=workers, generator=torch.Generator()))


def load_images(shards: Shards, ids: list[str], ending: str = "png") -> Images:
    """One member of each picture, as images."""
    return to_images([decode_png(shards.read(picture, ending)) for picture in ids])


def masks_of(shards: Shards, ids: list[str], ending: str = "png") -> Masks:
    """One member of each picture, as masks."""
    return to_masks([decode_png(shards.read(picture, ending)) for picture in ids])


def validation_samples(folders: DatasetPaths, count: int) -> tuple[Images, Masks]:
    """The first selfies of the validation part and their masks; of the train part, where the split left none there."""
    for part in ("validation", "train"):
        try:
            ids = split_ids(folders, "selfies", part)[:count]
        except ValueError:
            continue
        return load_images(Shards(folders.crops), ids), masks_of(Shards(folders.masks), ids)
    raise AssertionError("Steps has found selfies to train on")


class LazyImages:
    """Images or masks of many pictures, decoded when a part of them is asked for: memory holds that part only."""

    def __init__(self, ids: list[str], read: Callable[[list[str]], Tensor]) -> None:
        self.ids, self.read = ids, read

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, part: slice, /) -> Tensor:
        return self.read(self.ids[part])


def load_masks(folders: DatasetPaths, ids: list[str]) -> LazyImages:
    """The exact masks if every picture's is known, else the pipeline's own."""
    crops, own = Shards(folders.crops), Shards(folders.masks)
    if all(crops.has(picture, "truth.png") for picture in ids):
        return LazyImages(ids, lambda some: masks_of(crops, some, "truth.png"))
    return LazyImages(ids, lambda some: masks_of(own, some))


def split_ids(folders: DatasetPaths, kind: Kind, part: str) -> list[str]:
    """The pictures of one kind in one part of the split, sorted.

    Raises:
        ValueError: There is none.
    """
    ids = manifest.split_ids(folders.split, kind, part)
    if not ids:
        raise ValueError(f"{folders.split} holds no {kind} in part {part}; more pictures, or other shares in `split`")
    return ids
