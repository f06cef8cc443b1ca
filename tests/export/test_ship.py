import base64
import hashlib
import json
import shutil

import numpy as np
import onnx
import pandas as pd
import pytest
import torch
from onnx import helper
from toys import style_networks

from portraitist.core import manifest
from portraitist.core.image_io import encode_png
from portraitist.core.shards import ShardWriter
from portraitist.export import ship as ship_module
from portraitist.export.ship import Selection, ShipError, ship
from portraitist.learning.tensors import on_grey, to_images, to_masks
from portraitist.nets.arbitrary_style import StylePredictor

IDS = [f"{number:016x}" for number in range(4)]
ABOUT = {"title": "Some paintings", "url": "https://example.org/paintings", "licence": "CC-BY-SA-4.0"}
CARD = "---\nlicense: other\n---\n# Card\n\n## Licence\n\nUnknown.\n\n## Limits\n\n- None.\n"
METADATA = {
    "method": "masked_stylizer", "format": "3", "crop": json.dumps({"size_px": 32}), "parts": "{}", "sha256": "0" * 64,
    "styles": json.dumps({"house": [0.5] * 100}), "card": CARD,
}  # fmt: skip


def selection(**styles):
    return Selection(portraits=ABOUT, selfies="photographs", styles=styles)


def save_model(project, **changes):
    graph = helper.make_graph([helper.make_node("Identity", ["a"], ["b"])], "graph", [], [])
    graph.value_info.append(helper.make_tensor_value_info("b", onnx.TensorProto.FLOAT, [1]))
    model = helper.make_model(graph)
    for key, value in (METADATA | changes).items():
        if value is not None:
            model.metadata_props.add(key=key, value=value)
    (project / "models" / "portraitist").mkdir(parents=True, exist_ok=True)
    onnx.save(model, project / "models" / "portraitist" / "portraitist.onnx")


@pytest.fixture
def project(tmp_path):
    """A run with three training portraits and a test portrait."""
    project = tmp_path / "project"
    save_model(project)
    (project / "models" / "pretrained").symlink_to(style_networks())
    data = project / "data"
    collect(data, "folder", licence="own", status="kept")
    rows = [{"id": one, "source": "folder", "status": "kept"} for one in IDS]
    (data / "clean").mkdir()
    manifest.write(rows, data / "clean" / "manifest.csv", ["id", "source", "status"])
    parts = [{"id": one, "kind": "portraits", "part": "train" if one != IDS[3] else "test"} for one in IDS]
    manifest.write(parts, data / "split.csv", ["id", "kind", "part"])
    for folder, arrays in (("crop", crops()), ("mask", masks())):
        with ShardWriter(data / folder, 10) as shards:
            for one, array in zip(IDS, arrays, strict=True):
                shards.add(one, {"png": encode_png(array)})
    faces = [{"id": one, "picture": one, "status": "kept"} for one in IDS]
    manifest.write(faces, data / "crop" / "manifest.csv", ["id", "picture", "status"])
    (tmp_path / "out").mkdir()
    return project


def collect(data, source, **values):
    """Write the manifest of a source that has all four portraits."""
    (data / "raw" / source).mkdir(parents=True)
    rows = [{"id": one, "name": f"{one}.png", "author": "Ann"} | values for one in IDS]
    columns = ["id", "name", "author", "licence", "url", "status"]
    manifest.write(rows, data / "raw" / source / "manifest.csv", columns)


def crops():
    return list(np.random.default_rng(1).integers(0, 256, (4, 32, 32, 3), np.uint8))


def masks():
    drawn = np.zeros((4, 32, 32), np.uint8)
    drawn[:, 8:] = 255
    return list(drawn)


def shipped_metadata(out):
    return {entry.key: entry.value for entry in onnx.load(out / "generator.onnx").metadata_props}


def test_generator_keeps_metadata_and_no_parts(project, tmp_path):
    report = ship(project, selection(red=IDS[2], blue=IDS[0]), None, tmp_path / "out")
    metadata = shipped_metadata(tmp_path / "out")
    assert not metadata.keys() & {"parts", "sha256"}
    assert (metadata["method"], metadata["crop"]) == (METADATA["method"], METADATA["crop"])
    digest = hashlib.sha256((tmp_path / "out" / "generator.onnx").read_bytes()).hexdigest()
    assert report["sha256"] == digest
    assert (tmp_path / "out" / "generator.sha256").read_text() == f"{digest}  generator.onnx\n"
    assert (report["styles"], report["portraits"]) == (["house", "red", "blue"], 3)


def test_generator_has_no_shapes_of_intermediate_tensors(project, tmp_path):
    ship(project, selection(), None, tmp_path / "out")
    graph = onnx.load(tmp_path / "out" / "generator.onnx").graph
    assert (len(graph.node), len(graph.value_info)) == (1, 0)


def test_named_styles_are_those_of_training(project, tmp_path):
    ship(project, selection(red=IDS[2], blue=IDS[0]), None, tmp_path / "out")
    styles = json.loads(shipped_metadata(tmp_path / "out")["styles"])
    persons = on_grey(to_images([crops()[2], crops()[0]]), to_masks([masks()[2], masks()[0]]))
    expected = StylePredictor(style_networks())(persons)
    assert torch.allclose(torch.tensor([styles["red"], styles["blue"]]), expected, atol=1e-5)
    assert styles["house"] == [0.5] * 100


def test_attribution_names_every_training_portrait(project, tmp_path):
    titles = tmp_path / "titles.csv"
    titles.write_text(f"file,source,licence\nportraits/{IDS[1]}.png,game:elf.png,CC0\n")
    ship(project, selection(), titles, tmp_path / "out")
    listed = pd.read_csv(tmp_path / "out" / "PORTRAITS.csv", dtype=str)
    assert list(listed["id"]) == IDS[:3]
    assert list(listed["name"]) == [f"{IDS[0]}.png", "game:elf.png", f"{IDS[2]}.png"]
    assert list(listed["licence"]) == ["own", "CC0", "own"]
    for text in ((tmp_path / "out" / "NOTICE").read_text(), (tmp_path / "out" / "README.md").read_text()):
        assert "3 pictures of Some paintings (https://example.org/paintings)" in text
        assert "CC0 (1), own (2)" in text
    card = shipped_metadata(tmp_path / "out")["card"]
    assert card == (tmp_path / "out" / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\n---\n# Card\n\n## Licence\n\nCode, weights")
    assert "Unknown" not in card
    assert card.endswith("\n\n## Limits\n\n- None.\n")


def test_attribution_is_that_of_the_source_that_was_used(project, tmp_path):
    collect(project / "data", "another", licence="other", status="kept")  # its rows come first
    ship(project, selection(), None, tmp_path / "out")
    listed = pd.read_csv(tmp_path / "out" / "PORTRAITS.csv", dtype=str)
    assert list(listed["licence"]) == ["own"] * 3


def test_generator_for_examples_becomes_a_file(project, tmp_path):
    out = tmp_path / "out"
    ship(project, selection(), None, out)
    assert not (out / "example_generator.onnx").exists()
    assert "example_generator" not in (out / "NOTICE").read_text()
    save_model(project, parts=json.dumps({"example_generator.onnx": base64.b64encode(b"graph").decode()}))
    ship(project, selection(), None, out)
    assert (out / "example_generator.onnx").read_bytes() == b"graph"
    digests = [
        hashlib.sha256((out / f"{name}.onnx").read_bytes()).hexdigest() for name in ("generator", "example_generator")
    ]
    lines = [f"{digests[0]}  generator.onnx", f"{digests[1]}  example_generator.onnx"]
    assert (out / "generator.sha256").read_text().splitlines() == lines
    assert f"example_generator.onnx (sha256 {digests[1]})" in (out / "NOTICE").read_text()
    assert not shipped_metadata(out).keys() & {"parts", "sha256"}
    save_model(project)
    ship(project, selection(), None, out)
    assert not (out / "example_generator.onnx").exists()


@pytest.mark.parametrize("written", range(5))
def test_interrupted_ship_removes_no_file(project, tmp_path, monkeypatch, written):
    out = tmp_path / "out"
    save_model(project, parts=json.dumps({"example_generator.onnx": base64.b64encode(b"graph").decode()}))
    ship(project, selection(), None, out)
    before = sorted(path.name for path in out.iterdir())
    save_model(project)
    paths = []

    def write_file(path, data):
        if len(paths) == written:
            raise KeyboardInterrupt
        paths.append(path)
        path.write_bytes(data)

    monkeypatch.setattr(ship_module, "write_file", write_file)
    with pytest.raises(KeyboardInterrupt):
        ship(project, selection(), None, out)
    assert sorted(path.name for path in out.iterdir()) == before


def test_portrait_of_the_test_part_is_no_style(project, tmp_path):
    with pytest.raises(ShipError, match=f"not among the 3 training portraits: {IDS[3]}"):
        ship(project, selection(red=IDS[3]), None, tmp_path / "out")


def test_model_without_styles_does_not_ship(project, tmp_path):
    save_model(project, styles=None, method="cartoongan")
    with pytest.raises(ShipError, match="cartoongan has only one style"):
        ship(project, selection(), None, tmp_path / "out")


def test_missing_sources_are_an_error(project, tmp_path):
    shutil.rmtree(project / "data" / "raw")
    with pytest.raises(ShipError, match="raw: no manifest of a source; run `dvc repro`"):
        ship(project, selection(), None, tmp_path / "out")


def test_large_generator_does_not_ship(project, tmp_path):
    save_model(project, card=CARD + "x" * 1_100_000)
    with pytest.raises(ShipError, match="at most 1 MB"):
        ship(project, selection(), None, tmp_path / "out")


def test_card_without_a_licence_does_not_ship(project, tmp_path):
    save_model(project, card="# Card\n\n## Limits\n")
    with pytest.raises(ShipError, match="no section `## Licence`"):
        ship(project, selection(), None, tmp_path / "out")
