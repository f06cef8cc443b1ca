"""Find pairs of a selfie and a portrait, for methods that are trained on pairs."""

import numpy as np
from PIL import Image

from portraitist.core import manifest
from portraitist.core.blend import alpha_composite
from portraitist.core.manifest import Kind
from portraitist.learning.dataset import DatasetPaths
from portraitist.learning.params import PairKind
from portraitist.train.batches import PersonImages

PAIR_SOURCE = {"review": "taobao", "folder": "folder"}  # source of the pictures for each kind of pair
THUMBNAIL_PX = 16  # height and width at which persons are compared: only pose, hair and colours remain visible
GREY = (128, 128, 128)


class NoPairsError(ValueError):
    """The train part contains no selfie-portrait pairs of the requested kind."""


def find_pairs(kind: PairKind, paths: DatasetPaths) -> dict[str, str]:
    """Pair the selfies of the train part with portraits; return a dictionary from selfie id to portrait id.

    Args:
        kind: "review" pairs a photo with its painting, both from a customer review (source `taobao`). "folder" pairs
            pictures of the same name in `selfies/pairs` and `portraits/pairs` (source `folder`). "nearest" pairs each
            selfie with the most similar portrait, usually of another person (pseudo-pairs).
        paths: the dataset.

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
            f"the method's parameter `pairs` has the value {kind!r}, but the train part of {paths.split} has no pairs "
            f"from source {PAIR_SOURCE[kind]}; add pairs, or set `pairs` to another value: review, folder or nearest "
            "(pseudo-pairs)"
        )
    return pairs


def nearest_pairs(paths: DatasetPaths) -> dict[str, str]:
    """Return a dictionary from the id of each training selfie to the id of the most similar training portrait.

    Similarity is the mean squared difference of thumbnails with four channels: RGB and the mask. Eyes and mouth have
    the same position in all crops, so the outline of the mask mainly shows the pose.
    """
    selfies, portraits = (_thumbnails(paths, kind) for kind in manifest.KINDS)
    candidates, ids = np.stack([*portraits.values()]), [*portraits]
    return {
        selfie: ids[int(np.square(candidates - thumbnail).mean(axis=(1, 2, 3)).argmin())]
        for selfie, thumbnail in selfies.items()
    }


def _thumbnails(paths: DatasetPaths, kind: Kind) -> dict[str, np.ndarray]:
    """Return a dictionary from the id of each training picture to its thumbnail.

    A thumbnail is a float32 array (16, 16, 4), from 0 to 255: RGB with a grey background, and the mask.
    """
    people = PersonImages(paths, kind, "train")
    size = (THUMBNAIL_PX, THUMBNAIL_PX)
    thumbnails = {}
    for index, person in enumerate(people.ids):
        picture, mask = people.original(index)
        layers = [Image.fromarray(array) for array in (alpha_composite(picture, mask, GREY), mask)]
        small = [np.asarray(layer.resize(size, Image.Resampling.BOX), np.float32) for layer in layers]
        thumbnails[person] = np.dstack(small)
    return thumbnails
