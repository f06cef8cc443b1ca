"""Pairs of a selfie and a portrait, for methods that need paired training data."""

import numpy as np
from PIL import Image

from portraitist.core import manifest
from portraitist.core.blend import alpha_composite
from portraitist.core.manifest import Kind
from portraitist.learning.dataset import DatasetPaths
from portraitist.learning.params import PairKind
from portraitist.train.batches import PersonImages

PAIR_SOURCE = {"review": "taobao", "folder": "folder"}  # the source that has a photo and a painting of the same person
THUMBNAIL_PX = 16  # size at which persons are compared: only pose, hair and colours remain
GREY = (128, 128, 128)


class NoPairsError(ValueError):
    """The training data contains no pairs of the requested kind."""


def find_pairs(kind: PairKind, paths: DatasetPaths) -> dict[str, str]:
    """Return the portrait id of each paired selfie id; both are in the train part.

    Kind `review` pairs photos and paintings from customer reviews (source `taobao`); `folder` pairs pictures of the
    same name in `selfies/pairs` and `portraits/pairs` (source `folder`); `nearest` pairs each selfie with the most
    similar portrait (pseudo-pairs).

    Raises:
        NoPairsError: the train part has no such pairs.
    """
    if kind == "nearest":
        return nearest_pairs(paths)
    split = manifest.read(paths.split)
    split = split[(split["part"] == "train") & split["pair"].str.startswith(f"{PAIR_SOURCE[kind]}/")]
    selfies, portraits = (split[split["kind"] == side].set_index("pair")["id"] for side in manifest.KINDS)
    pairs = {str(selfies[name]): str(portraits[name]) for name in sorted(set(selfies.index) & set(portraits.index))}
    if not pairs:
        raise NoPairsError(
            f"pairs is {kind!r}, but the train part of {paths.split} has no pairs of source {PAIR_SOURCE[kind]}; "
            "add some, or set pairs to review, folder or nearest (pseudo-pairs)"
        )
    return pairs


def nearest_pairs(paths: DatasetPaths) -> dict[str, str]:
    """Return the most similar portrait of each selfie, by the mean squared difference of thumbnails (colour and mask).

    All crops are aligned at eyes and mouth, so the outline mainly reflects the pose.
    """
    selfies, portraits = (_thumbnails(paths, kind) for kind in manifest.KINDS)
    candidates, ids = np.stack([*portraits.values()]), [*portraits]
    return {
        selfie: ids[int(np.square(candidates - thumbnail).mean(axis=(1, 2, 3)).argmin())]
        for selfie, thumbnail in selfies.items()
    }


def _thumbnails(paths: DatasetPaths, kind: Kind) -> dict[str, np.ndarray]:
    """Return each training picture as an array of THUMBNAIL_PX x THUMBNAIL_PX x 4: RGB on grey and mask, 0 to 255."""
    people = PersonImages(paths, kind, "train")
    size = (THUMBNAIL_PX, THUMBNAIL_PX)
    thumbnails = {}
    for index, person in enumerate(people.ids):
        picture, mask = people.original(index)
        layers = [Image.fromarray(array) for array in (alpha_composite(picture, mask, GREY), mask)]
        small = [np.asarray(layer.resize(size, Image.Resampling.BOX), np.float32) for layer in layers]
        thumbnails[person] = np.dstack(small)
    return thumbnails
