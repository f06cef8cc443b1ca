import getpass
import importlib
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from toys import ROOT, begun, boxes, drawn

from portraitist.export import ExportError, export

# torch says so of two inputs that share their batch
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:# The axis name. batch will not be used:UserWarning"),
]
ABOUT = {
    "crop": {"size_px": 32, "eye_line": 0.44},
    "mask": {"model": "selfie"},
    "method": "masked_cartoongan",
    "seed": 7,
}


@pytest.fixture(scope="module")
def painter():
    learner = begun("masked_cartoongan")
    with torch.no_grad():
        for part in learner.parameters():
            part.mul_(1.5)  # away from what was drawn
    return learner.eval()


@pytest.fixture(scope="module")
def exported(painter, tmp_path_factory):
    """The model's file, what export measured, and torch's program, so that it need not be traced again."""
    real, programs = torch.onnx.export, []

    def recording(*args, **options):
        programs.append(real(*args, **options))
        return programs[-1]

    torch.onnx.export = recording
    try:
        path = tmp_path_factory.mktemp("export") / "portraitist.onnx"
        return path, export(painter, ABOUT, path, 1e-3), programs
    finally:
        torch.onnx.export = real


@pytest.mark.parametrize("count", [1, 3])
def test_the_exported_model_paints_as_torch_does_however_many(painter, exported, count):
    selfies, masks = drawn(count, 3, 32, 32, seed=8), boxes(*[(4, 30, 3, 25)] * count, height=32, width=32)
    masks[:, :, 6] *= 0.5
    session = onnxruntime.InferenceSession(exported[0], providers=["CPUExecutionProvider"])
    (painted,) = session.run(["painted"], {"selfies": selfies.numpy(), "masks": masks.numpy()})
    assert painted == pytest.approx(painter.paint(selfies, masks).numpy(), abs=1e-4)
    assert np.abs(painted - selfies.numpy()).max() > 0.1


def test_the_file_says_how_to_crop_for_it_and_who_paints(exported):
    told = {entry.key: entry.value for entry in onnx.load(exported[0]).metadata_props}
    assert json.loads(told["crop"]) == ABOUT["crop"]
    assert json.loads(told["mask"]) == ABOUT["mask"]
    assert (told["method"], told["seed"]) == ("masked_cartoongan", "7")


def test_what_was_measured_is_written_in_plain_numbers(exported):
    path, measured, _ = exported
    assert measured["side_px"] == 32
    assert measured["megabytes"] == pytest.approx(path.stat().st_size / 1e6, abs=0.001)
    assert 0 <= measured["max_error"] < 1e-4


def test_exporting_twice_gives_equal_bytes(painter, exported, tmp_path):
    export(painter, ABOUT, tmp_path / "again.onnx", 1e-3)
    assert (tmp_path / "again.onnx").read_bytes() == exported[0].read_bytes()


def test_the_file_does_not_tell_where_or_by_whom_it_was_made(exported):
    data = exported[0].read_bytes()
    for word in (str(ROOT), str(Path.home()), f"/{getpass.getuser()}", "site-packages", ".py", 'File "'):
        assert word.encode() not in data, word


def test_a_model_that_differs_too_much_is_not_written(painter, exported, tmp_path, monkeypatch):
    module = importlib.import_module("portraitist.export")
    monkeypatch.setattr(module.torch.onnx, "export", lambda *_, **__: exported[2][0])
    with torch.no_grad():
        moved = begun("masked_cartoongan", seed=9)
        moved.load_state_dict(painter.state_dict())
        next(moved.mean.network.layers.children()).weight[0, 0, 3, 3] += 1
    export(painter, ABOUT, tmp_path / "same.onnx", 1e-3)
    with pytest.raises(ExportError, match=r"differ by .* in \[-1, 1\]; 0.001 is allowed"):
        export(moved.eval(), ABOUT, tmp_path / "other.onnx", 1e-3)
    assert [path.name for path in tmp_path.iterdir()] == ["same.onnx"]
