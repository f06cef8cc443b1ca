import numpy as np
import pytest
import torch
from toys import make_checkpoint, make_trainable, style_networks
from train_helpers import write_dataset

from portraitist.core import manifest
from portraitist.core.image_io import decode_png, encode_png
from portraitist.core.shards import Shards, ShardWriter
from portraitist.paint import PortraitStyles, paint_crops, paint_test_selfies

CONDITIONAL = [
    "masked_stylizer",
    "arbitrary_style_with_background",
    "arbitrary_style_without_background",
]


@pytest.fixture
def paths(tmp_path):
    return write_dataset(tmp_path)


def portrait_styles(name, paths):
    return PortraitStyles(make_trainable(name), style_networks(), paths.crops, paths.masks, paths.split)


def test_each_selfie_gets_the_style_of_one_training_portrait(paths):
    styles = portrait_styles("masked_stylizer", paths)
    assert styles.portraits == manifest.split_ids(paths.split, "portraits", "train")
    vectors = [styles.draw(f"selfie {number}") for number in range(20)]
    assert torch.equal(vectors[0], portrait_styles("masked_stylizer", paths).draw("selfie 0"))
    styles.predictor = None  # all styles have been computed
    assert torch.equal(vectors[0], styles.draw("selfie 0"))
    assert 1 < len({tuple(vector[0].tolist()) for vector in vectors}) <= len(styles.portraits)


@pytest.mark.parametrize("name", CONDITIONAL)
def test_crops_are_painted_in_the_given_style(name):
    method = make_trainable(name)
    pictures, masks = [np.full((32, 32, 3), 90, np.uint8)] * 2, [np.full((32, 32), 255, np.uint8)] * 2
    house = paint_crops(method, pictures, masks, method.style.mean()[None])
    assert np.array_equal(house, paint_crops(method, pictures, masks))
    assert not np.array_equal(house, paint_crops(method, pictures, masks, torch.ones(1, 100)))


@pytest.mark.parametrize("name", ["masked_stylizer", "cartoongan"])
def test_stage_paints_in_portrait_styles_only_if_the_method_can(name, paths, tmp_path):
    model, painted = make_checkpoint(tmp_path / f"{name}.pt", name), {}
    selfies = manifest.split_ids(paths.split, "selfies", "test")
    crops, masks = Shards(paths.crops), Shards(paths.masks)
    with ShardWriter(tmp_path / "composites", 4) as shards:
        for selfie in selfies:
            red = np.full_like(decode_png(crops.read(selfie, "png")), (200, 0, 0))
            shards.add(selfie, {"red.png": encode_png(red), "red.mask.png": masks.read(selfie, "png")})
    for style in ("house", "portraits"):
        folders = (paths.crops, paths.masks, paths.split, tmp_path / "composites", style_networks(), tmp_path / style)
        paint_test_selfies(model, *folders, style=style, backgrounds=["red"])
        stylized = Shards(tmp_path / style)
        painted[style] = [stylized.read(selfie, ending) for selfie in selfies for ending in ("png", "red.png")]
    assert len(painted["house"]) > 1
    assert (painted["house"] == painted["portraits"]) is (name == "cartoongan")
