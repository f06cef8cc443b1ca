"""The user's face network: here one of two layers, whose answer is known."""

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from test_metrics import evidence
from toys import FRAME, drawn

from portraitist.evaluate.registry import Network, metrics
from portraitist.nets.identity import EYES, MOUTH, SIDE, Identity, IdentityError, find_network


def network(path, side=SIDE, flat=True):
    """Mean colours of a face."""
    values = [
        helper.make_tensor_value_info("face", TensorProto.FLOAT, ["n", 3, side, side]),
        helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 3] if flat else ["n", 3, 1, 1]),
    ]
    nodes = [helper.make_node("GlobalAveragePool", ["face"], ["pooled" if flat else "embedding"])]
    if flat:
        nodes.append(helper.make_node("Flatten", ["pooled"], ["embedding"]))
    graph = helper.make_graph(nodes, "face", values[:1], values[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("side", [80, 256, 512])
def test_eyes_and_mouth_come_where_arcface_has_them(tmp_path, side):
    frame = FRAME.model_copy(update={"size_px": side})
    crops = torch.full((1, 3, side, side), -1.0)
    size = max(1, side // 40)
    for x, y in ((0.42, frame.eye_line), (0.5, frame.eye_line + frame.eye_to_mouth)):
        column, row = round(x * side), round(y * side)
        crops[:, :, row - size : row + size, column - size : column + size] = 1
    (face,) = Identity(network(tmp_path / "net.onnx"), frame).faces(crops)
    assert face.shape == (3, SIDE, SIDE)
    light = face[0] > 0.5 * face[0].max()
    rows, columns = np.nonzero(light.numpy())
    eye, mouth = rows < 72, rows > 72
    pixels = (MOUTH - EYES[1]) / frame.eye_to_mouth  # of the face, in one side of the crop
    assert rows[eye].mean() + 0.5 == pytest.approx(EYES[1], abs=1)
    assert rows[mouth].mean() + 0.5 == pytest.approx(MOUTH, abs=1)
    assert columns[eye].mean() + 0.5 == pytest.approx(EYES[0] - 0.08 * pixels, abs=1)
    assert columns[mouth].mean() + 0.5 == pytest.approx(EYES[0], abs=1)


def test_embeddings_are_the_networks_of_the_face(tmp_path):
    net = Identity(network(tmp_path / "net.onnx"), FRAME)
    images = drawn(3, 3, 32, 32, seed=1)
    assert net.pooled(images) == pytest.approx(net.faces(images).mean((2, 3)).numpy(), abs=1e-5)
    assert net.name.startswith("net.onnx, sha256 ")


def test_identity_is_the_cosine_of_selfie_and_avatar(tmp_path):
    answers = iter([np.array([[1.0, 0], [3, 4], [0, 2]]), np.array([[2.0, 0], [4, 3], [1, 0]])])
    given = evidence(networks={"identity": Network(lambda _: next(answers), {"network": "told"})})
    found = metrics({"identity": 0})["identity"].measure(given)
    assert found.each == pytest.approx([1, 24 / 25, 0])
    assert found.about["network"] == "told"


def test_no_network_is_none_and_two_are_refused(tmp_path):
    assert find_network(tmp_path) is None
    path = network(tmp_path / "a.onnx")
    assert find_network(tmp_path) == path
    network(tmp_path / "b.onnx")
    with pytest.raises(IdentityError, match=r"holds a\.onnx, b\.onnx; one of them must go"):
        find_network(tmp_path)


def test_what_is_no_face_network_is_refused_with_what_was_found(tmp_path):
    (tmp_path / "none.onnx").write_bytes(b"nothing")
    with pytest.raises(IdentityError, match=r"none\.onnx: not a network"):
        Identity(tmp_path / "none.onnx", FRAME)
    with pytest.raises(IdentityError, match=r"n x 3 x 112 x 112.*160"):
        Identity(network(tmp_path / "large.onnx", side=160), FRAME)
    with pytest.raises(IdentityError, match="one output of n x length"):
        Identity(network(tmp_path / "deep.onnx", flat=False), FRAME)
