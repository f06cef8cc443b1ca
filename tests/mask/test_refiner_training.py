import importlib.util
import sys

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from toys import ROOT

SHIPPED = ROOT / "data" / "refiner" / "person_refiner.onnx"


@pytest.fixture(scope="module")
def script(pretrained):
    """The script data/refiner/make_refiner.py as a module."""
    spec = importlib.util.spec_from_file_location("make_refiner", SHIPPED.with_name("make_refiner.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    module.PRETRAINED = pretrained
    yield module
    del sys.modules[spec.name]


def test_network_that_starts_from_a_file_computes_the_same(script):
    seen = np.random.default_rng(1).random((1, 16, 128, 128), np.float32)
    net = cv2.dnn.readNetFromONNX(str(SHIPPED))
    net.setInput(seen)
    with torch.no_grad():
        found = script.Refiner(SHIPPED).train()(torch.from_numpy(seen)).numpy()
    np.testing.assert_allclose(found, net.forward(), atol=1e-4)


def test_interpolated_weights_are_means(script, tmp_path):
    model = onnx.load(str(SHIPPED))
    for each in model.graph.initializer:
        values = numpy_helper.to_array(each)
        if values.dtype.kind == "f":
            each.CopyFrom(numpy_helper.from_array(3 * values, each.name))
    onnx.save(model, str(tmp_path / "other.onnx"))
    script.interpolate(SHIPPED, tmp_path / "other.onnx", tmp_path / "mean.onnx")
    start, mean = (
        {each.name: numpy_helper.to_array(each).astype(np.float32) for each in onnx.load(str(path)).graph.initializer}
        for path in (SHIPPED, tmp_path / "mean.onnx")
    )
    (kernel, bias), *_ = script.convolutions(model)
    for name in (kernel, bias):
        np.testing.assert_allclose(mean[name], 2 * start[name], rtol=1e-3)


@pytest.fixture(scope="module")
def people(script, sample):
    return script.load_people([sample])[0][0]


@pytest.mark.parametrize("before", [0.0, 1.0])
def test_neighbour_before_the_person_is_not_in_the_mask(script, people, monkeypatch, before):
    for name, probability in {"LETTERS": 0.0, "NEIGHBOUR": 1.0, "BEFORE": before}.items():
        monkeypatch.setattr(script, name, probability)
    picture, mask = np.full((script.SIDE, script.SIDE, 3), 90, np.uint8), np.full((script.SIDE,) * 2, 255, np.uint8)
    mask[:, : script.SIDE // 3] = 0
    added, covered = 0, 0
    for number in range(30):
        changed, visible = script.add_others(picture, mask, people, np.random.default_rng(number))
        added += (changed != 90).any()
        assert (changed[visible == 255] == 90).all()
        covered += (visible < mask).any()
    assert added > 5
    assert (covered > 0) == bool(before)
