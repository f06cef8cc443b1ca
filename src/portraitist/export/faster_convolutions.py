"""Replace convolutions of an ONNX graph by faster ones that compute the same.

The generators' first and last convolutions, and those after an enlargement, work at full size and have few channels.
Runtimes are slow there: ONNX Runtime computes at least 16 channels on CPUs with AVX-512, even if there are three. The
new convolutions compute blocks of 2 x 2 pixels: their outputs have half of height and width, and four times as many
channels. The results differ by rounding only, because the order of additions differs.

The new weights are computed from the old ones in the graph: when a runtime opens it or, if weights have 8 bits, in
every run. So the file does not become larger, and compressed weights are those of the original convolutions.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper

BLOCK = 2  # height and width of the blocks, in pixels
MIN_KERNEL = 7  # smaller kernels have too many zeros in blocks: a kernel of k x k becomes one of (k + 1) x (k + 1)
MAX_CHANNELS = 8  # most output channels of a convolution that is replaced because of its kernel
ENLARGE = [1.0, 1.0, 2.0, 2.0]  # scales of `Resize`
PAD_ONE = [0, 0, 1, 1, 0, 0, 1, 1]  # amounts of `Pad`: one pixel at each side
Nodes = list[onnx.NodeProto]


class _Convolution(NamedTuple):
    """A convolution with stride 1 and a square kernel; the weight's shape is (outputs, inputs, height, width)."""

    node: onnx.NodeProto
    shape: tuple[int, ...]
    bias: np.ndarray | None


class _Graph:
    """The graph of a model, with lookups."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.graph = graph
        self.values = {each.name: each for each in graph.initializer}
        self.producers = {name: node for node in graph.node for name in node.output}
        self.uses = Counter(name for node in graph.node for name in node.input)
        self.uses.update(each.name for each in graph.output)

    def value(self, name: str) -> np.ndarray | None:
        """Return a constant tensor, or None if the tensor is not constant."""
        return numpy_helper.to_array(self.values[name]) if name in self.values else None

    def constant(self, name: str, value: np.ndarray) -> str:
        """Add a constant tensor, unless there is one of this name, and return the name."""
        if name not in self.values:
            self.values[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
            self.graph.initializer.append(self.values[name])
        return name

    def only_source(self, name: str, operator: str) -> onnx.NodeProto | None:
        """Return the node that computes a tensor, if it is of this operator and nothing else uses the tensor."""
        node = self.producers.get(name)
        return node if node is not None and node.op_type == operator and self.uses[name] == 1 else None

    def convolution(self, node: onnx.NodeProto) -> _Convolution | None:
        """Return a convolution with stride 1, a square kernel and neither padding nor groups; None for other nodes."""
        if node.op_type != "Conv":
            return None
        weight = self.value(node.input[1])
        bias = self.value(node.input[2]) if len(node.input) > 2 else None
        if (
            weight is None
            or weight.ndim != 4
            or weight.shape[2] != weight.shape[3]
            or (len(node.input) > 2) != (bias is not None)
        ):
            return None
        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        expected = {"group": 1, "strides": [1, 1], "dilations": [1, 1], "pads": [0, 0, 0, 0], "auto_pad": b"NOTSET"}
        same = all(attributes.get(name, value) == value for name, value in expected.items())
        return _Convolution(node, weight.shape, bias) if same else None


def use_faster_convolutions(model: onnx.ModelProto) -> int:
    """Replace convolutions of a model by faster ones that compute the same.

    Two kinds are replaced: those with a large kernel and few output channels, and those after a doubling of height and
    width, for example in decoders.

    Args:
        model: the model, which is changed. Height and width of all replaced convolutions' outputs must be even.

    Returns:
        The number of replaced convolutions.
    """
    graph, replaced = _Graph(model.graph), 0
    new: dict[str, Nodes] = {}  # nodes that replace the node with this output
    for node in model.graph.node:
        convolution = graph.convolution(node)
        if convolution is None:
            continue
        outputs, _, kernel, _ = convolution.shape
        enlarged = _enlarged_input(graph, convolution)
        if enlarged is not None:
            padding, enlargement = enlarged
            new[enlargement.output[0]] = new[padding.output[0]] = []
            new[node.output[0]] = _after_enlargement(graph, convolution, enlargement.input[0])
        elif kernel >= MIN_KERNEL and kernel % 2 and outputs <= MAX_CHANNELS:
            new[node.output[0]] = _on_blocks(graph, convolution)
        else:
            continue
        replaced += 1
    nodes = [each for node in model.graph.node for each in new.get(node.output[0], [node])]
    used = {name for node in nodes for name in node.input} | {each.name for each in model.graph.output}
    kept = [each for each in model.graph.initializer if each.name in used]
    for field, content in ((model.graph.node, nodes), (model.graph.initializer, kept)):
        copies = [type(each).FromString(each.SerializeToString()) for each in content]
        del field[:]
        field.extend(copies)
    return replaced


def _on_blocks(graph: _Graph, convolution: _Convolution) -> Nodes:
    """Return nodes that replace a convolution with a large kernel.

    A kernel of (k + 1) x (k + 1) pixels at the first pixel of a block contains the kernels of all four pixels of the
    block: each of them, padded with zeros. `SpaceToDepth` would make it smaller, but cannot run on WebGPU.
    """
    node, (outputs, inputs, kernel, _) = convolution.node, convolution.shape
    out, side = node.output[0], kernel + BLOCK - 1
    nodes = [
        helper.make_node("Unsqueeze", [node.input[1], graph.constant("phase_axis", np.array([1]))], [f"{out}_kernel"])
    ]
    padded = []
    for row, column in np.ndindex(BLOCK, BLOCK):
        after = BLOCK - 1 - row, BLOCK - 1 - column
        amounts = graph.constant(f"phase_{row}{column}", np.array([0, 0, 0, row, column, 0, 0, 0, *after]))
        padded.append(f"{out}_kernel{row}{column}")
        nodes.append(helper.make_node("Pad", [f"{out}_kernel", amounts], [padded[-1]]))
    shape = graph.constant(f"{out}_shape", np.array([outputs * BLOCK**2, inputs, side, side]))
    return [
        *nodes,
        helper.make_node("Concat", padded, [f"{out}_kernels"], axis=1),
        helper.make_node("Reshape", [f"{out}_kernels", shape], [f"{out}_weight"]),
        *_convolve_blocks(graph, convolution, node.input[0], strides=[BLOCK, BLOCK]),
    ]


def _after_enlargement(graph: _Graph, convolution: _Convolution, small: str) -> Nodes:
    """Return nodes that replace a doubling, a padding by reflection, and a convolution with a kernel of 3 x 3.

    Pixels of a block have the same value after the doubling. So the weights that fall on one small pixel are added.
    """
    node, (outputs, inputs, *_) = convolution.node, convolution.shape
    added = np.zeros((3, 3, BLOCK, BLOCK, 3, 3), np.float32)  # 1 where a weight is added to a small pixel's weight
    for row, column, down, right in np.ndindex(BLOCK, BLOCK, 3, 3):
        # the small pixel, of the 3 x 3 around the one of this block
        added[down, right, row, column, (row + down - 1) // BLOCK + 1, (column + right - 1) // BLOCK + 1] = 1
    out = node.output[0]
    matrix = graph.constant("added_weights", added.reshape(9, -1))
    rows = graph.constant("kernel_rows", np.array([-1, 9]))
    split = graph.constant(f"{out}_split", np.array([outputs, inputs, BLOCK**2, 9]))
    shape = graph.constant(f"{out}_shape", np.array([-1, inputs, 3, 3]))
    # reflection at the border of the doubled picture repeats the outermost pixel of the small one
    pad = helper.make_node("Pad", [small, graph.constant("pad_one", np.array(PAD_ONE))], [f"{out}_small"], mode="edge")
    return [
        helper.make_node("Reshape", [node.input[1], rows], [f"{out}_rows"]),
        helper.make_node("MatMul", [f"{out}_rows", matrix], [f"{out}_sums"]),
        helper.make_node("Reshape", [f"{out}_sums", split], [f"{out}_phases"]),
        helper.make_node("Transpose", [f"{out}_phases"], [f"{out}_kernels"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", [f"{out}_kernels", shape], [f"{out}_weight"]),
        *(pad, *_convolve_blocks(graph, convolution, f"{out}_small")),
    ]


def _convolve_blocks(graph: _Graph, convolution: _Convolution, source: str, **attributes: Any) -> Nodes:
    """Return nodes that convolve `source` with `<out>_weight`, and write the outputs to the pixels of blocks."""
    out = convolution.node.output[0]
    inputs = [source, f"{out}_weight"]
    if convolution.bias is not None:
        inputs.append(graph.constant(f"{out}_bias", convolution.bias.repeat(BLOCK**2)))
    return [
        helper.make_node("Conv", inputs, [f"{out}_blocks"], **attributes),
        helper.make_node("DepthToSpace", [f"{out}_blocks"], [out], blocksize=BLOCK, mode="CRD"),
    ]


def _enlarged_input(graph: _Graph, convolution: _Convolution) -> tuple[onnx.NodeProto, onnx.NodeProto] | None:
    """Return the padding and the doubling before a convolution with a kernel of 3 x 3; None if it has none."""
    padding = graph.only_source(convolution.node.input[0], "Pad")
    if convolution.shape[2] != 3 or padding is None or not _equals(graph.value(padding.input[1]), PAD_ONE):
        return None
    enlargement = graph.only_source(padding.input[0], "Resize")
    if enlargement is None or len(enlargement.input) != 3 or not _equals(graph.value(enlargement.input[2]), ENLARGE):
        return None
    modes = [
        {each.name: helper.get_attribute_value(each) for each in node.attribute} for node in (padding, enlargement)
    ]
    nearest = {"mode": b"nearest", "nearest_mode": b"floor", "coordinate_transformation_mode": b"asymmetric"}
    same = modes[0].get("mode") == b"reflect" and all(modes[1].get(name) == value for name, value in nearest.items())
    return (padding, enlargement) if same else None


def _equals(value: np.ndarray | None, expected: Sequence[int] | Sequence[float]) -> bool:
    return value is not None and value.tolist() == list(expected)
