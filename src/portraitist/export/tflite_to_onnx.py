"""TensorFlow Lite models as ONNX: of the operators those that MediaPipe's detector and segmenter are made of.

Only the browser needs it, for onnxruntime-web reads no tflite. Inputs and outputs stay as they are, batch x height x
width x channels; between them channels come first, as ONNX has it.
"""

from typing import Any

import numpy as np
import onnx
import tflite
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
FLOATS = {tflite.TensorType.FLOAT32: np.float32, tflite.TensorType.FLOAT16: np.float16}
NAMES = {value: name for name, value in vars(tflite.BuiltinOperator).items() if isinstance(value, int)}
TRANSPOSED = b"Convolution2DTransposeBias"  # MediaPipe's own: kernel and stride are 2
LAST, FIRST = [0, 2, 3, 1], [0, 3, 1, 2]  # where channels are


class ConversionError(ValueError):
    """The model holds an operator, or a use of one, that is not known here."""


def convert(data: bytes) -> onnx.ModelProto:
    """The model that a tflite file's bytes hold.

    Raises:
        ConversionError: An operator is not known.
    """
    return _Graph(tflite.Model.GetRootAs(data)).model()


class _Graph:
    def __init__(self, model: Any) -> None:
        self.source, self.graph = model, model.Subgraphs(0)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, np.ndarray] = {}
        self.halves: dict[int, np.ndarray] = {}  # constants that a DEQUANTIZE made

    def model(self) -> onnx.ModelProto:
        given = [int(place) for place in self.graph.InputsAsNumpy()]
        wanted = [int(place) for place in self.graph.OutputsAsNumpy()]
        ins, outs = [self._outer(place) for place in given], [self._outer(place) for place in wanted]
        for place, value in zip(given, ins, strict=True):
            self._add("Transpose", [value.name], self._name(place), perm=FIRST)
        for place in range(self.graph.OperatorsLength()):
            self._operator(self.graph.Operators(place))
        for place, value in zip(wanted, outs, strict=True):
            if len(self._shape(place)) == 4:
                self._add("Transpose", [self._name(place)], value.name, perm=LAST)
            else:
                self._add("Identity", [self._name(place)], value.name)
        weights = [numpy_helper.from_array(value, name) for name, value in self.weights.items()]
        graph = helper.make_graph(self.nodes, "graph", ins, outs, weights)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
        onnx.checker.check_model(made)
        return made

    def _outer(self, place: int) -> onnx.ValueInfoProto:
        name = self.graph.Tensors(place).Name().decode()
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, self._shape(place))

    def _name(self, place: int) -> str:
        return f"t{place}"

    def _shape(self, place: int) -> list[int]:
        return [int(side) for side in self.graph.Tensors(place).ShapeAsNumpy()]

    def _constant(self, place: int) -> np.ndarray:
        if place in self.halves:
            return self.halves[place]
        tensor = self.graph.Tensors(place)
        kind = FLOATS.get(tensor.Type(), np.int32)
        data = self.source.Buffers(tensor.Buffer()).DataAsNumpy().tobytes()
        value = np.frombuffer(data, kind).reshape(self._shape(place))
        return value.astype(np.float32) if tensor.Type() in FLOATS else value

    def _weight(self, value: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = np.ascontiguousarray(value)
        return name

    def _add(self, kind: str, inputs: list[str], output: str, **how: Any) -> None:
        self.nodes.append(helper.make_node(kind, inputs, [output], **how))

    def _operator(self, operator: Any) -> None:
        code = self.source.OperatorCodes(operator.OpcodeIndex())
        name = NAMES[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        ins, out = [int(place) for place in operator.InputsAsNumpy()], int(operator.Outputs(0))
        if code.CustomCode() == TRANSPOSED:
            kernel = self._constant(ins[1]).transpose(3, 0, 1, 2)  # out, height, width, in
            inputs = [self._name(ins[0]), self._weight(kernel), self._weight(self._constant(ins[2]))]
            self._add("ConvTranspose", inputs, self._name(out), strides=[2, 2])
        elif name == "DEQUANTIZE":
            self.halves[out] = self._constant(ins[0])
        elif name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            self._convolution(operator, name, ins, out)
        elif name in ("MAX_POOL_2D", "AVERAGE_POOL_2D"):
            self._pool(operator, name, ins[0], out)
        elif name in ("ADD", "MUL"):
            options = tflite.AddOptions() if name == "ADD" else tflite.MulOptions()
            self._activated(name.title(), [self._name(place) for place in ins], out, _read(operator, options))
        elif name in ("RELU", "HARD_SWISH", "LOGISTIC"):
            kinds = {"RELU": "Relu", "HARD_SWISH": "HardSwish", "LOGISTIC": "Sigmoid"}
            self._add(kinds[name], [self._name(ins[0])], self._name(out))
        elif name == "PAD":
            pads = self._constant(ins[1])[FIRST].T.reshape(-1).astype(np.int64)
            self._add("Pad", [self._name(ins[0]), self._weight(pads)], self._name(out))
        elif name == "RESIZE_BILINEAR":
            self._resize(operator, ins[0], out)
        elif name == "RESHAPE":
            self._add("Transpose", [self._name(ins[0])], f"{self._name(out)}_last", perm=LAST)
            shape = self._weight(np.array(self._shape(out), np.int64))
            self._add("Reshape", [f"{self._name(out)}_last", shape], self._name(out))
        elif name == "CONCATENATION" and len(self._shape(out)) == 3:
            axis = _read(operator, tflite.ConcatenationOptions()).Axis()
            self._add("Concat", [self._name(place) for place in ins], self._name(out), axis=axis)
        else:
            raise ConversionError(f"operator {code.CustomCode() or name} is not known here")

    def _convolution(self, operator: Any, name: str, ins: list[int], out: int) -> None:
        deep = name == "DEPTHWISE_CONV_2D"
        options = _read(operator, tflite.DepthwiseConv2DOptions() if deep else tflite.Conv2DOptions())
        kernel = self._constant(ins[1]).transpose(3, 0, 1, 2) if deep else self._constant(ins[1]).transpose(0, 3, 1, 2)
        inputs = [self._name(ins[0]), self._weight(kernel), self._weight(self._constant(ins[2]))]
        how = self._window(options, ins[0], out, kernel.shape[2:])
        self._activated("Conv", inputs, out, options, group=self._shape(ins[0])[3] if deep else 1, **how)

    def _pool(self, operator: Any, name: str, given: int, out: int) -> None:
        options = _read(operator, tflite.Pool2DOptions())
        window = (options.FilterHeight(), options.FilterWidth())
        kind = "MaxPool" if name == "MAX_POOL_2D" else "AveragePool"
        how = self._window(options, given, out, window)
        self._activated(kind, [self._name(given)], out, options, kernel_shape=list(window), **how)

    def _window(self, options: Any, given: int, out: int, window: tuple[int, ...]) -> dict[str, Any]:
        """TensorFlow's padding: SAME puts the odd pixel behind."""
        strides = [options.StrideH(), options.StrideW()]
        pads = [0, 0, 0, 0]
        if options.Padding() == tflite.Padding.SAME:
            for axis in range(2):
                seen, made = self._shape(given)[1 + axis], self._shape(out)[1 + axis]
                lacking = max((made - 1) * strides[axis] + window[axis] - seen, 0)
                pads[axis], pads[2 + axis] = lacking // 2, lacking - lacking // 2
        return {"strides": strides, "pads": pads}

    def _resize(self, operator: Any, given: int, out: int) -> None:
        options = _read(operator, tflite.ResizeBilinearOptions())
        if options.AlignCorners() or not options.HalfPixelCenters():
            raise ConversionError("RESIZE_BILINEAR is known with half pixel centres only")
        height, width = self._shape(out)[1:3]
        sizes = self._weight(np.array([1, self._shape(out)[3], height, width], np.int64))
        how = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        self._add("Resize", [self._name(given), "", "", sizes], self._name(out), **how)

    def _activated(self, kind: str, inputs: list[str], out: int, options: Any, **how: Any) -> None:
        fused = options.FusedActivationFunction()
        known = {tflite.ActivationFunctionType.NONE: "", tflite.ActivationFunctionType.RELU: "Relu"}
        if fused not in known:
            raise ConversionError(f"activation {fused} of {kind} is not known here")
        straight = self._name(out) if not known[fused] else f"{self._name(out)}_straight"
        self._add(kind, inputs, straight, **how)
        if known[fused]:
            self._add(known[fused], [straight], self._name(out))


def _read(operator: Any, options: Any) -> Any:
    table = operator.BuiltinOptions()
    options.Init(table.Bytes, table.Pos)
    return options
