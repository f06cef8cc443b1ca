"""Convert MediaPipe's face detector and selfie segmenter from TensorFlow Lite to ONNX.

Only the operators of these models are supported. The static web page needs the conversion, because onnxruntime-web
cannot read tflite files. Inputs and outputs keep tflite's layout: (batch, height, width, channels). All other tensors
have ONNX's layout: (batch, channels, height, width).
"""

from typing import Any

import numpy as np
import onnx
import tflite
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
FLOATS = {tflite.TensorType.FLOAT32: np.float32, tflite.TensorType.FLOAT16: np.float16}
OPERATOR_NAMES = {value: name for name, value in vars(tflite.BuiltinOperator).items() if isinstance(value, int)}
CONV_TRANSPOSE = b"Convolution2DTransposeBias"  # MediaPipe's custom operator: kernel and stride are 2
TO_CHANNELS_LAST, TO_CHANNELS_FIRST = [0, 2, 3, 1], [0, 3, 1, 2]  # axis permutations


class ConversionError(ValueError):
    """The tflite model uses an operator, or an option of an operator, that this converter does not support."""


def convert(data: bytes) -> onnx.ModelProto:
    """Return the ONNX model with the same inputs and outputs as a tflite model.

    Args:
        data: content of the tflite file.

    Raises:
        ConversionError: the model uses an operator, or an option of an operator, that is not supported.
    """
    return _Converter(tflite.Model.GetRootAs(data)).model()


class _Converter:
    """Build the ONNX graph of one tflite model. Tensor number i of the tflite model gets the name t<i>."""

    def __init__(self, model: Any) -> None:
        self.tflite_model, self.graph = model, model.Subgraphs(0)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, np.ndarray] = {}
        self.dequantized: dict[
            int, np.ndarray
        ] = {}  # float16 constants, by the index of the output of their DEQUANTIZE operator

    def model(self) -> onnx.ModelProto:
        input_indices = [int(index) for index in self.graph.InputsAsNumpy()]
        output_indices = [int(index) for index in self.graph.OutputsAsNumpy()]
        inputs = [self._value_info(index) for index in input_indices]
        outputs = [self._value_info(index) for index in output_indices]
        for index, value in zip(input_indices, inputs, strict=True):
            self._add("Transpose", [value.name], self._name(index), perm=TO_CHANNELS_FIRST)
        for index in range(self.graph.OperatorsLength()):
            self._convert_operator(self.graph.Operators(index))
        for index, value in zip(output_indices, outputs, strict=True):
            if len(self._shape(index)) == 4:
                self._add("Transpose", [self._name(index)], value.name, perm=TO_CHANNELS_LAST)
            else:
                self._add("Identity", [self._name(index)], value.name)
        weights = [numpy_helper.from_array(value, name) for name, value in self.weights.items()]
        graph = helper.make_graph(self.nodes, "graph", inputs, outputs, weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=9)
        onnx.checker.check_model(model)
        return model

    def _value_info(self, index: int) -> onnx.ValueInfoProto:
        name = self.graph.Tensors(index).Name().decode()
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, self._shape(index))

    def _name(self, index: int) -> str:
        return f"t{index}"

    def _shape(self, index: int) -> list[int]:
        return [int(side) for side in self.graph.Tensors(index).ShapeAsNumpy()]

    def _constant(self, index: int) -> np.ndarray:
        if index in self.dequantized:
            return self.dequantized[index]
        tensor = self.graph.Tensors(index)
        kind = FLOATS.get(tensor.Type(), np.int32)
        data = self.tflite_model.Buffers(tensor.Buffer()).DataAsNumpy().tobytes()
        value = np.frombuffer(data, kind).reshape(self._shape(index))
        return value.astype(np.float32) if tensor.Type() in FLOATS else value

    def _weight(self, value: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = np.ascontiguousarray(value)
        return name

    def _add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))

    def _convert_operator(self, operator: Any) -> None:
        code = self.tflite_model.OperatorCodes(operator.OpcodeIndex())
        name = OPERATOR_NAMES[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        ins, out = [int(index) for index in operator.InputsAsNumpy()], int(operator.Outputs(0))
        if code.CustomCode() == CONV_TRANSPOSE:
            kernel = self._constant(ins[1]).transpose(3, 0, 1, 2)  # to (output channels, height, width, input channels)
            inputs = [self._name(ins[0]), self._weight(kernel), self._weight(self._constant(ins[2]))]
            self._add("ConvTranspose", inputs, self._name(out), strides=[2, 2])
        elif name == "DEQUANTIZE":
            self.dequantized[out] = self._constant(ins[0])
        elif name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            self._convert_convolution(operator, name, ins, out)
        elif name in ("MAX_POOL_2D", "AVERAGE_POOL_2D"):
            self._convert_pool(operator, name, ins[0], out)
        elif name in ("ADD", "MUL"):
            options = tflite.AddOptions() if name == "ADD" else tflite.MulOptions()
            self._add_with_activation(
                name.title(), [self._name(index) for index in ins], out, _read_options(operator, options)
            )
        elif name in ("RELU", "HARD_SWISH", "LOGISTIC"):
            kinds = {"RELU": "Relu", "HARD_SWISH": "HardSwish", "LOGISTIC": "Sigmoid"}
            self._add(kinds[name], [self._name(ins[0])], self._name(out))
        elif name == "PAD":
            pads = self._constant(ins[1])[TO_CHANNELS_FIRST].T.reshape(-1).astype(np.int64)
            self._add("Pad", [self._name(ins[0]), self._weight(pads)], self._name(out))
        elif name == "RESIZE_BILINEAR":
            self._convert_resize(operator, ins[0], out)
        elif name == "RESHAPE":
            self._add("Transpose", [self._name(ins[0])], f"{self._name(out)}_channels_last", perm=TO_CHANNELS_LAST)
            shape = self._weight(np.array(self._shape(out), np.int64))
            self._add("Reshape", [f"{self._name(out)}_channels_last", shape], self._name(out))
        elif name == "CONCATENATION" and len(self._shape(out)) == 3:
            axis = _read_options(operator, tflite.ConcatenationOptions()).Axis()
            self._add("Concat", [self._name(index) for index in ins], self._name(out), axis=axis)
        else:
            raise ConversionError(
                f"operator {code.CustomCode() or name} of the tflite model is not supported by this converter"
            )

    def _convert_convolution(self, operator: Any, name: str, ins: list[int], out: int) -> None:
        depthwise = name == "DEPTHWISE_CONV_2D"
        options = _read_options(operator, tflite.DepthwiseConv2DOptions() if depthwise else tflite.Conv2DOptions())
        kernel = (
            self._constant(ins[1]).transpose(3, 0, 1, 2) if depthwise else self._constant(ins[1]).transpose(0, 3, 1, 2)
        )
        inputs = [self._name(ins[0]), self._weight(kernel), self._weight(self._constant(ins[2]))]
        attributes = self._window_attributes(options, ins[0], out, kernel.shape[2:])
        self._add_with_activation(
            "Conv", inputs, out, options, group=self._shape(ins[0])[3] if depthwise else 1, **attributes
        )

    def _convert_pool(self, operator: Any, name: str, source: int, out: int) -> None:
        options = _read_options(operator, tflite.Pool2DOptions())
        window = (options.FilterHeight(), options.FilterWidth())
        kind = "MaxPool" if name == "MAX_POOL_2D" else "AveragePool"
        attributes = self._window_attributes(options, source, out, window)
        self._add_with_activation(kind, [self._name(source)], out, options, kernel_shape=list(window), **attributes)

    def _window_attributes(self, options: Any, source: int, out: int, window: tuple[int, ...]) -> dict[str, Any]:
        """Return the ONNX attributes `strides` and `pads` of a convolution or pooling operator.

        If SAME padding adds an odd number of pixels along an axis, the bottom or right side gets one more than the
        opposite side.
        """
        strides = [options.StrideH(), options.StrideW()]
        pads = [0, 0, 0, 0]
        if options.Padding() == tflite.Padding.SAME:
            for axis in range(2):
                size_in, size_out = self._shape(source)[1 + axis], self._shape(out)[1 + axis]
                padding = max((size_out - 1) * strides[axis] + window[axis] - size_in, 0)
                pads[axis], pads[2 + axis] = padding // 2, padding - padding // 2
        return {"strides": strides, "pads": pads}

    def _convert_resize(self, operator: Any, source: int, out: int) -> None:
        options = _read_options(operator, tflite.ResizeBilinearOptions())
        if options.AlignCorners() or not options.HalfPixelCenters():
            raise ConversionError(
                "operator RESIZE_BILINEAR is supported only with half_pixel_centers and without align_corners"
            )
        height, width = self._shape(out)[1:3]
        sizes = self._weight(np.array([1, self._shape(out)[3], height, width], np.int64))
        attributes = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        self._add("Resize", [self._name(source), "", "", sizes], self._name(out), **attributes)

    def _add_with_activation(self, kind: str, inputs: list[str], out: int, options: Any, **attributes: Any) -> None:
        fused = options.FusedActivationFunction()
        supported = {tflite.ActivationFunctionType.NONE: "", tflite.ActivationFunctionType.RELU: "Relu"}
        if fused not in supported:
            raise ConversionError(
                f"operator {kind} has fused activation number {fused}; only NONE (0) and RELU (1) are supported"
            )
        linear = self._name(out) if not supported[fused] else f"{self._name(out)}_linear"
        self._add(kind, inputs, linear, **attributes)
        if supported[fused]:
            self._add(supported[fused], [linear], self._name(out))


def _read_options(operator: Any, options: Any) -> Any:
    table = operator.BuiltinOptions()
    options.Init(table.Bytes, table.Pos)
    return options
