"""A trained painter as ONNX: one file that any runtime opens, with all that its user must know inside."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from portraitist.images import Images, Masks
from portraitist.methods import Painter

OPSET = 18
CHECKED = 4  # images that both must agree on


class ExportError(RuntimeError):
    """The exported model does not say what torch says."""


class _Graph(nn.Module):
    """The painter's `paint` as a forward pass."""

    def __init__(self, painter: Painter) -> None:
        super().__init__()
        self.painter = painter

    def forward(self, selfies: Images, masks: Masks) -> Images:
        return self.painter.paint(selfies, masks)


def export(painter: Painter, about: dict[str, Any], dest: Path, max_error: float) -> dict[str, int | float]:
    """Write the painter to dest and hold it against torch on drawn images.

    Inputs: `selfies`, RGB in [-1, 1], batch x 3 x side x side, cropped as metadata `crop` says; `masks`, batch x 1 x
    side x side, in [0, 1]. Output: `painted`, as selfies. Equal painters give equal bytes.

    Returns:
        Side in pixels, size in MB, and the largest absolute error on images in [-1, 1].

    Raises:
        ExportError: The error is above max_error.
    """
    side = about["crop"]["size_px"]
    draw = torch.Generator().manual_seed(0)
    selfies = torch.rand(CHECKED, 3, side, side, generator=draw) * 2 - 1
    masks = torch.rand(CHECKED, 1, side, side, generator=draw).round()
    batch = torch.export.Dim("batch", min=1, max=1024)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*axis name: batch will not be used")  # both inputs share it
        program = torch.onnx.export(
            _Graph(painter).eval(),
            (selfies, masks),
            input_names=["selfies", "masks"],
            output_names=["painted"],
            dynamic_shapes={"selfies": {0: batch}, "masks": {0: batch}},
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None  # None only where dynamo is off
    model = _plain(program.model_proto)
    for key, value in about.items():
        model.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value, sort_keys=True))
    onnx.checker.check_model(model)
    data = model.SerializeToString(deterministic=True)

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    (found,) = session.run(["painted"], {"selfies": selfies.numpy(), "masks": masks.numpy()})
    error = float(np.abs(found - painter.paint(selfies, masks).numpy()).max())
    if error > max_error:
        raise ExportError(f"ONNX and torch differ by {error:.2g} in [-1, 1]; {max_error:g} is allowed")
    dest.write_bytes(data)
    return {"side_px": side, "megabytes": round(len(data) / 1e6, 3), "max_error": float(f"{error:.1g}")}


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
