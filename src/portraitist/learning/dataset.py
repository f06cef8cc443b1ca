"""Load the pictures in one part of the dataset (train, validation or test), and their masks, as tensors."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from portraitist.core import manifest
from portraitist.core.image_io import decode_png
from portraitist.core.manifest import Kind
from portraitist.core.shards import Shards
from portraitist.learning.tensors import Images, Masks, to_images, to_masks


@dataclass(frozen=True)
class DatasetPaths:
    """Input paths of training and evaluation: outputs of earlier pipeline stages."""

    crops: Path  # folder of tar shards with the face crops, written by stage `crop`
    masks: Path  # folder of tar shards with the masks of persons, written by stage `mask`
    split: Path  # CSV with the part of each picture: train, validation or test
    # CSV of stage `augment` with the backgrounds for each person; the same folder contains the background library
    recipes: Path


class LazyImages:
    """A sequence of images or masks that are decoded each time the sequence is sliced.

    Memory use therefore does not grow with the length of the sequence.

    Args:
        ids: ids of the pictures.
        read: function from a list of ids to a tensor with the images or masks of these ids.
    """

    def __init__(self, ids: list[str], read: Callable[[list[str]], Tensor]) -> None:
        self.ids, self.read = ids, read

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, part: slice, /) -> Tensor:
        return self.read(self.ids[part])


def split_ids(paths: DatasetPaths, kind: Kind, part: str) -> list[str]:
    """Return the sorted ids of all selfies, or of all portraits, in one part of the dataset.

    Args:
        paths: the dataset; only `paths.split` is read.
        kind: "selfies" or "portraits".
        part: "train", "validation" or "test".

    Raises:
        ValueError: this part has no pictures of this kind.
    """
    ids = manifest.split_ids(paths.split, kind, part)
    if not ids:
        raise ValueError(
            f"{paths.split}: no {kind} in part {part!r}; add pictures, or change split.train and split.validation"
        )
    return ids


def load_images(shards: Shards, ids: list[str], ending: str = "png") -> Images:
    """Load the file `<id>.<ending>` of each picture from the shards; return images in [-1, 1]."""
    return to_images([decode_png(shards.read(picture, ending)) for picture in ids])


def load_masks(paths: DatasetPaths, ids: list[str]) -> LazyImages:
    """Return the masks of the persons in the pictures with the given ids, in [0, 1].

    Pictures that a program rendered have exact masks. If all given pictures have exact masks, the exact masks are
    returned. Otherwise, the masks that stage `mask` computed are returned for all pictures.
    """
    crops, masks = Shards(paths.crops), Shards(paths.masks)
    if all(crops.has(picture, "truth.png") for picture in ids):
        return LazyImages(ids, lambda part: load_mask_members(crops, part, "truth.png"))
    return LazyImages(ids, lambda part: load_mask_members(masks, part))


def load_mask_members(shards: Shards, ids: list[str], ending: str = "png") -> Masks:
    """Load the file `<id>.<ending>` of each picture from the shards; return masks in [0, 1]."""
    return to_masks([decode_png(shards.read(picture, ending)) for picture in ids])
