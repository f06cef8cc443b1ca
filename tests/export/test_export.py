import base64
import getpass
import json
import sys
import warnings
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import yaml
from onnx import helper, numpy_helper
from toys import CROP_PARAMS, ROOT, make_checkpoint, make_trainable, noise, style_networks

from pipeline.export import main as stage_export
from portraitist.app.model_file import ModelError, load_model
from portraitist.core import manifest
from portraitist.core.image_io import encode_png
from portraitist.core.shards import ShardWriter
from portraitist.crop.detector import DETECTOR_FILES
from portraitist.export import onnx_export
from portraitist.export.model_card import model_card, read_training_data
from portraitist.export.onnx_export import ExportError, accepts_any_side, export_model, load_compared_crops
from portraitist.export.params import ExportParams
from portraitist.learning.method import Method
from portraitist.nets.arbitrary_style import load_style_transformer
from portraitist.paint import paint_crops

pytestmark = pytest.mark.slow
METADATA = {"crop": CROP_PARAMS.model_dump(), "mask": {"model": "selfie"}, "method": "masked_cartoongan"}
TOLERANCE = {"fp32": 1, "fp16": 8, "int8": 60}
BOUNDS = ExportParams(method="masked_cartoongan", max_error=TOLERANCE, mean_error=TOLERANCE)


def random_crops(count, seed=8):
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, 32, 32), np.uint8)
    masks[:, 4:30, 3:25] = 255
    masks[:, 6] = 128
    return list(rng.integers(0, 256, (count, 32, 32, 3), np.uint8)), list(masks)


@pytest.fixture(scope="module")
def method():
    method = make_trainable("masked_cartoongan")
    with torch.no_grad():
        for weights in method.parameters():
            weights.mul_(1.5)  # otherwise, the generator would reproduce its input
    return method.eval()


def export(method, pretrained, dest, params=BOUNDS):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return export_model(method, METADATA, pretrained, params, *random_crops(3, seed=1), "A card.", dest)


@pytest.fixture(scope="module")
def exported(method, pretrained, tmp_path_factory):
    """The folder, and the report of the export."""
    dest = tmp_path_factory.mktemp("export") / "portraitist"
    return dest, export(method, pretrained, dest)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(("file", "max_error"), [("portraitist", 1), ("portraitist.fp16", 8), ("portraitist.int8", 60)])
def test_onnx_paints_as_torch_does(method, exported, count, file, max_error):
    selfies, masks = random_crops(count)
    session = onnxruntime.InferenceSession(exported[0] / f"{file}.onnx", providers=["CPUExecutionProvider"])
    (painted,) = session.run(["painted"], {"pictures": np.stack(selfies), "masks": np.stack(masks)})
    difference = np.abs(painted.astype(int) - np.stack(paint_crops(method, selfies, masks)))
    assert difference.max() <= max_error
    assert difference.mean() < max_error / 8
    assert np.abs(painted.astype(int) - np.stack(selfies)).max() > 12


@pytest.mark.parametrize(
    "name", ["arbitrary_style_with_background", "arbitrary_style_without_background", "masked_stylizer"]
)
def test_style_network_paints_as_torch_does(name, pretrained, tmp_path):
    method = make_trainable(name, pretrained=pretrained)
    method.style.add(method.predictor(noise(2, 3, 64, 64, seed=1)))
    if name == "masked_stylizer":
        with torch.no_grad():
            for weights in method.ema.network.parameters():
                weights.mul_(1.2)  # as if it were trained
    dest = tmp_path / "portraitist"
    report = export(method.eval(), pretrained, dest)
    assert all(report[precision]["written"] for precision in ("fp32", "fp16", "int8"))
    selfies, masks = random_crops(3)
    model = onnx.load(dest / "portraitist.onnx")
    assert [entry.version for entry in model.opset_import if entry.domain == ""] == [18]
    assert [node.op_type for node in model.graph.node].count("DepthToSpace") == 4  # its slow convolutions are replaced
    assert "down.0.weight" in {each.name for each in model.graph.initializer}  # without the path that all weights share
    session = onnxruntime.InferenceSession(dest / "portraitist.onnx", providers=["CPUExecutionProvider"])
    tensors = {"pictures": np.stack(selfies), "masks": np.stack(masks)}
    (entry,) = [entry.value for entry in model.metadata_props if entry.key == "styles"]
    styles = json.loads(entry)
    assert list(styles) == ["house"]
    assert np.allclose(styles["house"], method.style.mean(), atol=1e-6)
    tensors["styles"] = np.tile(np.array(styles["house"], np.float32), (3, 1))
    other = {**tensors, "styles": 2 * tensors["styles"]}
    assert not np.array_equal(session.run(["painted"], other)[0], session.run(["painted"], tensors)[0])
    (painted,) = session.run(["painted"], tensors)
    difference = np.abs(painted.astype(int) - np.stack(paint_crops(method, selfies, masks)))
    assert difference.max() <= 1
    assert np.abs(painted.astype(int) - np.stack(selfies)).mean() > 12

    (entry,) = [entry.value for entry in model.metadata_props if entry.key == "parts"]
    example_generator = json.loads(entry).get("example_generator.onnx")
    assert (example_generator is None) == (report["example_generator"] is None) == (name != "masked_stylizer")
    if example_generator:
        start = dict(load_style_transformer(pretrained).named_parameters())
        with torch.no_grad():
            for weight_name, weights in method.ema.network.named_parameters():
                weights.copy_(0.33 * weights + 0.67 * start[weight_name])
        data = base64.b64decode(example_generator)
        session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        (painted_like,) = session.run(["painted"], tensors)
        difference = np.abs(painted_like.astype(int) - np.stack(paint_crops(method, selfies, masks)))
        assert difference.mean() < 1
        assert np.abs(painted_like.astype(int) - painted).mean() > 2 * difference.mean()
        assert report["example_generator"]["precision"] == "int8"
        assert report["example_generator"]["megabytes"] == round(len(data) / 1e6, 3)


def test_example_generator_has_the_lowest_precision_within_the_bounds(pretrained, tmp_path):
    method = make_trainable("masked_stylizer", pretrained=pretrained).eval()
    method.style.add(method.predictor(noise(2, 3, 64, 64, seed=1)))  # with the style 0, no weights round differently
    strict = ExportParams(method="masked_stylizer", max_error=TOLERANCE, mean_error=TOLERANCE | {"int8": 0, "fp16": 0})
    report = export(method, pretrained, tmp_path / "out", strict)
    assert report["example_generator"]["precision"] == "fp32"


@pytest.mark.parametrize(("input_name", "expected"), [("x", "down.weight"), ("down.weight", "method.net.down.weight")])
def test_weights_get_short_names_that_no_other_tensor_has(input_name, expected):
    names = ["method.net.down.weight", "method.net.down.bias", "method.net.up.weight"]
    weights = [numpy_helper.from_array(np.full(2, index, np.float32), name) for index, name in enumerate(names)]
    nodes = [helper.make_node("Sum", [input_name, *names], ["out"])]
    tensors = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2]) for name in (input_name, "out")]
    graph = helper.make_graph(nodes, "test", tensors[:1], tensors[1:], weights)
    onnx_export._shorten_names(graph)
    assert graph.initializer[0].name == graph.node[0].input[1] == expected
    onnx.checker.check_model(helper.make_model(graph))


def test_interpolated_weights_are_restored():
    network = load_style_transformer(style_networks())
    start = [weights.clone() for weights in network.parameters()]
    with torch.no_grad():
        for weights in network.parameters():
            weights.add_(1)
    trained = [weights.clone() for weights in network.parameters()]
    with pytest.raises(ZeroDivisionError), onnx_export.interpolated_weights(network, style_networks()):
        assert all(
            torch.allclose(weights, one + 0.33, atol=1e-5)
            for weights, one in zip(network.parameters(), start, strict=True)
        )
        raise ZeroDivisionError
    assert all(map(torch.equal, network.parameters(), trained))


@pytest.mark.parametrize("side", [40, 64])
def test_other_sides_are_painted_as_torch_does(method, exported, side):
    selfies, masks = ([cv2.resize(array, (side, side)) for array in arrays] for arrays in random_crops(2))
    session = onnxruntime.InferenceSession(exported[0] / "portraitist.onnx", providers=["CPUExecutionProvider"])
    (painted,) = session.run(["painted"], {"pictures": np.stack(selfies), "masks": np.stack(masks)})
    assert np.abs(painted.astype(int) - np.stack(paint_crops(method, selfies, masks))).max() <= 1


def test_network_that_fixes_the_side_is_recognized(method):
    assert accepts_any_side(method, 32)
    assert not accepts_any_side(make_trainable("pix2pix"), 64)


def test_metadata_holds_everything_that_an_avatar_needs(exported, pretrained):
    metadata = {entry.key: entry.value for entry in onnx.load(exported[0] / "portraitist.onnx").metadata_props}
    assert json.loads(metadata["crop"]) == METADATA["crop"]
    assert json.loads(metadata["mask"]) == METADATA["mask"]
    assert (metadata["method"], metadata["card"], metadata["format"]) == ("masked_cartoongan", "A card.", "3")
    assert set(json.loads(metadata["tensors"])) == {"pictures", "masks", "painted"}
    parts = {name: base64.b64decode(text) for name, text in json.loads(metadata["parts"]).items()}
    assert set(parts) == {*DETECTOR_FILES, "selfie_segmentation.tflite", "NOTICE"}
    assert all(data == (pretrained / name).read_bytes() for name, data in parts.items())
    assert (exported[0] / "README.md").read_text() == "A card."


def test_report_has_sizes_and_errors(exported):
    dest, report = exported
    assert (report["side_px"], report["any_side"], report["crops"]) == (32, True, 3)
    sizes = [report[precision]["megabytes"] for precision in ("fp32", "fp16", "int8")]
    assert sizes[0] == pytest.approx((dest / "portraitist.onnx").stat().st_size / 1e6, abs=0.001)
    assert sizes[0] > sizes[1] > sizes[2]
    errors = [report[precision]["mean_error"] for precision in ("fp32", "fp16", "int8")]
    assert errors[0] <= errors[1] < errors[2]
    assert json.loads(json.dumps(report)) == report


def test_export_is_reproducible_and_names_no_machine(method, pretrained, exported, tmp_path):
    export(method, pretrained, tmp_path / "again")
    for path in exported[0].iterdir():
        data = path.read_bytes()
        assert (tmp_path / "again" / path.name).read_bytes() == data
        for word in (str(ROOT), str(Path.home()), f"/{getpass.getuser()}", "site-packages", '.py"', 'File "'):
            assert word.encode() not in data, word


def test_precision_out_of_bounds_is_not_written(method, pretrained, tmp_path):
    strict = ExportParams(method="masked_cartoongan", max_error=TOLERANCE | {"int8": 1}, mean_error=TOLERANCE)
    report = export(method, pretrained, tmp_path / "out", strict)
    assert report["int8"]["max_error"] > 1
    assert [report[name]["written"] for name in ("fp32", "fp16", "int8")] == [True, True, False]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "README.md", "portraitist.fp16.onnx", "portraitist.onnx"
    ]  # fmt: skip


def test_fp32_out_of_bounds_is_an_error(method, pretrained, tmp_path, monkeypatch):
    inverted = lambda *arguments: [255 - picture for picture in paint_crops(*arguments)]  # noqa: E731
    monkeypatch.setattr(onnx_export, "paint_crops", inverted)
    with pytest.raises(ExportError, match=r"max_error.* on a scale of 0 to 255; .*`export`"):
        export(method, pretrained, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


class DataDependentLoop(Method):
    """Paints in a number of steps that depends on the picture, which ONNX cannot represent."""

    saved_modules = ()

    def step(self, batch):
        return {}

    def paint(self, selfies, masks):
        while float(selfies.abs().mean()) > 0.1:
            selfies = selfies / 2
        return selfies


def test_inconvertible_method_gives_a_one_line_error(pretrained, tmp_path):
    with pytest.raises(ExportError, match=r"\Amasked_cartoongan cannot be converted to ONNX: .*\Z"):
        export(DataDependentLoop().eval(), pretrained, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_card_lists_training_data_and_metrics():
    results = {
        "bleed": {"value": 0.2512, "low": 0.2, "high": 0.3, "n": 34},
        "cost": {"value": 3.0, "low": 3.0, "high": 3.0, "n": 1},
    }
    unchanged = {"bleed": {"value": 0.5, "low": 0.45, "high": 0.55}, "fid": {"value": 9.0, "low": 8.0, "high": 10.0}}
    training_data = [("sample", "selfies")] * 3 + [("commons", "portraits")]
    text = model_card({"method": "ours", "crop": {"size_px": 96}}, results, unchanged, training_data)
    assert text.startswith("---\nlicense: other\n")
    assert "- 3 selfies of source `sample`\n" in text
    assert "- 1 portraits of source `commons`\n" in text
    assert "| bleed | 0.50 [0.45, 0.55] | 0.25 [0.20, 0.30] |\n| cost |  | 3 |\n" in text
    assert "| fid |" not in text
    assert "# Portraitist: ours, 96 px" in text
    assert "Measured on 34 test selfies" in text


COLLECTED_TWICE = (("sample", "kept"), ("folder", "duplicate"))


def test_training_data_and_crops_are_those_of_the_train_part(tmp_path):
    ids = [f"{number:016x}" for number in range(4)]
    parts = [("selfies", "train"), ("portraits", "train"), ("selfies", "test"), ("selfies", "train")]
    rows = [{"id": picture, "kind": kind, "part": part} for picture, (kind, part) in zip(ids, parts, strict=True)]
    manifest.write(rows, tmp_path / "split.csv", ["id", "kind", "part"])
    (tmp_path / "clean").mkdir()
    cleaned = [{"id": ids[0], "source": source, "status": status} for source, status in COLLECTED_TWICE]
    manifest.write(cleaned, tmp_path / "clean" / "manifest.csv", ["id", "source", "status"])
    pictures, masks = random_crops(4)
    for folder, arrays in (("crop", pictures), ("mask", masks)):
        with ShardWriter(tmp_path / folder, 10) as shards:
            for picture, array in zip(ids, arrays, strict=True):
                shards.add(picture, {"png": encode_png(array)})
    picture_of = dict(zip(ids, ids, strict=True)) | {ids[3]: ids[0]}  # two faces of one picture
    faces = [{"id": face, "picture": picture, "status": "kept"} for face, picture in picture_of.items()]
    manifest.write(faces, tmp_path / "crop" / "manifest.csv", ["id", "picture", "status"])
    assert read_training_data(tmp_path / "clean", tmp_path / "crop", tmp_path / "split.csv") == [
        ("sample", "selfies"), ("sample", "selfies"), ("unknown", "portraits")
    ]  # fmt: skip
    found = load_compared_crops(tmp_path / "crop", tmp_path / "mask", tmp_path / "split.csv")
    assert all(map(np.array_equal, found[0], [pictures[0], pictures[3]]))
    assert all(map(np.array_equal, found[1], [masks[0], masks[3]]))


def test_stage_writes_card_and_headlines_without_a_comparison(pretrained, tmp_path, monkeypatch):
    method = "masked_cartoongan"
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["export"]["method"] = method
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    (tmp_path / "profiles").symlink_to(ROOT / "profiles")
    for folder in ("clean", "models", f"metrics/models/{method}", "metrics/models/selfies"):
        (tmp_path / folder).mkdir(parents=True)
    rows = [{"id": "0" * 16, "kind": "selfies", "part": "train"}]
    manifest.write(rows, tmp_path / "split.csv", ["id", "kind", "part"])
    row = {"id": "0" * 16, "picture": "0" * 16, "source": "sample", "status": "kept"}
    manifest.write([row], tmp_path / "clean" / "manifest.csv", ["id", "source", "status"])
    (picture,), (mask,) = random_crops(1)
    for folder, array in (("crop", picture), ("mask", mask)):
        with ShardWriter(tmp_path / folder, 10) as shards:
            enlarged = array.repeat(2, axis=0).repeat(2, axis=1)  # the checkpoint is for 64 px
            shards.add("0" * 16, {"png": encode_png(enlarged)})
    manifest.write([row], tmp_path / "crop" / "manifest.csv", ["id", "picture", "status"])
    make_checkpoint(tmp_path / "models" / f"{method}.pt", method)
    result = {"value": 0.2512, "low": 0.2, "high": 0.3, "n": 34}
    for name in (method, "selfies"):
        results = json.dumps({"background_bleed": result, "sharpness": result})
        (tmp_path / "metrics" / "models" / name / "metrics.json").write_text(results)

    monkeypatch.chdir(tmp_path)
    options = {
        "models": "models", "pretrained": pretrained, "crops": "crop", "masks": "mask", "split": "split.csv",
        "clean": "clean", "results": "metrics/models", "out": "out", "summary": "summary.json", "report": "report.json",
    }  # fmt: skip
    arguments = [str(word) for name, value in options.items() for word in (f"--{name}", value)]
    monkeypatch.setattr("sys.argv", ["export", *arguments])
    monkeypatch.setattr("sys.excepthook", sys.excepthook)
    stage_export()

    assert json.loads(Path("summary.json").read_text()) == {"bleed": 0.25}
    assert json.loads(Path("report.json").read_text())["method"] == method
    assert "| sharpness | 0.25 [0.20, 0.30] | 0.25 [0.20, 0.30] |" in Path("out/README.md").read_text()


def test_exported_model_has_the_checksum_the_product_verifies(model, tmp_path):
    data = (model / "portraitist.onnx").read_bytes()
    assert load_model(model)
    at = data.index(b"Apache") if b"Apache" in data else len(data) // 2
    damaged = tmp_path / "portraitist.onnx"
    damaged.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    with pytest.raises(ModelError, match=r"portraitist\.onnx"):
        load_model(damaged)
