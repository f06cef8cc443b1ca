import base64
import json
import re

import numpy as np
import onnx
import pytest
from app_helpers import inverting_graph, parts_of, replaced_graph, with_checksum, with_example_generator, with_metadata
from onnx import TensorProto, helper
from toys import make_checkpoint

from portraitist.app import avatar as avatar_module
from portraitist.app import model_file, trial_run
from portraitist.app.avatar import ModelError, Portraitist
from portraitist.app.model_file import EXAMPLE_GENERATOR, FORMAT, content_checksum
from portraitist.app.styles import StyleOptions
from portraitist.crop import detector


def open_error(path):
    """Return the error of opening a model, which must be one line that names the file."""
    with pytest.raises(ModelError) as raised:
        Portraitist(path)
    assert path.name in str(raised.value)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_missing_and_foreign_files_are_rejected(model, tmp_path):
    assert "no such file" in open_error(tmp_path / "portraitist.onnx")
    assert "not an exported model" in open_error(make_checkpoint(tmp_path / "model.pt"))
    with pytest.raises(ModelError, match=r"device 'tpu' .* cpu"):
        Portraitist(model, device="tpu")
    assert re.search(f"format '1'.*{FORMAT}", open_error(with_metadata(model, tmp_path / "old.onnx", format="1")))


def truncated_between_fields(data):
    """Return a model file's bytes up to the first metadata entry."""
    return next(data[:start] for number, start, _, _ in model_file._protobuf_fields(memoryview(data)) if number == 14)


@pytest.mark.parametrize("is_default", [True, False])
@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: b"", "the file is empty"),
        (lambda data: b"some text", r"not an exported model, or damaged: malformed field at byte \d+ of 9"),
        (lambda data: np.random.default_rng(1).bytes(9999), r"or damaged: malformed \w+ at byte \d+ of 9999"),
        (lambda data: data[:9999], r"or damaged: malformed field at byte \d+ of 9999"),
        (truncated_between_fields, "model format 'unknown', expected '3'"),
        (lambda data: data[:9999] + b"damaged" + data[10006:], r"damaged file: SHA-256 is \w+…, expected \w+…"),
    ],
    ids=["empty", "text", "random", "truncated", "truncated between fields", "changed"],
)
def test_error_of_a_damaged_file_says_what_to_do(shipped, tmp_path, monkeypatch, is_default, damage, reason):
    path = tmp_path / "portraitist.onnx"
    path.write_bytes(damage(shipped.read_bytes()))
    if is_default:
        monkeypatch.setattr(model_file, "DEFAULT_MODEL", path)
    remedy = "install the package again" if is_default else "copy or export the model again"
    assert re.search(f"{reason}; {remedy}$", open_error(path))


def test_path_that_cannot_be_read_is_a_model_error(tmp_path):
    assert "File name too long" in open_error(tmp_path / ("x" * 300))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"parts": None}, "'parts'"),
        ({"parts": "{}"}, "'face_full_range.tflite'"),
        ({"parts": "[]"}, "list indices must be"),
        ({"parts": "5"}, "subscriptable"),
        ({"parts": json.dumps({detector.DETECTOR_FILES[0]: 1})}, "argument should be"),
        ({"parts": json.dumps({detector.DETECTOR_FILES[0]: "?"})}, "base64"),
        ({"crop": "{"}, "Expecting property name"),
        ({"crop": "[" * 100_000}, "recursion"),
        ({"crop": json.dumps({"size_px": 64})}, "validation errors for CropParams"),
        ({"mask": "7"}, "must be a mapping"),
        ({"mask": json.dumps({"model": ["refined"]})}, "validation error"),
    ],
)
def test_malformed_metadata_is_one_line(model, tmp_path, changes, reason):
    assert reason in open_error(with_metadata(model, tmp_path / "x.onnx", **changes))


def with_fixed_side(model, path, side):
    """Save the model with `side` as the declared side of its pictures and masks."""
    graph = onnx.load(with_metadata(model, path))
    for tensor in (*graph.graph.input, *graph.graph.output):
        for size in tensor.type.tensor_type.shape.dim[1:3] if tensor.name != "styles" else ():
            size.dim_value = side
    onnx.save(graph, path)
    return path


def test_fixed_side_must_be_that_of_the_crops(model, tmp_path):
    side = Portraitist(model).crop_params.size_px
    fixed = Portraitist(with_fixed_side(model, tmp_path / "x.onnx", side))
    assert [fixed.allowed_side(wanted) for wanted in (64, 512)] == [side, side]
    error = open_error(with_fixed_side(model, tmp_path / "y.onnx", side + 16))
    assert f"crop.size_px is {side}" in error


@pytest.mark.parametrize(
    ("styles", "reason"),
    [
        ([], "`styles` is a list"),
        ({"house": [0.0] * 99}, "100 finite numbers"),
        ({"house": [float("nan")] * 100}, "100 finite numbers"),
        ({"house": "x"}, "could not convert"),
        ({"mine": [0.0] * 100}, "first style must be 'house'"),
        ({"house": [0.0] * 100, "a\x1b[2J": [0.0] * 100}, "printable name"),
        ({}, "graph are masks, painted, pictures, styles; expected masks, painted, pictures"),
    ],
)
def test_malformed_styles_are_rejected(shipped, tmp_path, styles, reason):
    assert reason in open_error(with_metadata(shipped.parent, tmp_path / "x.onnx", styles=json.dumps(styles)))


def test_damaged_detector_is_rejected(model, tmp_path):
    damaged = parts_of(model) | {detector.DETECTOR_FILES[1]: base64.b64encode(b"damaged").decode("ascii")}
    assert "detector" in open_error(with_metadata(model, tmp_path / "x.onnx", parts=json.dumps(damaged)))


def test_checksum_covers_every_byte(model, tmp_path):
    path = with_checksum(model, tmp_path / "x.onnx")
    Portraitist(path).check()
    data = path.read_bytes()
    digest, expected = content_checksum(data)
    assert digest == expected
    for position in np.random.default_rng(1).integers(0, len(data), 25):
        flipped = bytearray(data)
        flipped[position] ^= 0x10
        path.write_bytes(flipped)
        open_error(path)


def test_graph_with_another_output_shape_is_rejected(model, tmp_path):
    scalar = helper.make_node("ReduceMax", ["pictures"], ["painted"], keepdims=0)
    assert "`painted`" in open_error(replaced_graph(model, tmp_path / "scalar.onnx", [scalar], []))
    repeats = helper.make_tensor("repeats", TensorProto.INT64, [4], [1, 2, 2, 1])
    tile = helper.make_node("Tile", ["pictures", "repeats"], ["painted"])
    path = replaced_graph(model, tmp_path / "large.onnx", [tile], ["n", "h", "w", "c"], [repeats])
    with pytest.raises(ModelError, match=r"(painted|returns)"):
        Portraitist(path).check()


def test_creating_a_session_has_a_time_limit(model, tmp_path, monkeypatch):
    """Graph optimization evaluates nodes that depend only on constants: here, many large products."""
    size = helper.make_tensor("size", TensorProto.INT64, [2], [3000, 3000])
    nodes = [helper.make_node("ConstantOfShape", ["size"], ["matrix"]), helper.make_node("Cos", ["matrix"], ["m0"])]
    nodes += [helper.make_node("MatMul", [f"m{step}", "m0"], [f"m{step + 1}"]) for step in range(200)]
    nodes += [
        helper.make_node("ReduceMax", ["m200"], ["largest"], keepdims=0),
        helper.make_node("Cast", ["largest"], ["level"], to=TensorProto.UINT8),
        helper.make_node("Max", ["pictures", "level"], ["painted"]),
    ]
    side = Portraitist(model).crop_params.size_px
    path = replaced_graph(model, tmp_path / "constants.onnx", nodes, ["batch", side, side, 3], [size])
    monkeypatch.setattr(trial_run, "LIMIT_S", 3)
    assert "take more than 3 s" in open_error(path)


def test_memory_of_a_graph_is_limited(model, tmp_path):
    size = helper.make_tensor("size", TensorProto.INT64, [1], [10_000_000_000])
    nodes = [
        helper.make_node("ConstantOfShape", ["size"], ["zeros"]),
        helper.make_node("ReduceMax", ["zeros"], ["largest"], keepdims=0),
        helper.make_node("Cast", ["largest"], ["level"], to=TensorProto.UINT8),
        helper.make_node("Max", ["pictures", "level"], ["painted"]),
    ]
    side = Portraitist(model).crop_params.size_px
    path = replaced_graph(model, tmp_path / "large.onnx", nodes, ["batch", side, side, 3], [size])
    assert "cannot run: [ONNXRuntimeError]" in open_error(path)


def long_running(model, path):
    """Save the model with a graph that runs for about 20 s."""
    side = Portraitist(model).crop_params.size_px
    trips = helper.make_tensor("trips", TensorProto.INT64, [], [10**7])
    condition = helper.make_tensor("condition", TensorProto.BOOL, [], [1])
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("BitwiseNot", ["value"], ["next"])],
        "body",
        [
            helper.make_tensor_value_info("step", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("value", TensorProto.UINT8, None),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.UINT8, None),
        ],
    )
    loop = helper.make_node("Loop", ["trips", "condition", "pictures"], ["painted"], body=body)
    shape = ["batch", side, side, 3]
    return replaced_graph(model, path, [loop], shape, [trips, condition])


def test_first_run_has_a_time_limit(model, tmp_path, monkeypatch):
    path = long_running(model, tmp_path / "long.onnx")
    monkeypatch.setattr(trial_run, "LIMIT_S", 3)
    assert "take more than 3 s" in open_error(path)
    # as if the graph ran in time on the blank picture of the trial run
    monkeypatch.setattr(trial_run, "try_graph", lambda *_: None)
    portraitist = Portraitist(path)
    monkeypatch.setattr(avatar_module, "FIRST_RUN_LIMIT_S", 0.2)
    with pytest.raises(ModelError, match=r"more than 0\.2 s"):
        portraitist.check()


def like_error(path):
    """Return the error of painting in the style of an example, which must be one line that names the file."""
    portraitist = Portraitist(path)
    noise = np.random.default_rng(1).integers(0, 256, (64, 64, 3), np.uint8)
    square, style = np.zeros((64, 64, 3), np.uint8), portraitist.read_style(StyleOptions(like=noise))
    assert portraitist.paint_squares([square], [square[..., 0]])[0].shape == square.shape
    with pytest.raises(ModelError) as raised:
        portraitist.paint_squares([square], [square[..., 0]], style)
    assert path.name in str(raised.value)
    assert EXAMPLE_GENERATOR in str(raised.value)
    assert "\n" not in str(raised.value)
    with pytest.raises(ModelError):
        Portraitist(path).check()
    return str(raised.value)


def test_unusable_generator_for_examples_is_rejected(model, shipped, tmp_path, monkeypatch):
    folder = shipped.parent

    def error_of_part(graph):
        return like_error(with_example_generator(folder, tmp_path / "x.onnx", graph))

    assert "not an exported model" in error_of_part(b"damaged")
    one_style = (model / "portraitist.onnx").read_bytes()
    assert "graph are masks, painted, pictures; expected" in error_of_part(one_style)
    side = Portraitist(shipped).crop_params.size_px
    inverting_graph(folder, tmp_path / "portraitist.onnx")
    fixed = with_fixed_side(tmp_path, tmp_path / "fixed.onnx", side).read_bytes()
    assert "only one accepts any size" in error_of_part(fixed)
    monkeypatch.setattr(trial_run, "LIMIT_S", 3)
    assert "take more than 3 s" in error_of_part(long_running(folder, tmp_path / "long.onnx").read_bytes())


def test_generator_for_examples_is_tried_before_it_is_loaded(shipped, tmp_path, monkeypatch):
    graph = inverting_graph(shipped.parent, tmp_path / "graph.onnx").read_bytes()
    path = with_example_generator(shipped.parent, tmp_path / "x.onnx", graph)
    tried = []
    monkeypatch.setattr(model_file, "_tried", set())
    monkeypatch.setattr(trial_run, "try_graph", lambda data, side: tried.append((data, side)))
    portraitist = Portraitist(path)
    assert tried == [(path.read_bytes(), None)]
    portraitist.check()
    assert tried[1:] == [(graph, portraitist.crop_params.size_px)]
    Portraitist(path).check()
    assert len(tried) == 2


def test_only_other_models_get_a_trial_run(shipped, tmp_path, monkeypatch):
    tried = []
    monkeypatch.setattr(model_file, "DEFAULT_MODEL", shipped)
    monkeypatch.setattr(model_file, "_tried", set())
    monkeypatch.setattr(trial_run, "try_graph", lambda data, side: tried.append(data))
    Portraitist(shipped)
    assert not tried
    (tmp_path / "copy.onnx").write_bytes(shipped.read_bytes())
    Portraitist(tmp_path / "copy.onnx")
    assert tried == [shipped.read_bytes()]
