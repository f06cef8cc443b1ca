"""Read access to the library of backgrounds: pictures without people, which trainings use as backgrounds."""

from functools import cached_property
from pathlib import Path

from portraitist.core.image_io import decode_png
from portraitist.core.shards import Shards
from portraitist.core.types import Picture

LIBRARY_FOLDER = "rooms"  # folder with the shards of the library, in data/augment


class BackgroundLibrary:
    """Random access to the pictures of the library; the shards are opened at the first access."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, seed: int) -> Picture:
        """Return the picture that the seed selects."""
        return decode_png(self.shards.read(self.ids[seed % len(self.ids)], "png"))

    @cached_property
    def shards(self) -> Shards:
        """The shards of the library, opened at the first access."""
        return Shards(self.folder)

    @cached_property
    def ids(self) -> list[str]:
        """The pictures' ids, sorted."""
        return sorted(self.shards)
