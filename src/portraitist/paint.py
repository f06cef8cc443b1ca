"""Paint crops with a trained method in PyTorch: the code of stage `paint`, and the reference for exported models."""

import json
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
from portraitist.learning.tensors import to_images, to_masks, to_pictures

BATCH_SIZE = 16  # pictures in memory at a time
COST_FILE = "cost.json"


def load_method(path: Path) -> tuple[Method, dict[str, Any]]:
    """Load a trained method and its metadata, and limit torch to one thread.

    Raises:
        CheckpointError: as `load_checkpoint`, or the model is not a method that paints.
    """
    torch.set_num_threads(1)  # fixed, because the order of summation depends on it
    trainable, metadata = load_checkpoint(path)
    if not isinstance(trainable, Method):
        raise CheckpointError(f"{path}: {metadata['method']} is not a method that paints")
    return trainable, metadata


def paint_crops(method: Method, pictures: Sequence[Picture], masks: Sequence[MaskArray]) -> list[Picture]:
    """Stylize crops; `masks` are their person masks."""
    stylized: list[Picture] = []
    for start in range(0, len(pictures), BATCH_SIZE):
        part = slice(start, start + BATCH_SIZE)
        stylized += to_pictures(method.paint(to_images(list(pictures[part])), to_masks(list(masks[part]))))
    return stylized


def paint_test_selfies(
    model: Path,
    crops: Path,
    masks: Path,
    split: Path,
    on_backgrounds: Path,
    dest: Path,
    *,
    backgrounds: Collection[str],
) -> None:
    """Stylize each test selfie on its own background and on each test background; write the pictures and the cost.

    `on_backgrounds` is the output folder of stage `augment`: the test selfies, composited with each of the
    `backgrounds`. The folder `dest` is created; its shards hold `png` and `<background>.png` for each selfie, and are
    of the same size as those of `on_backgrounds`.

    Raises:
        CheckpointError: as `load_method`.
    """
    method, metadata = load_method(model)
    pictures, person_masks, composites = Shards(crops), Shards(masks), Shards(on_backgrounds)
    endings = ["png", *(f"{name}.png" for name in backgrounds)]
    with ShardWriter(dest, composites.shard_size) as shards:
        for selfie in tqdm(manifest.split_ids(split, "selfies", "test"), f"paint {model.stem}", disable=None):
            inputs = [decode_png(pictures.read(selfie, "png"))]
            inputs += [decode_png(composites.read(selfie, f"{name}.png")) for name in backgrounds]
            input_masks = [decode_png(person_masks.read(selfie, "png"))]
            input_masks += [decode_png(composites.read(selfie, f"{name}.mask.png")) for name in backgrounds]
            stylized = map(encode_png, paint_crops(method, inputs, input_masks))
            shards.add(selfie, dict(zip(endings, stylized, strict=True)))
    cost = inference_cost(method.paint, method.saved_state(), metadata["crop"]["size_px"])
    write_file(dest / COST_FILE, json.dumps(cost) + "\n")
