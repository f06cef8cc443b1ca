import getpass
import importlib
import json
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from toys import FRAME, ROOT, begun

from portraitist.crop.detector import DETECTOR_FILES as DETECTORS
from portraitist.export.model_card import model_card
from portraitist.export.onnx_export import ExportError, export_model
from portraitist.export.params import ExportParams
from portraitist.methods.base import Method
from portraitist.paint import paint_crops

pytestmark = pytest.mark.slow
ABOUT = {"crop": FRAME.model_dump(), "mask": {"model": "selfie"}, "method": "masked_cartoongan"}
ALL = {"fp32": 1, "fp16": 8, "int8": 60}
BOUNDS = ExportParams(method="masked_cartoongan", max_error=ALL, mean_error=ALL)


def squares(count, seed=8):
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, 32, 32), np.uint8)
    masks[:, 4:30, 3:25] = 255
    masks[:, 6] = 128
    return list(rng.integers(0, 256, (count, 32, 32, 3), np.uint8)), list(masks)


@pytest.fixture(scope="module")
def painter():
    learner = begun("masked_cartoongan")
    with torch.no_grad():
        for part in learner.parameters():
            part.mul_(1.5)  # away from what was drawn
    return learner.eval()


def write(painter, pretrained, dest, params=BOUNDS):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return export_model(painter, ABOUT, pretrained, params, *squares(3, seed=1), "A card.", dest)


@pytest.fixture(scope="module")
def exported(painter, pretrained, tmp_path_factory):
    """The folder, and what export measured."""
    dest = tmp_path_factory.mktemp("export") / "portraitist"
    return dest, write(painter, pretrained, dest)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(("file", "most"), [("portraitist", 1), ("portraitist.fp16", 8), ("portraitist.int8", 60)])
def test_the_exported_model_paints_as_torch_does_however_many(painter, exported, count, file, most):
    selfies, masks = squares(count)
    session = onnxruntime.InferenceSession(exported[0] / f"{file}.onnx", providers=["CPUExecutionProvider"])
    (painted,) = session.run(["painted"], {"pictures": np.stack(selfies), "masks": np.stack(masks)})
    apart = np.abs(painted.astype(int) - np.stack(paint_crops(painter, selfies, masks)))
    assert apart.max() <= most
    assert apart.mean() < most / 8
    assert np.abs(painted.astype(int) - np.stack(selfies)).max() > 12


def test_the_file_holds_all_that_an_avatar_needs_and_says_how(exported, pretrained):
    import base64

    told = {entry.key: entry.value for entry in onnx.load(exported[0] / "portraitist.onnx").metadata_props}
    assert json.loads(told["crop"]) == ABOUT["crop"]
    assert json.loads(told["mask"]) == ABOUT["mask"]
    assert (told["method"], told["card"], told["format"]) == ("masked_cartoongan", "A card.", "2")
    assert set(json.loads(told["tensors"])) == {"pictures", "masks", "painted"}
    parts = {name: base64.b64decode(text) for name, text in json.loads(told["parts"]).items()}
    assert set(parts) == {*DETECTORS, "selfie_segmentation.tflite", "NOTICE"}
    assert all(data == (pretrained / name).read_bytes() for name, data in parts.items())
    assert (exported[0] / "README.md").read_text() == "A card."


def test_what_was_measured_is_written_in_plain_numbers(exported):
    dest, measured = exported
    assert (measured["side_px"], measured["crops"]) == (32, 3)
    sizes = [measured[precision]["megabytes"] for precision in ("fp32", "fp16", "int8")]
    assert sizes[0] == pytest.approx((dest / "portraitist.onnx").stat().st_size / 1e6, abs=0.001)
    assert sizes[0] > sizes[1] > sizes[2]
    errors = [measured[precision]["mean_error"] for precision in ("fp32", "fp16", "int8")]
    assert errors[0] <= errors[1] < errors[2]
    assert json.loads(json.dumps(measured)) == measured


def test_exporting_twice_gives_equal_bytes_that_tell_not_where_or_by_whom(painter, pretrained, exported, tmp_path):
    write(painter, pretrained, tmp_path / "again")
    for path in exported[0].iterdir():
        data = path.read_bytes()
        assert (tmp_path / "again" / path.name).read_bytes() == data
        for word in (str(ROOT), str(Path.home()), f"/{getpass.getuser()}", "site-packages", '.py"', 'File "'):
            assert word.encode() not in data, word


def test_a_precision_that_does_not_hold_is_left_out_and_said_so(painter, pretrained, tmp_path):
    strict = ExportParams(method="masked_cartoongan", max_error=ALL | {"int8": 1}, mean_error=ALL)
    measured = write(painter, pretrained, tmp_path / "made", strict)
    assert measured["int8"]["max_error"] > 1
    assert [measured[name]["written"] for name in ("fp32", "fp16", "int8")] == [True, True, False]
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == [
        "README.md", "portraitist.fp16.onnx", "portraitist.onnx"
    ]  # fmt: skip


def test_a_model_that_differs_too_much_is_not_written(painter, pretrained, tmp_path, monkeypatch):
    module = importlib.import_module("portraitist.export.onnx_export")
    monkeypatch.setattr(module, "paint_squares", lambda *_: [255 - one for one in paint_crops(*_)])
    with pytest.raises(ExportError, match=r"differ by .* steps of 255; .* are allowed"):
        write(painter, pretrained, tmp_path / "made")
    assert list((tmp_path / "made").iterdir()) == []


class Iterates(Method):
    """Paints by as many steps as the picture asks for: no graph holds that."""

    saved_modules = ()

    def step(self, batch):
        return {}

    def paint(self, selfies, masks):
        while float(selfies.abs().mean()) > 0.1:
            selfies = selfies / 2
        return selfies


def test_a_method_that_is_no_graph_is_refused_in_one_line(pretrained, tmp_path):
    with pytest.raises(ExportError, match=r"\Amasked_cartoongan does not become ONNX: .*\Z"):
        write(Iterates().eval(), pretrained, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_the_card_names_data_and_numbers():
    metrics = {"bleed": {"selfies": 0.5, "ours": 0.25, "theirs": 9}, "cost": {"theirs": 3}}
    trained = [("sample", "selfies")] * 3 + [("commons", "portraits")]
    text = model_card({"method": "ours", "crop": {"size_px": 96}}, metrics, trained)
    assert text.startswith("---\nlicense: other\n")
    assert "- 3 selfies of source `sample`\n" in text
    assert "- 1 portraits of source `commons`\n" in text
    assert "| bleed | 0.5 | 0.25 |\n" in text
    assert "cost" not in text.split("## Licence")[0].split("## Metrics")[1]
    assert "# Portraitist: ours, 96 px" in text
