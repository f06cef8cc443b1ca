"""A small dataset on disk in which each picture has its own grey level, and helpers that interrupt trainings."""

from pathlib import Path

import numpy as np
from toys import NoiseBatches

from portraitist.core import manifest
from portraitist.core.image_io import encode_png
from portraitist.core.shards import ShardWriter
from portraitist.learning.dataset import DatasetPaths
from portraitist.train.resume import Checkpointer

SIDE = 32
KINDS = ("selfies", "portraits")
COUNTS = {"train": 5, "validation": 1, "test": 2}


def picture_id(kind: str, part: str, number: int) -> str:
    """Return an id that contains number, kind and part of a picture (training, validation or test)."""
    return f"{number:08x}{KINDS.index(kind):04x}{list(COUNTS).index(part):04x}"


ALL_IDS = [
    picture_id(kind, part, number) for kind in KINDS for part, count in COUNTS.items() for number in range(count)
]


def grey_of(picture: str) -> int:
    """Return the grey level of a picture, which no other picture has."""
    return 8 + 15 * ALL_IDS.index(picture)


def mask_of(picture: str) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[6 + ALL_IDS.index(picture) % 5 :, 9:22] = 255
    return mask


def write_dataset(folder: Path) -> DatasetPaths:
    """Write crops, masks, split and recipes; pictures with number 0 also have an exact mask, the inverted mask."""
    with ShardWriter(folder / "crop", 6) as crops, ShardWriter(folder / "mask", 6) as masks:
        for picture in ALL_IDS:
            members = {"png": encode_png(np.full((SIDE, SIDE, 3), grey_of(picture), np.uint8))}
            if picture.startswith("00000000"):
                members["truth.png"] = encode_png(255 - mask_of(picture))
            crops.add(picture, members)
            masks.add(picture, {"png": encode_png(mask_of(picture))})
    rows = [
        {"id": picture_id(kind, part, number), "kind": kind, "part": part}
        for kind in KINDS
        for part, count in COUNTS.items()
        for number in reversed(range(count))
    ]
    manifest.write(rows, folder / "split.csv", ["id", "kind", "part"])
    recipes = [{"id": picture, "background": "own", "seed": 7} for picture in ALL_IDS for _ in range(2)]
    manifest.write(recipes, folder / "recipes.csv", ["id", "background", "seed"])
    return DatasetPaths(*(folder / name for name in ("crop", "mask", "split.csv", "recipes.csv")))


class KilledError(Exception):
    """Raised instead of killing the process: everything that was not saved is lost."""


class Interrupted(NoiseBatches):
    """Batches of noise; loading the batch `at` (epoch, step) raises `KilledError`."""

    def __init__(self, at: tuple[int, int], count: int = 3) -> None:
        super().__init__(count)
        self.at = at  # epoch and step

    def __getitem__(self, step):
        if (self.epoch, step) == self.at:
            raise KilledError
        return super().__getitem__(step)


def checkpointer_in(folder, monkeypatch, every_s=0.0):
    """Return a checkpointer that saves below a folder, every `every_s` seconds; by default after every step."""
    monkeypatch.setenv("DVC_ROOT", str(folder))
    monkeypatch.setattr(Checkpointer, "every_s", every_s)
    return Checkpointer("train", "0123")
