"""A trained painter as ONNX: bytes in, bytes out, and in the same file all else that makes an avatar of a selfie.

portraitist.avatar opens it without torch, and any ONNX runtime runs it. Smaller files hold the same weights as halves
or in eight bits; all reckon in 32 bits, for that is what processors and browsers do fast.
"""

import base64
import json
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from portraitist.core.types import MaskArray, Picture
from portraitist.crop import detector
from portraitist.export.params import ExportParams, PerPrecision
from portraitist.learning.tensors import ByteImages, from_bytes, to_bytes
from portraitist.mask import segmenter
from portraitist.methods.base import Method
from portraitist.paint import paint_crops

FORMAT = 2  # avatar.py reads it
OPSET = 18
SMALL = 1024  # weights with fewer values stay as they are: they are biases and norms
FILES = {"fp32": "portraitist.onnx", "fp16": "portraitist.fp16.onnx", "int8": "portraitist.int8.onnx"}
CARD = "README.md"  # where Hugging Face looks for it
TENSORS = {
    "pictures": "uint8, batch x side x side x 3: RGB squares, cut as `crop` says, side is crop.size_px",
    "masks": "uint8, batch x side x side: 255 is the person, made as `mask` says",
    "painted": "uint8, as pictures; the person's own background is behind it where the method keeps it",
}


class ExportError(RuntimeError):
    """The method cannot leave torch, or does not say the same outside of it."""


class _Graph(nn.Module):
    """The painter's `paint` as a forward pass on bytes."""

    def __init__(self, painter: Method) -> None:
        super().__init__()
        self.painter = painter

    def forward(self, pictures: ByteImages, masks: torch.Tensor) -> ByteImages:
        return to_bytes(self.painter.paint(from_bytes(pictures), masks[:, None].float() / 255))


def export_model(
    painter: Method,
    about: dict[str, Any],
    pretrained: Path,
    params: ExportParams,
    selfies: Sequence[Picture],
    masks: Sequence[MaskArray],
    card: str,
    dest: Path,
) -> dict[str, Any]:
    """Write the painter to the folder dest in each precision that holds, and hold it against torch on some crops.

    Equal painters give equal bytes.

    Returns:
        Side in pixels, how many crops were painted by both, and for each precision its size in MB, the largest and the
        mean error in steps of 255, and whether it was written.

    Raises:
        ExportError: The method does not become ONNX, or differs in full precision.
    """
    model = _traced(painter, about)
    names = [*detector.DETECTOR_FILES, *segmenter.SEGMENTER_FILES[about["mask"]["model"]], "NOTICE"]
    parts = {name: base64.b64encode((pretrained / name).read_bytes()).decode("ascii") for name in names}
    told = {**about, "format": FORMAT, "tensors": TENSORS, "parts": parts, "card": card}
    for key, value in told.items():
        model.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value, sort_keys=True))
    truth = np.stack(paint_crops(painter, selfies, masks)).astype(int)
    dest.mkdir(parents=True)
    found: dict[str, Any] = {"side_px": about["crop"]["size_px"], "crops": len(selfies)}
    for precision, file in FILES.items():
        data = _stored(model, precision).SerializeToString(deterministic=True)
        apart = np.abs(_painted(data, selfies, masks) - truth)
        error = {"max_error": int(apart.max()), "mean_error": float(f"{apart.mean():.2g}")}
        bound = {name: _bound(getattr(params, name), precision) for name in error}
        holds = all(error[name] <= bound[name] for name in error)
        if precision == "fp32" and not holds:
            raise ExportError(f"ONNX and torch differ by {error} steps of 255; {bound} are allowed")
        if holds:
            (dest / file).write_bytes(data)
        found[precision] = {"megabytes": round(len(data) / 1e6, 3), **error, "written": holds}
    (dest / CARD).write_text(card, encoding="utf-8")
    return found


def _bound(bounds: PerPrecision, precision: str) -> float:
    return getattr(bounds, precision)


def _traced(painter: Method, about: Mapping[str, Any]) -> onnx.ModelProto:
    side = about["crop"]["size_px"]
    example = (torch.zeros(2, side, side, 3, dtype=torch.uint8), torch.zeros(2, side, side, dtype=torch.uint8))
    batch = torch.export.Dim("batch", min=1, max=1024)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*axis name: batch will not be used")  # both inputs share it
            program = torch.onnx.export(
                _Graph(painter).eval(),
                example,
                input_names=["pictures", "masks"],
                output_names=["painted"],
                dynamic_shapes={"pictures": {0: batch}, "masks": {0: batch}},
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # torch says so in a dozen kinds
        why = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ExportError(f"{about['method']} does not become ONNX: {why}") from error
    assert program is not None  # None only where dynamo is off
    model = _plain(program.model_proto)
    onnx.checker.check_model(model)
    return model


def _painted(data: bytes, selfies: Sequence[Picture], masks: Sequence[MaskArray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(["painted"], {"pictures": np.stack(selfies), "masks": np.stack(masks)})[0].astype(int)


def _plain(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model without what tells of the machine it was made on: stack traces, file names."""
    del model.metadata_props[:]
    for part in (model.graph, *model.graph.node, *model.graph.initializer, *model.graph.value_info, *model.functions):
        del part.metadata_props[:]
        part.doc_string = ""
    for function in model.functions:
        for node in function.node:
            del node.metadata_props[:]
            node.doc_string = ""
    return model


def _stored(model: onnx.ModelProto, precision: str) -> onnx.ModelProto:
    """The model with its large weights stored as halves, or as eight bits with a scale for each output channel."""
    stored = onnx.ModelProto()
    stored.CopyFrom(model)
    if precision == "fp32":
        return stored
    large = [w for w in model.graph.initializer if w.data_type == TensorProto.FLOAT and np.prod(w.dims) >= SMALL]
    kept = [w for w in model.graph.initializer if w not in large]
    del stored.graph.initializer[:]
    stored.graph.initializer.extend(kept)
    nodes = []
    for weight in large:
        values = numpy_helper.to_array(weight)
        if precision == "fp16":
            stored.graph.initializer.append(numpy_helper.from_array(values.astype(np.float16), f"{weight.name}_half"))
            nodes.append(helper.make_node("Cast", [f"{weight.name}_half"], [weight.name], to=TensorProto.FLOAT))
            continue
        largest = np.abs(values).reshape(len(values), -1).max(axis=1)
        scale = np.maximum(largest / 127, 1e-12).astype(np.float32)
        steps = np.rint(values / scale.reshape(-1, *[1] * (values.ndim - 1))).astype(np.int8)
        stored.graph.initializer.append(numpy_helper.from_array(steps, f"{weight.name}_steps"))
        stored.graph.initializer.append(numpy_helper.from_array(scale, f"{weight.name}_scale"))
        names = [f"{weight.name}_steps", f"{weight.name}_scale"]
        nodes.append(helper.make_node("DequantizeLinear", names, [weight.name], axis=0))
    rest = list(stored.graph.node)
    del stored.graph.node[:]
    stored.graph.node.extend(nodes + rest)
    onnx.checker.check_model(stored)
    return stored
