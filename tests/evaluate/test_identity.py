"""The user's face recognition network, here a network with two layers and a known result."""

import numpy as np
import onnx
import pytest
import torch
from evaluation_toys import noise
from onnx import TensorProto, helper

from portraitist.evaluate.identity import EYES, MOUTH, SIDE, Identity, IdentityError, align_face, find_network


def write_network(path, side=SIDE, flatten=True):
    """Write a network that returns the mean colour of a face."""
    values = [
        helper.make_tensor_value_info("face", TensorProto.FLOAT, ["n", 3, side, side]),
        helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 3] if flatten else ["n", 3, 1, 1]),
    ]
    nodes = [helper.make_node("GlobalAveragePool", ["face"], ["pooled" if flatten else "embedding"])]
    if flatten:
        nodes.append(helper.make_node("Flatten", ["pooled"], ["embedding"]))
    graph = helper.make_graph(nodes, "face", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("side", [80, 256, 512])
@pytest.mark.parametrize("eye_to_mouth", [0.2, 0.3])
def test_eyes_and_mouth_are_at_arcface_positions(side, eye_to_mouth):
    crop = torch.full((1, 3, side, side), -1.0)
    dot = max(1, side // 40)
    for x, y in ((0.42, 0.44), (0.5, 0.44 + eye_to_mouth)):
        column, row = round(x * side), round(y * side)
        crop[:, :, row - dot : row + dot, column - dot : column + dot] = 1
    (face,) = align_face(crop, 0.44, eye_to_mouth)
    assert face.shape == (3, SIDE, SIDE)
    rows, columns = np.nonzero((face[0] > 0.5 * face[0].max()).numpy())
    eye, mouth = rows < 72, rows > 72
    crop_side_px = (MOUTH - EYES[1]) / eye_to_mouth  # in pixels of the face
    assert rows[eye].mean() + 0.5 == pytest.approx(EYES[1], abs=1)
    assert rows[mouth].mean() + 0.5 == pytest.approx(MOUTH, abs=1)
    assert columns[eye].mean() + 0.5 == pytest.approx(EYES[0] - 0.08 * crop_side_px, abs=1)
    assert columns[mouth].mean() + 0.5 == pytest.approx(EYES[0], abs=1)


def test_embeddings_are_those_of_the_network(tmp_path):
    net = Identity(write_network(tmp_path / "net.onnx"))
    images = noise(3, 3, SIDE, SIDE, seed=1)
    assert net.pooled(images) == pytest.approx(images.mean((2, 3)).numpy(), abs=1e-5)
    assert net.name.startswith("net.onnx, sha256 ")


def test_folder_may_hold_at_most_one_network(tmp_path):
    assert find_network(tmp_path) is None
    path = write_network(tmp_path / "a.onnx")
    assert find_network(tmp_path) == path
    write_network(tmp_path / "b.onnx")
    with pytest.raises(IdentityError, match=r"a\.onnx, b\.onnx"):
        find_network(tmp_path)


def test_file_that_is_not_a_network_is_an_error(tmp_path):
    (tmp_path / "none.onnx").write_bytes(b"nothing")
    with pytest.raises(IdentityError, match=r"none\.onnx"):
        Identity(tmp_path / "none.onnx")


@pytest.mark.parametrize(("shape", "found"), [({"side": 160}, "160"), ({"flatten": False}, r"3, 1, 1")])
def test_network_of_other_shapes_is_an_error(tmp_path, shape, found):
    path = write_network(tmp_path / "other.onnx", **shape)
    with pytest.raises(IdentityError, match=rf"other\.onnx.*112.*{found}"):
        Identity(path)
