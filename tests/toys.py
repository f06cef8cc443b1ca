"""Small things that the tests of learning share: pictures without symmetry, networks that know one thing, settings."""

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from drawn import CROP, changed
from torch import Tensor, nn

from portraitist.core.params import load
from portraitist.crop.params import CropParams
from portraitist.export.onnx_export import export_model
from portraitist.export.params import ExportParams
from portraitist.learning import distributed
from portraitist.learning.tensors import Batch, Images, Masks
from portraitist.mask.params import MaskParams
from portraitist.methods import method_names
from portraitist.methods.base import UpstreamModels
from portraitist.methods.registry import build
from portraitist.nets.cartoongan import Generator
from portraitist.nets.stem import Stem
from portraitist.nets.unet import UNet
from portraitist.train.batches import EpochBatches
from portraitist.train.checkpoint import save_checkpoint
from portraitist.train.loop import seeded
from portraitist.train.params import TrainParams

torch.set_num_threads(1)  # toys are too small to share out

ROOT = Path(__file__).resolve().parents[1]
PAINTERS = [name for name in method_names() if name not in ("perceptual", "unet_mask")]
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
SMALL = (
    PARAMS["crop"]
    | PARAMS["train"]
    | {"size_px": 16, "width": 4, "blocks": 1, "skips": True, "content_weight": 0.5, "painting_steps": 20}
)
RATE = {"learning_rate": 0.01}
FRAME = changed(CROP, size_px=32, shard_size=10)


def settings(name: str, **changed: Any) -> dict[str, Any]:
    """What a method is told: the smallest shape, and its own section of params.yaml."""
    allowed = importlib.import_module(f"portraitist.methods.{name}").Params.model_fields
    told = SMALL | PARAMS["methods"].get(name, {}) | RATE | changed
    return {key: value for key, value in told.items() if key in allowed}


def schedule(**changed: Any) -> TrainParams:
    scale = {"painting_steps": 1, "seed": 3, "epochs": 2, "batch": 2, "loader_workers": 0, "threads": 1}
    scale |= {"precision": "float32", "compile": False}
    return TrainParams(**(PARAMS["train"] | scale | changed))


def drawn(*shape: int, seed: int) -> Tensor:
    """Noise in [-1, 1]."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def boxes(*corners: tuple[int, int, int, int], height: int = 16, width: int = 32) -> Masks:
    """A hard mask for each (top, bottom, left, right)."""
    masks = torch.zeros(len(corners), 1, height, width)
    for mask, (top, bottom, left, right) in zip(masks, corners, strict=True):
        mask[:, top:bottom, left:right] = 1
    return masks


def batch(seed: int = 0) -> Batch:
    """Two selfies and two portraits of noise, 16 x 32; every one has its person elsewhere."""
    return Batch(
        drawn(2, 3, 16, 32, seed=seed),
        boxes((4, 13, 5, 16), (2, 9, 12, 30)),
        drawn(2, 3, 16, 32, seed=seed + 1),
        boxes((1, 12, 18, 31), (6, 15, 3, 11)),
        drawn(2, 3, 16, 32, seed=seed + 2),
    )


class Bands(Stem):
    """Features that can be reckoned by hand: the image, and its means over 4 x 4; its other weights are unused."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.ParameterDict({"scale": nn.Parameter(torch.ones(()))})

    def forward(self, images: Images) -> list[Tensor]:
        return [self.last["scale"] * images, nn.functional.avg_pool2d(images, 4)]


class Says(nn.Module):
    """A segmenter that gives the same masks whatever it sees."""

    def __init__(self, masks: Masks) -> None:
        super().__init__()
        self.masks = masks

    def forward(self, images: Images) -> Masks:
        return self.masks


def given(segmenter: nn.Module | None = None, **shape: Any) -> UpstreamModels:
    """What earlier stages would have made, drawn."""
    with seeded(11):
        generator = Generator(**({"width": 4, "blocks": 1, "skips": True} | shape))
        segmenter = (segmenter or UNet(4)).eval()
        return UpstreamModels(Bands(), generator, segmenter)


def begun(name: str, segmenter: nn.Module | None = None, seed: int = 5, **changed: Any) -> Any:
    """A learner, ready for its first step."""
    with seeded(seed):
        learner = build(name, settings(name, **changed))
        learner.setup(given(segmenter))
    return learner


class Few(EpochBatches):
    """Batches that no folder is needed for."""

    def __init__(self, count: int = 3) -> None:
        self.count, self.batch, self.share = count, 2, distributed.local_batch_size(2)
        self.start(0)

    def start(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, step: int) -> Batch:
        whole, first = batch(100 * self.epoch + step), distributed.rank() * self.share
        mine = slice(first, first + self.share)
        return Batch(*(getattr(whole, name)[mine] for name in Batch.__dataclass_fields__))


@contextmanager
def seen_by(net: nn.Module) -> Iterator[list[Tensor]]:
    """All that a network is shown meanwhile."""
    seen: list[Tensor] = []
    hook = net.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    yield seen
    hook.remove()


ABOUT = {
    "crop": load(CropParams, "crop", ROOT).model_dump(),
    "mask": load(MaskParams, "mask", ROOT).model_dump(),
}


def checkpoint(path: Path, name: str = "masked_cartoongan", seed: int = 5) -> Path:
    """A model that has learned nothing yet, for crops as params.yaml has them."""
    with seeded(seed):
        save_checkpoint(path, name, settings(name), build(name, settings(name)), ABOUT)
    return path


def exported(dest: Path, pretrained: Path, name: str = "masked_cartoongan", seed: int = 5) -> Path:
    """The same, as stage export leaves it."""
    side = ABOUT["crop"]["size_px"]
    with seeded(seed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        learner = build(name, settings(name)).eval()
        pictures = [np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)]
        masks = [np.full((side, side), 255, np.uint8)]
        params = load(ExportParams, "export", ROOT)
        export_model(learner, ABOUT | {"method": name}, pretrained, params, pictures, masks, "A card.", dest)
    return dest
