"""Small inputs, networks and settings that many tests share."""

import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import yaml
from drawn import CROP, changed
from onnx import helper, numpy_helper
from torch import Tensor, nn

from portraitist.core.params import load
from portraitist.core.training_log import Rows
from portraitist.crop.params import CropParams
from portraitist.export.onnx_export import export_model
from portraitist.export.params import ExportParams
from portraitist.learning import distributed, method_names
from portraitist.learning.checkpoint import save_checkpoint
from portraitist.learning.method import UpstreamModels
from portraitist.learning.registry import build, params_class
from portraitist.learning.tensors import Batch, Images, Masks, composite
from portraitist.mask.params import MaskParams
from portraitist.nets.arbitrary_style import (
    PREDICTOR_FILE,
    STYLE_LENGTH,
    STYLE_PX,
    TRANSFORMER_FILE,
    StyleTransformer,
    named_layers,
)
from portraitist.nets.cartoongan import Generator
from portraitist.nets.stem import Stem
from portraitist.nets.unet import UNet
from portraitist.train.batches import EpochBatches
from portraitist.train.loop import seeded, train
from portraitist.train.monitor import Monitor
from portraitist.train.params import TrainParams
from portraitist.train.resume import Checkpointer

torch.set_num_threads(1)  # more threads do not help with networks this small

ONES = torch.ones(2, 1, 16, 32)
REDDEST = 0.6
ROOT = Path(__file__).resolve().parents[1]
PAINTING_METHODS = [name for name in method_names() if name not in ("perceptual", "unet_mask")]
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
SMALL = (
    PARAMS["crop"]
    | PARAMS["train"]
    | {
        "size_px": 16,
        "base_channels": 4,
        "num_res_blocks": 1,
        "skip_connections": True,
        "content_weight": 0.5,
        "optimization_steps": 20,
    }
)
SHORT = {"learning_rate": 0.01, "warmup_steps": 0}  # for trainings of a few steps
CROP_PARAMS = changed(CROP, size_px=32, shard_size=10)
_TEMPORARY = tempfile.TemporaryDirectory(prefix="portraitist-toys-", ignore_cleanup_errors=True)
ABOUT = {
    "crop": load(CropParams, "crop", ROOT).model_dump(),
    "mask": load(MaskParams, "mask", ROOT).model_dump(),
}


def settings(name: str, **overrides: Any) -> dict[str, Any]:
    """Return parameters of a method: those in params.yaml, with the smallest networks and `overrides`."""
    values = SMALL | PARAMS["methods"].get(name, {}) | SHORT | overrides
    return {key: value for key, value in values.items() if key in params_class(name).model_fields}


def schedule(**overrides: Any) -> TrainParams:
    """Return parameters of a short training."""
    short = {"optimization_steps": 1, "seed": 3, "epochs": 2, "batch_size": 2, "num_workers": 0, "num_threads": 1}
    short |= {"precision": "float32", "compile": False, "validate_every": 0}
    return TrainParams(**(PARAMS["train"] | short | overrides))


def noise(*shape: int, seed: int) -> Tensor:
    """Return uniform noise in [-1, 1]."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def exported_for_every_size(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Return a function of square images, exported by torch for sides of 32 to 1024 pixels."""

    class Network(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return function(images)

    side = 8 * torch.export.Dim("step", min=4, max=128)
    return torch.export.export(
        Network(), (noise(1, 3, 128, 128, seed=1),), dynamic_shapes=({2: side, 3: side},)
    ).module()


def boxes(*corners: tuple[int, int, int, int], height: int = 16, width: int = 32) -> Masks:
    """Return a hard mask for each (top, bottom, left, right)."""
    masks = torch.zeros(len(corners), 1, height, width)
    for mask, (top, bottom, left, right) in zip(masks, corners, strict=True):
        mask[:, top:bottom, left:right] = 1
    return masks


def batch(seed: int = 0) -> Batch:
    """Return two selfies and two portraits of noise, 16 x 32 px, each with a different mask."""
    return Batch(
        noise(2, 3, 16, 32, seed=seed),
        boxes((4, 13, 5, 16), (2, 9, 12, 30)),
        noise(2, 3, 16, 32, seed=seed + 1),
        boxes((1, 12, 18, 31), (6, 15, 3, 11)),
        noise(2, 3, 16, 32, seed=seed + 2),
        noise(2, 3, 16, 32, seed=seed + 3),
    )


class ToyFeatures(Stem):
    """Features that are easy to compute: the image, and its means over 4 x 4 pixels. Other weights are unused."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.ParameterDict({"scale": nn.Parameter(torch.ones(()))})

    def forward(self, images: Images) -> list[Tensor]:
        return [self.last["scale"] * images, nn.functional.avg_pool2d(images, 4)]

    def levels(self, images: Images, indices: tuple[int, ...]) -> list[Tensor]:
        return [nn.functional.avg_pool2d(images, 2 ** (index + 1)) for index in indices]


class RejectRed(nn.Module):
    """A segmenter that regards red pixels as background: 1 at grey, 0 where red is REDDEST and green is -REDDEST."""

    def forward(self, images: Images) -> Masks:
        return 1 - (images[:, :1] - images[:, 1:2]) / (2 * REDDEST)


class RejectRedWithoutGradient(RejectRed):
    def forward(self, images: Images) -> Masks:
        return super().forward(images).detach()


def on_other_background(images: Batch) -> Batch:
    """Return a batch of which all backgrounds are replaced by noise."""
    background = noise(2, 3, 16, 32, seed=9)
    return replace(
        images,
        selfies=composite(images.selfies, images.selfie_masks, background),
        portraits=composite(images.portraits, images.portrait_masks, background),
        smoothed=composite(images.smoothed, images.portrait_masks, background),
        smoothed_persons=composite(images.smoothed_persons, images.portrait_masks, background),
    )


class FixedSegmenter(nn.Module):
    """A segmenter that returns the same masks for all images."""

    def __init__(self, masks: Masks) -> None:
        super().__init__()
        self.masks = masks

    def forward(self, images: Images) -> Masks:
        return self.masks


def write_style_networks(folder: Path, transformer: StyleTransformer | None = None) -> Path:
    """Write untrained style networks as stage `weights` does; the style is a linear function of the mean colour."""
    with seeded(12):
        layers = dict(named_layers(transformer or StyleTransformer()))
        colors = (torch.rand(3, STYLE_LENGTH) * 2 - 1).numpy()
    nodes, tensors = [], {}
    for name, layer in layers.items():
        nodes.append(helper.make_node("Conv", ["style_image", f"{name}/w", f"{name}/b"], [name], f"transformer/{name}"))
        weight, bias = (value.detach().numpy() for value in layer.parameters())
        kernel = weight.shape[2:] or (1, 1)
        tensors |= {f"{name}/w": weight.reshape(*weight.shape[:2], *kernel), f"{name}/b": bias}
    _save_graph(folder / TRANSFORMER_FILE, nodes, tensors)  # the graph only stores the weights; it cannot be run
    nodes = [helper.make_node("ReduceMean", ["style_image"], ["mean"], axes=[1, 2], keepdims=0)]
    nodes.append(helper.make_node("MatMul", ["mean", "colors"], ["style"]))
    _save_graph(folder / PREDICTOR_FILE, nodes, {"colors": colors})
    return folder


def _save_graph(path: Path, nodes: list[onnx.NodeProto], tensors: dict[str, np.ndarray]) -> None:
    kind = onnx.TensorProto.FLOAT
    initializers = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in tensors.items()]
    inputs = [helper.make_tensor_value_info("style_image", kind, [1, STYLE_PX, STYLE_PX, 3])]
    outputs = [helper.make_tensor_value_info(nodes[-1].output[0], kind, None)]
    graph = helper.make_graph(nodes, path.stem, inputs, outputs, initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@cache
def style_networks() -> Path:
    """Return a folder of untrained style networks, which is deleted when the process ends."""
    return write_style_networks(Path(_TEMPORARY.name))


def upstream_models(segmenter: nn.Module | None = None, **generator_size: Any) -> UpstreamModels:
    """Return untrained models that replace those of earlier stages."""
    with seeded(11):
        size = {"base_channels": 4, "num_res_blocks": 1, "skip_connections": True} | generator_size
        generator = Generator(**size)
        segmenter = (segmenter or UNet(4)).eval()
        return UpstreamModels(ToyFeatures(), generator, segmenter, style_networks())


def make_trainable(
    name: str, segmenter: nn.Module | None = None, seed: int = 5, pretrained: Path | None = None, **overrides: Any
) -> Any:
    """Build a method for training, with untrained upstream models; `pretrained` is a folder of style networks."""
    upstream = upstream_models(segmenter)
    upstream = replace(upstream, pretrained=pretrained or upstream.pretrained)
    with seeded(seed):
        return build(name, settings(name, **overrides), upstream)


class NoiseBatches(EpochBatches):
    """Batches of noise that need no files."""

    def __init__(self, count: int = 3) -> None:
        self.count, self.batch_size, self.local_batch_size = count, 2, distributed.local_batch_size(2)
        self.start(0)

    def start(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, step: int) -> Batch:
        full, first = batch(100 * self.epoch + step), distributed.rank() * self.local_batch_size
        local = slice(first, first + self.local_batch_size)
        return Batch(*(getattr(full, name)[local] for name in Batch.__dataclass_fields__))


def train_logged(
    name: str, batches: EpochBatches, checkpointer: Checkpointer | None = None, **changes: Any
) -> tuple[Any, Rows]:
    """Train a method; return it and the rows of its log, one per step. `changes` are arguments of `schedule`."""
    with tempfile.TemporaryDirectory() as folder:
        monitor = Monitor(Path(folder), num_steps=1)
        upstream, params = upstream_models(), schedule(**changes)
        return train(name, settings(name), batches, upstream, params, checkpointer, monitor), monitor.log.rows


@contextmanager
def record_inputs(net: nn.Module) -> Iterator[list[Tensor]]:
    """Record the first input of each forward pass of a network."""
    inputs: list[Tensor] = []
    hook = net.register_forward_pre_hook(lambda _, arguments: inputs.append(arguments[0].detach().clone()))
    yield inputs
    hook.remove()


def make_checkpoint(path: Path, name: str = "masked_cartoongan", seed: int = 5) -> Path:
    """Save an untrained model for crops as in params.yaml."""
    with seeded(seed):
        save_checkpoint(path, name, settings(name), build(name, settings(name)), ABOUT)
    return path


def make_export(dest: Path, pretrained: Path, name: str = "masked_cartoongan", seed: int = 5) -> Path:
    """Export an untrained model as stage `export` does."""
    size_px = ABOUT["crop"]["size_px"]
    with seeded(seed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        method = build(name, settings(name)).eval()
        pictures = [np.random.default_rng(seed).integers(0, 256, (size_px, size_px, 3), np.uint8)]
        masks = [np.full((size_px, size_px), 255, np.uint8)]
        params = load(ExportParams, "export", ROOT)
        export_model(method, ABOUT | {"method": name}, pretrained, params, pictures, masks, "A card.", dest)
    return dest
