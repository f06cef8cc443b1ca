"""Training batches.

A batch depends only on seed, epoch and step, not on earlier batches or on the number of processes. An interrupted
training can therefore resume with the same batches.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

import cv2
import numpy as np
import torch
from jaxtyping import Bool
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from portraitist.augment.library import LIBRARY_FOLDER, BackgroundLibrary
from portraitist.augment.params import AugmentParams
from portraitist.augment.recipes import render_recipe
from portraitist.augment.transforms import RandomTransform
from portraitist.core import manifest
from portraitist.core.blend import alpha_composite
from portraitist.core.image_io import decode_png
from portraitist.core.manifest import Kind
from portraitist.core.shards import Shards
from portraitist.core.types import MaskArray, Picture
from portraitist.learning import distributed
from portraitist.learning.dataset import DatasetPaths, load_images, load_mask_members, split_ids
from portraitist.learning.tensors import CANNY_THRESHOLDS, Batch, Images, Masks, to_images, to_masks

EDGE_KERNEL = 5  # height and width of the dilation and of the Gaussian, in pixels
GREY = (128, 128, 128)  # replaces the background before the edges of a person are detected


class PersonImages:
    """Face crops of selfies or of portraits in one part of the dataset, unchanged or on other backgrounds.

    For each person in the train part, stage `augment` chooses the original background and random other ones. It stores
    each choice as a recipe. This class computes the picture of the person on the background when a batch is loaded.

    Args:
        paths: the dataset.
        kind: "selfies" or "portraits".
        part: "train", "validation" or "test".

    Raises:
        ValueError: this part has no pictures of this kind.
    """

    def __init__(self, paths: DatasetPaths, kind: Kind, part: str) -> None:
        self.ids = split_ids(paths, kind, part)
        self.crops, self.masks = Shards(paths.crops), Shards(paths.masks)
        self.recipes: dict[str, list[tuple[str, int]]] = {person: [] for person in self.ids}
        for person, background, seed in manifest.read(paths.recipes).itertuples(index=False, name=None):
            if person in self.recipes:
                self.recipes[person].append((background, seed))
        self.library = BackgroundLibrary(paths.recipes.parent / LIBRARY_FOLDER)

    def __len__(self) -> int:
        return len(self.ids)

    def original(self, index: int) -> tuple[Picture, MaskArray]:
        """Return the unchanged crop at `index`, and its mask."""
        person = self.ids[index]
        return decode_png(self.crops.read(person, "png")), decode_png(self.masks.read(person, "png"))

    def on_background(self, index: int, rng: np.random.Generator, light_wrap: float) -> tuple[Picture, MaskArray]:
        """Return a picture of a person on one of the backgrounds chosen for this person, and the person's mask.

        Args:
            index: index of the person's crop.
            rng: selects one of the backgrounds.
            light_wrap: strength of the background's light on the edge of the person, from 0 to 1.
        """
        picture, mask = self.original(index)
        recipes = self.recipes[self.ids[index]]
        background, seed = recipes[int(rng.integers(len(recipes)))]
        return render_recipe(picture, mask, background, seed, light_wrap, self.library), mask


def smoothed_edges(picture: Picture) -> Picture:
    """Blur a picture near its edges only, as CartoonGAN does (Chen et al., CVPR 2018, section 3.2.1).

    Canny edges are dilated. Inside the dilated edges, the picture is replaced by a copy with Gaussian blur.
    """
    return np.where(_near_edges(picture), _blurred(picture), picture)


def smoothed_person(picture: Picture, mask: MaskArray) -> Picture:
    """Blur a person near its edges only; the background has no influence on the person.

    Edges are found in the picture with a grey background. The blur is a mean of the pixels, weighted by the mask.
    Pixels that are not near an edge are unchanged, also those of the background.
    """
    weights = mask[..., None].astype(np.float32) / 255
    shares = _blurred(weights)[..., None]
    blurred = _blurred(weights * picture) / np.maximum(shares, np.finfo(np.float32).eps)
    changed = _near_edges(alpha_composite(picture, mask, GREY)) & (shares > 0)
    return np.where(changed, blurred.round().clip(0, 255).astype(np.uint8), picture)


def _near_edges(picture: Picture) -> Bool[np.ndarray, "height width 1"]:
    """Return whether pixels are near a Canny edge: inside the dilated edges."""
    kernel = np.ones((EDGE_KERNEL, EDGE_KERNEL), np.uint8)
    edges = cv2.Canny(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), *CANNY_THRESHOLDS)
    return cv2.dilate(edges, kernel)[..., None] > 0


def _blurred(picture: np.ndarray) -> np.ndarray:
    """Apply a Gaussian blur. As always in OpenCV, a result with one channel has two dimensions."""
    return cv2.GaussianBlur(picture, (EDGE_KERNEL, EDGE_KERNEL), 0)


class EpochBatches(Dataset[Batch]):
    """The batches of one epoch.

    A batch has as many portraits as selfies. Each selfie is placed on one of the backgrounds that stage `augment`
    listed for this selfie.

    If there are enough selfies for one or more batches, no selfie is used twice. Selfies that remain after the last
    full batch are left out. If there are too few selfies for one batch, the epoch has one batch, in which selfies are
    repeated.

    Args:
        paths: the dataset.
        augment: random transforms of the pictures.
        batch_size: number of selfies per step, in all processes together; each process loads an equal share. The
            number of portraits is the same.
        seed: seed of the order, the backgrounds and the transforms.
        diverse: put portraits on other backgrounds as well; otherwise, they keep their own.
        pairs: dictionary from selfie id to portrait id. If given, only these selfies are used, each with its own
            portrait. Both get the same random transform.

    Raises:
        DistributedError: `batch_size` is not a multiple of the number of processes.
        ValueError: the train part has no selfies or no portraits.
    """

    def __init__(
        self,
        paths: DatasetPaths,
        augment: AugmentParams,
        *,
        batch_size: int,
        seed: int,
        diverse: bool,
        pairs: Mapping[str, str] | None = None,
    ) -> None:
        self.selfies, self.portraits = (
            PersonImages(paths, "selfies", "train"),
            PersonImages(paths, "portraits", "train"),
        )
        self.transform, self.light_wrap = RandomTransform(augment), augment.light_wrap
        self.batch_size, self.local_batch_size = batch_size, distributed.local_batch_size(batch_size)
        self.rank = distributed.rank()  # stored, because worker processes of the DataLoader may have no process group
        self.seed, self.diverse = seed, diverse
        selfie_index, portrait_index = (
            {person: index for index, person in enumerate(people.ids)} for people in (self.selfies, self.portraits)
        )
        self.pairs = [(selfie_index[selfie], portrait_index[portrait]) for selfie, portrait in (pairs or {}).items()]
        self.start(0)

    def start(self, epoch: int) -> None:
        """Shuffle the pictures for an epoch. No portrait is repeated before all others have been used."""
        self.epoch = epoch
        rng = np.random.default_rng([self.seed, epoch])
        length = len(self) * self.batch_size
        if self.pairs:
            self.selfie_order, self.portrait_order = np.array(self.pairs)[_cycles(len(self.pairs), length, rng)].T
            return
        self.selfie_order = _cycles(len(self.selfies), length, rng)
        self.portrait_order = _cycles(len(self.portraits), length, rng)

    def __len__(self) -> int:
        return max(1, len(self.pairs or self.selfies) // self.batch_size)

    def __getitem__(self, step: int) -> Batch:
        first = step * self.batch_size + self.rank * self.local_batch_size
        positions = range(first, first + self.local_batch_size)
        selfies = [self._example(self.selfies, 1, int(self.selfie_order[at]), at, diverse=True) for at in positions]
        portraits = [
            self._example(self.portraits, 2, int(self.portrait_order[at]), at, self.diverse) for at in positions
        ]
        return Batch(
            to_images([picture for picture, _ in selfies]),
            to_masks([mask for _, mask in selfies]),
            to_images([picture for picture, _ in portraits]),
            to_masks([mask for _, mask in portraits]),
            to_images([smoothed_edges(picture) for picture, _ in portraits]),
            to_images([smoothed_person(picture, mask) for picture, mask in portraits]),
        )

    def _example(
        self, people: PersonImages, stream: int, index: int, position: int, diverse: bool
    ) -> tuple[Picture, MaskArray]:
        rng = np.random.default_rng([self.seed, self.epoch, stream, position])
        picture, mask = people.on_background(index, rng, self.light_wrap) if diverse else people.original(index)
        if self.pairs:  # the same seed for selfie and portrait, so that both get the same transform
            rng = np.random.default_rng([self.seed, self.epoch, 0, position])
        return self.transform(picture, mask, int(rng.integers(2**31)))


def _cycles(count: int, length: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return `length` integers from 0 to `count` - 1: random permutations in sequence, the last of them cut off."""
    return np.concatenate([rng.permutation(count) for _ in range(-(-length // count))])[:length]


def prefetch(batches: EpochBatches, num_workers: int, first: int = 0) -> Iterator[Batch]:
    """Yield the batches of an epoch in order; worker processes load them ahead.

    Workers send batches as arrays through pipes. Tensors would use shared memory in /dev/shm, which has only 64 MB
    in some containers. If /dev/shm is full, torch loses the batch and waits forever.

    Args:
        batches: the epoch.
        num_workers: number of worker processes; 0 loads batches in this process.
        first: step of the first batch to yield.
    """
    steps, seeds = range(first, len(batches)), torch.Generator()
    loader = DataLoader(
        batches, batch_size=None, sampler=steps, num_workers=num_workers, generator=seeds, collate_fn=_to_arrays
    )
    return map(_to_batch, loader)


def _to_arrays(batch: Any) -> list[np.ndarray]:
    return [getattr(batch, field.name).numpy() for field in fields(Batch)]


def _to_batch(arrays: list[np.ndarray]) -> Batch:
    return Batch(*map(torch.from_numpy, arrays))


def validation_samples(paths: DatasetPaths, count: int) -> tuple[Images, Masks]:
    """Load the first `count` validation selfies with their masks; training selfies if there are no validation selfies.

    Raises:
        ValueError: there are neither validation nor training selfies.
    """
    try:
        ids = split_ids(paths, "selfies", "validation")
    except ValueError:
        ids = split_ids(paths, "selfies", "train")
    return load_images(Shards(paths.crops), ids[:count]), load_mask_members(Shards(paths.masks), ids[:count])
