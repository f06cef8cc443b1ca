"""Export a trained method to ONNX. The network takes and returns pixels as uint8.

The metadata of the file contain everything else that painting an avatar needs, such as the face detector.
`portraitist.app.avatar` opens the file without torch, and any ONNX runtime can run the network. There is one file per
precision. The fp16 and int8 files store the weights in fewer bits. Every file computes in float32, which is fastest on
CPUs and in browsers.
"""

import base64
import hashlib
import itertools
import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from portraitist.core import manifest
from portraitist.core.files import write_file
from portraitist.core.image_io import decode_png
from portraitist.core.shards import Shards
from portraitist.core.types import MaskArray, Picture
from portraitist.crop import detector
from portraitist.export.faster_convolutions import use_faster_convolutions
from portraitist.export.params import ExportParams
from portraitist.learning.method import Method
from portraitist.learning.tensors import ByteImages, from_bytes, to_bytes
from portraitist.mask import segmenter
from portraitist.nets.arbitrary_style import (
    STYLE_LENGTH,
    Conditional,
    Styles,
    StyleTransformer,
    load_style_transformer,
)
from portraitist.paint import paint_crops

FORMAT = 3  # app/model_file.py reads this version only
CHECKSUM_KEY = "sha256"
OPSET = 18
MIN_COMPRESSED_VALUES = 1024  # tensors with fewer values, such as biases and norms, stay in float32
NUM_COMPARED = 16  # training selfies that both PyTorch and ONNX Runtime paint, for comparison
NUM_COMPARED_DOUBLED = 4  # number of these that are also compared at twice the size, if the network accepts it
# if the network accepts several sizes: sides of images are multiples of SIDE_STEP, from MIN_SIDE_PX to MAX_SIDE_PX
SIDE_STEP, MIN_SIDE_PX, MAX_SIDE_PX = 8, 32, 1024
HOUSE_STYLE = "house"  # name of the default style, which is the mean style of the training portraits
STYLE_DIGITS = 6  # decimals of the vectors in the metadata
FILES = {"fp32": "portraitist.onnx", "fp16": "portraitist.fp16.onnx", "int8": "portraitist.int8.onnx"}
CARD_FILE = "README.md"  # where Hugging Face looks for it
TENSORS = {
    "pictures": "uint8, batch x side x side x 3: RGB squares, cropped as `crop` specifies. If the side is symbolic, it "
    "may be any multiple of 8 from 64 to 1024; crop.size_px is the side of the training's crops",
    "masks": "uint8, batch x side x side: 255 is the person, computed as `mask` specifies",
    "painted": "uint8, same shape as pictures; with the selfie's own background if the method preserves it",
}
EXAMPLE_GENERATOR = "example_generator.onnx"  # in metadata entry `parts`; paints in the style of an example (`like`)
# Weight of the trained network in the generator for examples; the pretrained network, from which the training started,
# has the rest. The discriminator pulls all styles towards that of the training portraits: with a share of 1, an ink
# drawing and a blue monochrome as examples give nearly equal avatars. With a small share, avatars follow the example,
# but skin can get cracks; docs/experiments.md, "The second model", compares shares.
EXAMPLE_SHARE = 0.33
STYLES = {"styles": "float32, batch x 100: one of the vectors in `styles`, or the style of any portrait"}


class ExportError(RuntimeError):
    """The method cannot be converted to ONNX, or the ONNX file paints differently from PyTorch."""


class _Crops(NamedTuple):
    """Face crops on which ONNX Runtime and PyTorch are compared, and the masks of the persons; all have one size."""

    selfies: Sequence[Picture]
    masks: Sequence[MaskArray]


class _ByteModel(nn.Module):
    """A network that runs a method's `paint` on uint8 pixels and masks."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method

    def forward(self, pictures: ByteImages, masks: torch.Tensor) -> ByteImages:
        return to_bytes(self.method.paint(from_bytes(pictures), masks[:, None].float() / 255))


class _ConditionalByteModel(nn.Module):
    """A network that runs a method's `paint_in_style` on uint8 pixels and masks, and on style vectors."""

    def __init__(self, method: Conditional) -> None:
        super().__init__()
        self.method = method

    def forward(self, pictures: ByteImages, masks: torch.Tensor, styles: Styles) -> ByteImages:
        return to_bytes(self.method.paint_in_style(from_bytes(pictures), masks[:, None].float() / 255, styles))


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
    """Write one ONNX file per precision, and the model card.

    ONNX Runtime and PyTorch paint the face crops `selfies`. An ONNX file is only written if the pixels that ONNX
    Runtime paints are close enough to those that PyTorch paints. Each ONNX file also contains the metadata of the
    model, the face detector, the segmenter and the model card. If the method trains the pretrained style transformer,
    there is also a second generator, for painting in the style of examples. Equal arguments give equal bytes.

    Args:
        method: the trained method.
        metadata: metadata of its model file.
        pretrained: folder of pretrained models, with the face detector and the segmenter.
        params: largest allowed differences.
        selfies: face crops on which ONNX Runtime and PyTorch are compared.
        masks: masks of the persons in these crops.
        card: text of the model card.
        dest: folder to create.

    Returns:
        A dictionary with seven keys:

        - `side_px`: height and width of training images.
        - `any_side`: whether other sizes are possible.
        - `crops`: number of compared crops.
        - `example_generator`: None, or for the generator that paints in the style of examples, a dictionary with its
          `precision`, and with `megabytes`, `max_error` and `mean_error` as in the next item. See `_example_generator`.
        - `fp32`, `fp16` and `int8`: for the ONNX file of this precision, a dictionary with four keys:

            - `megabytes`: size of the file in units of 1e6 bytes.
            - `max_error`: largest absolute difference between a pixel painted by ONNX Runtime and the same pixel
              painted by PyTorch, on a scale of 0 to 255.
            - `mean_error`: mean of these differences over all pixels.
            - `written`: whether the file was written.

        If crops are compared at two sizes, each error is computed for both sizes, and the larger error is returned.

    Raises:
        ExportError: the method cannot be converted, or a graph with fp32 weights differs too much from PyTorch.
    """
    any_side = accepts_any_side(method, metadata["crop"]["size_px"])
    model = _to_onnx(method, metadata, any_side)
    names = [*detector.DETECTOR_FILES, *segmenter.SEGMENTER_FILES[metadata["mask"]["model"]], "NOTICE"]
    parts = {name: base64.b64encode((pretrained / name).read_bytes()).decode("ascii") for name in names}
    style = None
    if isinstance(method, Conditional):
        style = [round(value, STYLE_DIGITS) for value in method.style.mean().tolist()]
    compared = [_Crops(selfies, masks)]
    if any_side:
        compared.append(_Crops(_doubled(selfies[:NUM_COMPARED_DOUBLED]), _doubled(masks[:NUM_COMPARED_DOUBLED])))
    report: dict[str, Any] = {"side_px": metadata["crop"]["size_px"], "any_side": any_side, "crops": len(selfies)}
    report["example_generator"] = None
    network = _trained_transformer(method)
    if network is not None:
        with interpolated_weights(network, pretrained):
            example_model = _to_onnx(method, metadata, any_side)
            expected = _paint_with_torch(method, compared)
        data, report["example_generator"] = _example_generator(example_model, params, compared, expected, style)
        parts[EXAMPLE_GENERATOR] = base64.b64encode(data).decode("ascii")
    tensors = TENSORS if style is None else TENSORS | STYLES
    properties = {**metadata, "format": FORMAT, "tensors": tensors, "parts": parts, "card": card}
    for key, value in properties.items():
        model.metadata_props.add(key=key, value=value if isinstance(value, str) else json.dumps(value, sort_keys=True))
    if style is not None:
        model.metadata_props.add(key="styles", value=json.dumps({HOUSE_STYLE: style}))
    expected = _paint_with_torch(method, compared)
    dest.mkdir(parents=True)
    for precision, file in FILES.items():
        data = _with_checksum(compress_weights(model, precision))
        error = _error(data, compared, expected, style)
        within_bounds = _is_within_bounds(error, params, precision)
        if within_bounds:
            write_file(dest / file, data)
        report[precision] = {"megabytes": round(len(data) / 1e6, 3), **error, "written": within_bounds}
    write_file(dest / CARD_FILE, card)
    return report


def _trained_transformer(method: Method) -> StyleTransformer | None:
    """Return the network of a method that trains the pretrained style transformer; None for other methods."""
    network = getattr(getattr(method, "ema", None), "network", None)
    return network if isinstance(method, Conditional) and isinstance(network, StyleTransformer) else None


@contextmanager
def interpolated_weights(network: StyleTransformer, pretrained: Path) -> Iterator[None]:
    """Replace each weight w of a network by `EXAMPLE_SHARE` * w + (1 - `EXAMPLE_SHARE`) * p; restore them at the end.

    p is the weight of the pretrained network from which the training started. Wang et al., "Deep Network Interpolation
    for Continuous Imagery Effect Transition" (CVPR 2019), interpolate between a network and its fine-tuned copy in the
    same way.

    Args:
        network: the trained network.
        pretrained: folder of pretrained models.
    """
    trained = {name: weight.clone() for name, weight in network.state_dict().items()}
    start = load_style_transformer(pretrained).state_dict()
    network.load_state_dict({name: torch.lerp(start[name], trained[name], EXAMPLE_SHARE) for name in trained})
    try:
        yield
    finally:
        network.load_state_dict(trained)


def _example_generator(
    model: onnx.ModelProto,
    params: ExportParams,
    compared: Sequence[_Crops],
    expected: Sequence[np.ndarray],
    style: Sequence[float] | None,
) -> tuple[bytes, dict[str, Any]]:
    """Serialize the graph that paints in the style of examples; return it, and its precision, size and errors.

    The weights have the lowest precision whose errors are within the bounds, because the graph is in every file.

    Raises:
        ExportError: not even the graph with fp32 weights is close enough to PyTorch.
    """
    for precision in reversed(FILES):
        data = compress_weights(model, precision).SerializeToString(deterministic=True)
        error = _error(data, compared, expected, style)
        if _is_within_bounds(error, params, precision):
            break
    return data, {"precision": precision, "megabytes": round(len(data) / 1e6, 3), **error}


def _paint_with_torch(method: Method, compared: Sequence[_Crops]) -> list[np.ndarray]:
    return [np.stack(paint_crops(method, *crops)).astype(int) for crops in compared]


def _error(
    data: bytes,
    compared: Sequence[_Crops],
    expected: Sequence[np.ndarray],
    style: Sequence[float] | None,
) -> dict[str, int | float]:
    """Return the largest and the mean difference between the pixels that an ONNX graph paints and the expected ones."""
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    painted = [_run_onnx(session, *crops, style) for crops in compared]
    differences = [np.abs(one - other) for one, other in zip(painted, expected, strict=True)]
    return {
        "max_error": max(int(difference.max()) for difference in differences),
        "mean_error": max(float(f"{difference.mean():.2g}") for difference in differences),
    }


def _is_within_bounds(error: Mapping[str, int | float], params: ExportParams, precision: str) -> bool:
    """Return whether the errors of a graph are allowed.

    Raises:
        ExportError: they are not, and the precision is "fp32".
    """
    bounds = {name: getattr(getattr(params, name), precision) for name in error}
    within_bounds = all(error[name] <= bounds[name] for name in error)
    if precision == "fp32" and not within_bounds:
        raise ExportError(
            f"pixels painted by ONNX Runtime and by PyTorch differ by {dict(error)}, on a scale of 0 to 255; section "
            f"`export` of params.yaml allows {bounds}"
        )
    return within_bounds


def _with_checksum(model: onnx.ModelProto) -> bytes:
    """Add the SHA-256 of a model to its metadata, and serialize it. app/model_file.py verifies the SHA-256."""
    digest = hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()
    model.metadata_props.add(key=CHECKSUM_KEY, value=digest)
    return model.SerializeToString(deterministic=True)


def load_compared_crops(crops: Path, masks: Path, split: Path) -> tuple[list[Picture], list[MaskArray]]:
    """Load the training selfies on which ONNX Runtime and PyTorch are compared, and their masks.

    Args:
        crops: output of stage `crop`.
        masks: output of stage `mask`.
        split: CSV with the part of each picture.
    """
    ids = manifest.split_ids(split, "selfies", "train")[:NUM_COMPARED]
    pictures, mask_arrays = ([decode_png(Shards(path).read(one, "png")) for one in ids] for path in (crops, masks))
    return pictures, mask_arrays


@torch.no_grad()
def accepts_any_side(method: Method, size_px: int) -> bool:
    """Return whether a method also paints images of other sizes than `size_px`, the size of training images."""
    side = size_px + SIDE_STEP
    selfies, masks = torch.zeros(1, 3, side, side), torch.ones(1, 1, side, side)
    try:
        return method.paint(selfies, masks).shape == selfies.shape
    except RuntimeError:  # the shapes of two tensors do not agree, because the network accepts only one size
        return False


def _doubled(pictures: Sequence[np.ndarray]) -> list[np.ndarray]:
    return [cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR) for picture in pictures]


def _to_onnx(method: Method, metadata: Mapping[str, Any], any_side: bool) -> onnx.ModelProto:
    size_px = metadata["crop"]["size_px"]
    batch = torch.export.Dim("batch", min=1, max=1024)
    shape: dict[int, Any] = {0: batch}
    if any_side:
        step = torch.export.Dim("step", min=MIN_SIDE_PX // SIDE_STEP, max=MAX_SIDE_PX // SIDE_STEP)
        shape |= {1: SIDE_STEP * step, 2: SIDE_STEP * step}
    example = [torch.zeros(2, size_px, size_px, 3, dtype=torch.uint8), torch.zeros(2, size_px, size_px).byte()]
    names, shapes = ["pictures", "masks"], [shape, shape]
    module: nn.Module = _ByteModel(method)
    if isinstance(method, Conditional):
        module = _ConditionalByteModel(method)
        example.append(torch.zeros(2, STYLE_LENGTH))
        names.append("styles")
        shapes.append({0: batch})
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message=".*axis name: .* will not be used"
            )  # inputs share the axes of batch and side
            program = torch.onnx.export(
                module.eval(),
                tuple(example),
                input_names=names,
                output_names=["painted"],
                dynamic_shapes=tuple(shapes),
                opset_version=OPSET,
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # torch raises many types here
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ExportError(f"{metadata['method']} cannot be converted to ONNX: {reason}") from error
    assert program is not None  # it is None only with dynamo=False
    model = without_traces(program.model_proto)
    del model.graph.value_info[:]  # onnxruntime infers the shapes; without them, the file is smaller
    for tensor in (*model.graph.input, *model.graph.output):
        for size in tensor.type.tensor_type.shape.dim:
            if size.dim_param == f"{SIDE_STEP}*step":
                size.dim_param = "side"
    _shorten_names(model.graph)
    use_faster_convolutions(model)
    onnx.checker.check_model(model)
    return model


def _run_onnx(
    session: onnxruntime.InferenceSession,
    selfies: Sequence[Picture],
    masks: Sequence[MaskArray],
    style: Sequence[float] | None,
) -> np.ndarray:
    tensors = {"pictures": np.stack(selfies), "masks": np.stack(masks)}
    if style is not None:
        tensors["styles"] = np.tile(np.array(style, np.float32), (len(selfies), 1))
    return session.run(["painted"], tensors)[0].astype(int)


def without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove stack traces and file names, which contain paths of this machine; return the same model."""
    del model.metadata_props[:]
    for part in (model.graph, *model.graph.node, *model.graph.initializer, *model.graph.value_info, *model.functions):
        del part.metadata_props[:]
        part.doc_string = ""
    for function in model.functions:
        for node in function.node:
            del node.metadata_props[:]
            node.doc_string = ""
    return model


def _shorten_names(graph: onnx.GraphProto) -> None:
    """Remove the path of modules that the names of all weights begin with, such as `method.ema.network.`."""
    weights = [each for each in graph.initializer if each.name.startswith("method.")]
    levels = zip(*(each.name.split(".")[:-1] for each in weights), strict=False)
    shared = list(itertools.takewhile(lambda names: len(set(names)) == 1, levels))
    short = {each.name: ".".join(each.name.split(".")[len(shared) :]) for each in weights}
    others = {name for node in graph.node for name in (*node.input, *node.output)} - set(short)
    if others & set(short.values()):
        return  # a short name is that of another tensor
    for each in weights:
        each.name = short[each.name]
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = short.get(name, name)


def compress_weights(model: onnx.ModelProto, precision: str) -> onnx.ModelProto:
    """Return a copy of a model with compressed weights.

    Large tensors are stored as float16 or, with precision "int8", as int8 with one scale per output channel. With
    "fp32", nothing changes.
    """
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
