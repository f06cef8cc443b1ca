"""Paint face crops with a trained method in PyTorch: in stage `paint`, and as the reference for exported models."""

import json
import random
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from portraitist.core import manifest
from portraitist.core.files import write_file
from portraitist.core.image_io import decode_png, encode_png
from portraitist.core.shards import Shards, ShardWriter
from portraitist.core.types import MaskArray, Picture
from portraitist.learning.checkpoint import CheckpointError, load_checkpoint
from portraitist.learning.flops import inference_cost
from portraitist.learning.method import Method
from portraitist.learning.params import StyleChoice
from portraitist.learning.tensors import to_images, to_masks, to_pictures
from portraitist.nets.arbitrary_style import Conditional, StylePredictor, Styles

BATCH_SIZE = 16  # pictures that are painted at the same time
COST_FILE = "cost.json"


def load_method(path: Path) -> tuple[Method, dict[str, Any]]:
    """Load the model file of a method; return the method and its metadata. Limit torch to one thread.

    Raises:
        CheckpointError: the file is missing or is not a Portraitist model, or the model does not paint.
    """
    torch.set_num_threads(1)  # with several threads, the order of summation depends on their number
    trainable, metadata = load_checkpoint(path)
    if not isinstance(trainable, Method):
        raise CheckpointError(
            f"{path}: a model of {metadata['method']} cannot paint; use the model of a method in section `methods` of "
            "params.yaml"
        )
    return trainable, metadata


def paint_crops(
    method: Method, pictures: Sequence[Picture], masks: Sequence[MaskArray], style: Styles | None = None
) -> list[Picture]:
    """Return the stylized face crops.

    Args:
        method: a trained method.
        pictures: face crops.
        masks: masks of the persons in the crops.
        style: one style vector for all crops, (1, 100); `method` must be a `Conditional`. If None, `method.paint` is
            called, which takes no style.
    """
    stylized: list[Picture] = []
    for start in range(0, len(pictures), BATCH_SIZE):
        part = slice(start, start + BATCH_SIZE)
        images, person_masks = to_images(list(pictures[part])), to_masks(list(masks[part]))
        if style is None:
            stylized += to_pictures(method.paint(images, person_masks))
        else:
            assert isinstance(method, Conditional)
            stylized += to_pictures(method.paint_in_style(images, person_masks, style.expand(len(images), -1)))
    return stylized


class PortraitStyles:
    """Choose a random training portrait for each selfie, and compute the portrait's style vector.

    Args:
        method: the method that will paint in these styles.
        pretrained: output of stage `weights`, which contains the style predictor.
        crops: output of stage `crop`.
        masks: output of stage `mask`.
        split: data/split.csv, which assigns the faces to the training, validation and test parts.
    """

    def __init__(self, method: Conditional, pretrained: Path, crops: Path, masks: Path, split: Path) -> None:
        self.method, self.predictor = method, StylePredictor(pretrained)
        self.crops, self.masks = Shards(crops), Shards(masks)
        self.portraits = manifest.split_ids(split, "portraits", "train")
        self.computed: dict[str, Styles] = {}  # style vectors by portrait id

    def draw(self, selfie: str) -> Styles:
        """Return the style vector, (1, 100), of a random portrait; equal selfie ids always get the same portrait."""
        portrait = random.Random(selfie).choice(self.portraits)
        if portrait not in self.computed:
            images = to_images([decode_png(self.crops.read(portrait, "png"))])
            masks = to_masks([decode_png(self.masks.read(portrait, "png"))])
            self.computed[portrait] = self.predictor(self.method.style_images(images, masks))
        return self.computed[portrait]


def paint_test_selfies(
    model: Path,
    crops: Path,
    masks: Path,
    split: Path,
    on_backgrounds: Path,
    pretrained: Path,
    dest: Path,
    *,
    style: StyleChoice,
    backgrounds: Collection[str],
) -> None:
    """Stylize each test selfie on its own background and on each test background; write the avatars.

    Also write the number of operations that one image needs, and the size of the model; see `inference_cost`.

    Args:
        model: model file of the method.
        crops: output of stage `crop`.
        masks: output of stage `mask`.
        split: data/split.csv, which assigns the faces to the training, validation and test parts.
        on_backgrounds: output of stage `augment`, which contains the test selfies on each test background.
        pretrained: output of stage `weights`.
        dest: folder to create. It contains tar shards with `<id>.png` and `<id>.<background>.png` for each selfie, and
            cost.json.
        style: "house" to paint in the mean style of the training portraits; "portraits" to paint each selfie in the
            style of a random training portrait. Methods that take no style ignore this argument.
        backgrounds: names of the test backgrounds.

    Raises:
        CheckpointError: the model file is missing or is not a Portraitist model, or the model does not paint.
    """
    method, metadata = load_method(model)
    pictures, person_masks, composites = Shards(crops), Shards(masks), Shards(on_backgrounds)
    styles = None
    if style == "portraits" and isinstance(method, Conditional):
        styles = PortraitStyles(method, pretrained, crops, masks, split)
    endings = ["png", *(f"{name}.png" for name in backgrounds)]
    with ShardWriter(dest, composites.shard_size) as shards:
        for selfie in tqdm(manifest.split_ids(split, "selfies", "test"), f"paint {model.stem}", disable=None):
            inputs = [decode_png(pictures.read(selfie, "png"))]
            inputs += [decode_png(composites.read(selfie, f"{name}.png")) for name in backgrounds]
            input_masks = [decode_png(person_masks.read(selfie, "png"))]
            input_masks += [decode_png(composites.read(selfie, f"{name}.mask.png")) for name in backgrounds]
            stylized = paint_crops(method, inputs, input_masks, styles.draw(selfie) if styles else None)
            shards.add(selfie, dict(zip(endings, map(encode_png, stylized), strict=True)))
    cost = inference_cost(method.paint, method.saved_state(), metadata["crop"]["size_px"])
    write_file(dest / COST_FILE, json.dumps(cost) + "\n")
