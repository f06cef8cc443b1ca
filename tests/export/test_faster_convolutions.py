import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from portraitist.export.faster_convolutions import use_faster_convolutions

SIDE, INPUTS = 12, 5


def graph(nodes, outputs=("out",), **constants):
    inputs = [helper.make_tensor_value_info("in", TensorProto.FLOAT, [1, INPUTS, SIDE, SIDE])]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * 4) for name in outputs]
    tensors = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    made = helper.make_graph(nodes, "test", inputs, results, tensors)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def weights(outputs, kernel, seed=1):
    rng = np.random.default_rng(seed)
    return {
        "weight": rng.normal(size=(outputs, INPUTS, kernel, kernel)).astype(np.float32),
        "bias": rng.normal(size=outputs).astype(np.float32),
    }


def padding(pixels):
    return {"amounts": np.array([0, 0, pixels, pixels] * 2, np.int64)}


def large_kernel(outputs=3, kernel=9, inputs=("padded", "weight", "bias"), **attributes):
    nodes = [
        helper.make_node("Pad", ["in", "amounts"], ["padded"], mode="reflect"),
        helper.make_node("Conv", inputs, ["out"], **attributes),
    ]
    return graph(nodes, **weights(outputs, kernel), **padding(kernel // 2))


def enlargement(mode="nearest", pad="reflect", outputs=("out",), scale=2.0):
    nodes = [
        helper.make_node(
            "Resize",
            ["in", "", "scales"],
            ["large"],
            mode=mode,
            nearest_mode="floor",
            coordinate_transformation_mode="asymmetric",
        ),
        helper.make_node("Pad", ["large", "amounts"], ["padded"], mode=pad),
        helper.make_node("Conv", ["padded", "weight", "bias"], ["out"]),
    ]
    scales = np.array([1, 1, scale, scale], np.float32)
    return graph(nodes, outputs, **weights(7, 3), **padding(1), scales=scales)


def run(model):
    picture = np.random.default_rng(2).normal(size=(1, INPUTS, SIDE, SIDE)).astype(np.float32)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(["out"], {"in": picture})[0]


@pytest.mark.parametrize(
    "model",
    [
        large_kernel(),
        large_kernel(outputs=8, kernel=7),
        large_kernel(inputs=("padded", "weight")),
        enlargement(),
    ],
    ids=["9 x 9", "7 x 7", "without bias", "after a doubling"],
)
def test_faster_convolution_computes_the_same(model):
    expected = run(model)
    assert use_faster_convolutions(model) == 1
    assert "DepthToSpace" in {node.op_type for node in model.graph.node}
    found = run(model)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_constants_that_nothing_uses_are_removed():
    model = large_kernel()
    use_faster_convolutions(model)
    names = {each.name for each in model.graph.initializer}
    assert names >= {"amounts", "weight", "out_bias"}
    assert "bias" not in names


def test_constant_that_is_an_output_stays():
    model = large_kernel()
    model.graph.output.append(helper.make_tensor_value_info("bias", TensorProto.FLOAT, [3]))
    use_faster_convolutions(model)
    run(model)
    assert "bias" in {each.name for each in model.graph.initializer}


@pytest.mark.parametrize(
    "model",
    [
        large_kernel(outputs=9),
        large_kernel(kernel=5),
        large_kernel(strides=[2, 2]),
        large_kernel(dilations=[1, 2]),
        large_kernel(pads=[1, 1, 1, 1]),
        enlargement(mode="linear"),
        enlargement(pad="edge"),
        enlargement(outputs=("out", "large")),
        enlargement(scale=3.0),
    ],
    ids=[
        "many channels",
        "small kernel",
        "stride",
        "dilation",
        "zeros around",
        "linear",
        "edge",
        "used twice",
        "tripled",
    ],
)
def test_other_convolutions_stay(model):
    before = model.SerializeToString()
    assert use_faster_convolutions(model) == 0
    assert model.SerializeToString() == before
