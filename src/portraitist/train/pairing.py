"""Which portrait belongs to which selfie, for methods that learn from pairs."""

import numpy as np
from PIL import Image

from portraitist.core import manifest
from portraitist.core.blend import alpha_composite
from portraitist.core.manifest import Kind
from portraitist.train.batches import DatasetPaths, PersonImages
from portraitist.train.params import PairKind

SOURCE = {"review": "taobao", "folder": "folder"}  # whose pictures may be a photo and the painting that was made of it
LOOK_PX = 16  # what is compared: coarse enough that only pose, hair and colours are seen


class NoPairsError(ValueError):
    """There is no pair to learn from; the message says where pairs come from."""


def find_pairs(kind: PairKind, folders: DatasetPaths) -> dict[str, str]:
    """The portrait of each selfie that has one, both in the part that is trained on.

    `review` are photos beside their paintings, of source taobao; `folder` the pictures of one name in `selfies/pairs`
    and `portraits/pairs` of source folder. `nearest` are no pairs: each selfie is given the portrait most like it.

    Raises:
        NoPairsError: There is none.
    """
    if kind == "nearest":
        return nearest(folders)
    split = manifest.read(folders.split)
    split = split[(split["part"] == "train") & split["pair"].str.startswith(f"{SOURCE[kind]}/")]
    selfies, portraits = (split[split["kind"] == one].set_index("pair")["id"] for one in manifest.KINDS)
    found = {str(selfies[pair]): str(portraits[pair]) for pair in sorted(set(selfies.index) & set(portraits.index))}
    if not found:
        raise NoPairsError(
            f"pairs: {kind}, and {folders.split} holds no pair of source {SOURCE[kind]} to train on; "
            "allowed are review, folder, and nearest, which makes pseudo-pairs"
        )
    return found


def nearest(folders: DatasetPaths) -> dict[str, str]:
    """Each selfie's most similar portrait, by the person on grey and by its outline, both coarse.

    Crops are aligned at eyes and mouth, so what is left of the landmarks is the pose, which the outline tells.
    """
    selfies, portraits = (_seen(folders, kind) for kind in manifest.KINDS)
    others = np.stack([*portraits.values()])
    names = [*portraits]
    return {
        selfie: names[int(np.square(others - one).mean(axis=(1, 2, 3)).argmin())] for selfie, one in selfies.items()
    }


def _seen(folders: DatasetPaths, kind: Kind) -> dict[str, np.ndarray]:
    """Each picture of the train part, small: colour and mask, 0 to 255."""
    people = PersonImages(folders, kind, "train")
    found = {}
    for index, name in enumerate(people.ids):
        picture, mask = people.plain(index)
        planes = [Image.fromarray(part) for part in (alpha_composite(picture, mask, (128, 128, 128)), mask)]
        small = [np.asarray(plane.resize((LOOK_PX, LOOK_PX), Image.Resampling.BOX), np.float32) for plane in planes]
        found[name] = np.dstack(small)
    return found
