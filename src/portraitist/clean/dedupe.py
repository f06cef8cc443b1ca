"""Near-duplicates: pictures whose difference hashes are close and whose grey levels correlate.

Measured on 451 photographs and 358 paintings, all different: a hash distance of up to 8 bits alone matches 55 pairs of
photographs and 24 of paintings; together with a correlation of at least .97, 0 and 11. Both criteria together find 91
to 100 % of the copies (JPEG at quality 60, half size, with a border).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from tempfile import TemporaryFile

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from portraitist.clean.decode import BOX, HASH_SIDE, CleanPicture, hash_from_levels, hash_levels

THUMBNAIL_SIDE = 16
BORDER_SEARCH_PX = 256  # the picture is scaled down to this before borders are searched
BORDER_TOLERANCE = 16  # grey levels of 255: allows for JPEG ringing next to an edge
BORDER_SHARE = 0.98  # share of a line's pixels that must have its colour; the others may be ringing and dust

Thumbnail = UInt8[np.ndarray, "16 16"]


@dataclass(frozen=True)
class Fingerprint:
    """The data by which pictures are compared: the 8 x 9 grey levels of the difference hash, and a thumbnail."""

    levels: UInt8[np.ndarray, "8 9"]
    thumbnail: Thumbnail

    @classmethod
    def of(cls, grey: Image.Image) -> "Fingerprint":
        """Compute the fingerprint of a greyscale picture."""
        return cls(hash_levels(grey), np.asarray(grey.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), BOX)))

    @classmethod
    def parse_all(cls, data: bytes) -> "list[Fingerprint]":
        """Parse fingerprints that `to_bytes` returned, one after the other."""
        count = HASH_SIDE * (HASH_SIDE + 1)
        rows = np.frombuffer(data, np.uint8).reshape(-1, count + THUMBNAIL_SIDE**2)
        return [cls(row[:count].reshape(HASH_SIDE, -1), row[count:].reshape(THUMBNAIL_SIDE, -1)) for row in rows]

    def to_bytes(self) -> bytes:
        """Return levels and thumbnail as bytes."""
        return self.levels.tobytes() + self.thumbnail.tobytes()

    def mirrored(self) -> "Fingerprint":
        """Return the fingerprint of the mirrored picture."""
        return Fingerprint(self.levels[:, ::-1], self.thumbnail[:, ::-1])

    @property
    def dhash(self) -> int:
        """The difference hash."""
        return hash_from_levels(self.levels)


def fingerprints(cleaned: CleanPicture) -> list[Fingerprint]:
    """Return the fingerprint of the picture, and of the picture without its border if it has one."""
    grey = cleaned.grey()
    inner = without_border(grey)
    return [Fingerprint.of(grey)] + ([Fingerprint.of(inner)] if inner is not None else [])


def without_border(grey: Image.Image) -> Image.Image | None:
    """Return the picture, scaled down, without border lines of uniform grey; None if there are none."""
    small = grey.copy()
    small.thumbnail((BORDER_SEARCH_PX, BORDER_SEARCH_PX), BOX)
    inner, found = np.asarray(small, np.int16), True
    while found:
        found = False
        for _ in range(4):  # rotated by 90 degrees each time, so that each side is on top once
            uniform = (abs(inner - np.median(inner[0])) <= BORDER_TOLERANCE).mean(axis=1) >= BORDER_SHARE
            lines = 0 if uniform.all() else int(np.argmin(uniform))
            if lines and len(inner) - lines >= THUMBNAIL_SIDE:
                inner, found = inner[lines:], True
            inner = np.rot90(inner)
    if inner.size == small.width * small.height:
        return None
    return Image.fromarray(np.ascontiguousarray(inner).astype(np.uint8))


def correlation(first: Thumbnail, second: Thumbnail) -> float:
    """Return Pearson's correlation, which is invariant to brightness and contrast; 0 if a thumbnail is blank."""
    a, b = (thumbnail.ravel() - thumbnail.mean(dtype=np.float32) for thumbnail in (first, second))
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms else 0.0


class SeenPictures:
    """Fingerprints of the pictures kept so far, searched linearly in numpy.

    Two pictures are near-duplicates if their hashes differ in at most max_hamming_distance of 64 bits and their
    thumbnails have a correlation of at least min_correlation. Hashes and ids are in memory; thumbnails, few of which
    are compared, in a temporary file.
    """

    def __init__(self, max_hamming_distance: int, min_correlation: float) -> None:
        self.max_hamming_distance, self.min_correlation = max_hamming_distance, min_correlation
        self._ids: list[str] = []
        self._borderless: list[bool] = []
        self._hashes = np.zeros(256, np.uint64)
        self._thumbnails = _thumbnails_on_disk(256)

    def __len__(self) -> int:
        return len(self._ids)

    def find_or_add(self, picture: str, prints: Sequence[Fingerprint]) -> tuple[str, str]:
        """Return the id of a near-duplicate and its relation: "near", "trimmed" (one has a border) or "mirrored".

        If there is none, add the picture and return empty strings. `prints` are the result of `fingerprints`.
        """
        for mirrored in (False, True):
            for number, fingerprint in enumerate(prints):
                index = self._find(fingerprint.mirrored() if mirrored else fingerprint)
                if index is not None:
                    trimmed = bool(number) or self._borderless[index]
                    return self._ids[index], "mirrored" if mirrored else "trimmed" if trimmed else "near"
        for number, fingerprint in enumerate(prints):
            self._add(picture, bool(number), fingerprint)
        return "", ""

    def _find(self, fingerprint: Fingerprint) -> int | None:
        distances = np.bitwise_count(self._hashes[: len(self._ids)] ^ np.uint64(fingerprint.dhash))
        for index in map(int, np.flatnonzero(distances <= self.max_hamming_distance)):
            if correlation(self._thumbnails[index], fingerprint.thumbnail) >= self.min_correlation:
                return index
        return None

    def _add(self, picture: str, borderless: bool, fingerprint: Fingerprint) -> None:
        count = len(self._ids)
        if count == len(self._hashes):
            self._hashes = np.concatenate([self._hashes, np.zeros_like(self._hashes)])
            larger = _thumbnails_on_disk(2 * count)
            larger[:count] = self._thumbnails
            self._thumbnails = larger
        self._hashes[count], self._thumbnails[count] = fingerprint.dhash, fingerprint.thumbnail
        self._ids.append(picture)
        self._borderless.append(borderless)


def _thumbnails_on_disk(count: int) -> np.ndarray:
    with TemporaryFile() as file:
        return np.memmap(file, np.uint8, "w+", shape=(count, THUMBNAIL_SIDE, THUMBNAIL_SIDE))
