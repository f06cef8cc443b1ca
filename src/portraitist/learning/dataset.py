"""Load the pictures and masks of one part of the split as tensors."""

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
    """Input paths of training and evaluation."""

    crops: Path
    masks: Path
    split: Path
    recipes: Path  # CSV in the folder that also contains the background library


class LazyImages:
    """A sequence of images or masks that is decoded on slicing, so memory use does not depend on its length."""

    def __init__(self, ids: list[str], read: Callable[[list[str]], Tensor]) -> None:
        self.ids, self.read = ids, read

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, part: slice, /) -> Tensor:
        return self.read(self.ids[part])


def split_ids(paths: DatasetPaths, kind: Kind, part: str) -> list[str]:
    """Return the sorted ids of all pictures of one kind in one part of the split.

    Raises:
        ValueError: this part has no pictures of this kind.
    """
    ids = manifest.split_ids(paths.split, kind, part)
    if not ids:
        raise ValueError(f"{paths.split}: no {kind} in part {part!r}; add pictures, or change the shares in `split`")
    return ids


def load_images(shards: Shards, ids: list[str], ending: str = "png") -> Images:
    """Load one PNG member of each picture as images."""
    return to_images([decode_png(shards.read(picture, ending)) for picture in ids])


def load_masks(paths: DatasetPaths, ids: list[str]) -> LazyImages:
    """Return the exact masks if all the pictures have one, otherwise the masks that stage `mask` computed."""
    crops, masks = Shards(paths.crops), Shards(paths.masks)
    if all(crops.has(picture, "truth.png") for picture in ids):
        return LazyImages(ids, lambda part: load_mask_members(crops, part, "truth.png"))
    return LazyImages(ids, lambda part: load_mask_members(masks, part))


def load_mask_members(shards: Shards, ids: list[str], ending: str = "png") -> Masks:
    """Load one PNG member of each picture as masks."""
    return to_masks([decode_png(shards.read(picture, ending)) for picture in ids])
