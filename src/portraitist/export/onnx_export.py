"""Export a trained method to ONNX: bytes in, bytes out, with everything else that an avatar needs in the metadata.

`portraitist.app.avatar` opens such a file without torch, and any ONNX runtime can run it. The fp16 and int8 files only
store the weights in fewer bits; the computation is in float32, which is fastest on CPUs and in browsers.
"""

import base64
import hashlib
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

from portraitist.core import manifest
from portraitist.core.image_io import decode_png
from portraitist.core.shards import Shards
from portraitist.core.types import MaskArray, Picture
from portraitist.crop import detector
from portraitist.export.params import ExportParams, PerPrecision
from portraitist.learning.method import Method
from portraitist.learning.tensors import ByteImages, from_bytes, to_bytes
from portraitist.mask import segmenter
from portraitist.paint import paint_crops

FORMAT = 2  # app/model_file.py reads this version only
CHECKSUM_KEY = "sha256"
OPSET = 18
MIN_COMPRESSED_VALUES = 1024  # smaller tensors, which are biases and norms, stay in float32
NUM_COMPARED = 16  # training selfies that are painted by PyTorch and by ONNX
FILES = {"fp32": "portraitist.onnx", "fp16": "portraitist.fp16.onnx", "int8": "portraitist.int8.onnx"}
CARD_FILE = "README.md"  # where Hugging Face looks for it
TENSORS = {
    "pictures": "uint8, batch x side x side x 3: RGB squares, cropped as `crop` specifies; side is crop.size_px",
    "masks": "uint8, batch x side x side: 255 is the person, computed as `mask` specifies",
    "painted": "uint8, same shape as pictures; with the selfie's own background if the method preserves it",
}


class ExportError(RuntimeError):
    """The method cannot be converted to ONNX, or the result differs too much from PyTorch."""


class _ByteModel(nn.Module):
    """A method's `paint` as a forward pass on bytes."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, pictures: ByteImages, masks: torch.Tensor) -> ByteImages:
        return to_bytes(self.method.paint(from_bytes(pictures), masks[:, None].float() / 255))


def export_model(
    method: Method,
    metadata: dict[str, Any],
    pretrained: Path,
    params: ExportParams,
    selfies: Sequence[Picture],
    masks: Sequence[MaskArray],
    card: str,
    dest: Path,
) -> dict[str, Any]:
    """Write a method as ONNX in each precision whose output is close enough to PyTorch's on some crops.

    The folder `dest` is created. The files get the metadata of the checkpoint, detector and segmenter from the folder
    `pretrained`, and the text of the model card. Equal methods give equal bytes.

    Returns:
        `side_px`, `crops` (their number), and for each precision: its size in MB, the largest and the mean error in
        steps of 255, and whether it was written.

    Raises:
        ExportError: the method cannot be converted, or its fp32 file differs too much from PyTorch.
    """
    model = _to_onnx(method, metadata)
    names = [*detector.DETECTOR_FILES, *segmenter.SEGMENTER_FILES[metadata["mask"]["model"]], "NOTICE"]
    parts = {name: base64.b64encode((pretrained / name).read_bytes()).decode("ascii") for name in names}
    properties = {**metadata, "format": FORMAT, "tensors": TENSORS, "parts": parts, "card": card}
    for key, value in properties.items():
        model.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value, sort_keys=True))
    expected = np.stack(paint_crops(method, selfies, masks)).astype(int)
    dest.mkdir(parents=True)
    report: dict[str, Any] = {"side_px": metadata["crop"]["size_px"], "crops": len(selfies)}
    for precision, file in FILES.items():
        data = _with_checksum(_compressed(model, precision))
        difference = np.abs(_run_onnx(data, selfies, masks) - expected)
        error = {"max_error": int(difference.max()), "mean_error": float(f"{difference.mean():.2g}")}
        bounds = {name: _bound(getattr(params, name), precision) for name in error}
        within_bounds = all(error[name] <= bounds[name] for name in error)
        if precision == "fp32" and not within_bounds:
            raise ExportError(
                f"ONNX and PyTorch differ by {error} steps of 255; allowed by `export` in params.yaml: {bounds}"
            )
        if within_bounds:
            (dest / file).write_bytes(data)
        report[precision] = {"megabytes": round(len(data) / 1e6, 3), **error, "written": within_bounds}
    (dest / CARD_FILE).write_text(card, encoding="utf-8")
    return report


def _with_checksum(model: onnx.ModelProto) -> bytes:
    """Serialize a model after adding its SHA-256 to the metadata; app/model_file.py verifies it."""
    digest = hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()
    model.metadata_props.add(key=CHECKSUM_KEY, value=digest)
    return model.SerializeToString(deterministic=True)


def load_compared_crops(crops: Path, masks: Path, split: Path) -> tuple[list[Picture], list[MaskArray]]:
    """Load the training selfies on which ONNX and PyTorch are compared, and their masks."""
    ids = manifest.split_ids(split, "selfies", "train")[:NUM_COMPARED]
    pictures, mask_arrays = ([decode_png(Shards(path).read(one, "png")) for one in ids] for path in (crops, masks))
    return pictures, mask_arrays


def _bound(bounds: PerPrecision, precision: str) -> float:
    return getattr(bounds, precision)


def _to_onnx(method: Method, metadata: Mapping[str, Any]) -> onnx.ModelProto:
    side = metadata["crop"]["size_px"]
    example = (torch.zeros(2, side, side, 3, dtype=torch.uint8), torch.zeros(2, side, side, dtype=torch.uint8))
    batch = torch.export.Dim("batch", min=1, max=1024)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message=".*axis name: batch will not be used"
            )  # both inputs have the same batch axis
            program = torch.onnx.export(
                _ByteModel(method).eval(),
                example,
                input_names=["pictures", "masks"],
                output_names=["painted"],
                dynamic_shapes={"pictures": {0: batch}, "masks": {0: batch}},
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # torch raises many types here
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ExportError(f"{metadata['method']} cannot be converted to ONNX: {reason}") from error
    assert program is not None  # it is None only with dynamo=False
    model = _without_traces(program.model_proto)
    onnx.checker.check_model(model)
    return model


def _run_onnx(data: bytes, selfies: Sequence[Picture], masks: Sequence[MaskArray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    return session.run(["painted"], {"pictures": np.stack(selfies), "masks": np.stack(masks)})[0].astype(int)


def _without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove stack traces and file names, which identify the machine that exported the model."""
    del model.metadata_props[:]
    for part in (model.graph, *model.graph.node, *model.graph.initializer, *model.graph.value_info, *model.functions):
        del part.metadata_props[:]
        part.doc_string = ""
    for function in model.functions:
        for node in function.node:
            del node.metadata_props[:]
            node.doc_string = ""
    return model


def _compressed(model: onnx.ModelProto, precision: str) -> onnx.ModelProto:
    """Return a copy that stores large weights as float16, or as int8 with one scale per output channel."""
    compressed = onnx.ModelProto()
    compressed.CopyFrom(model)
    if precision == "fp32":
        return compressed
    initializers = model.graph.initializer
    large = [w for w in initializers if w.data_type == TensorProto.FLOAT and np.prod(w.dims) >= MIN_COMPRESSED_VALUES]
    small = [w for w in initializers if w not in large]
    del compressed.graph.initializer[:]
    compressed.graph.initializer.extend(small)
    decompression = []
    for weight in large:
        values = numpy_helper.to_array(weight)
        if precision == "fp16":
            name = f"{weight.name}_half"
            compressed.graph.initializer.append(numpy_helper.from_array(values.astype(np.float16), name))
            decompression.append(helper.make_node("Cast", [name], [weight.name], to=TensorProto.FLOAT))
            continue
        max_abs = np.abs(values).reshape(len(values), -1).max(axis=1)
        scale = np.maximum(max_abs / 127, 1e-12).astype(np.float32)
        quantized = np.rint(values / scale.reshape(-1, *[1] * (values.ndim - 1))).astype(np.int8)
        names = [f"{weight.name}_quantized", f"{weight.name}_scale"]
        compressed.graph.initializer.append(numpy_helper.from_array(quantized, names[0]))
        compressed.graph.initializer.append(numpy_helper.from_array(scale, names[1]))
        decompression.append(helper.make_node("DequantizeLinear", names, [weight.name], axis=0))
    nodes = list(compressed.graph.node)
    del compressed.graph.node[:]
    compressed.graph.node.extend(decompression + nodes)
    onnx.checker.check_model(compressed)
    return compressed
