"""Example faces of the web page, and nodes of a model that browsers cannot compute on the graphics card."""

import importlib.util

import numpy as np
import pytest
from onnx import helper
from PIL import Image
from toys import ROOT

from portraitist.app.avatar import Portraitist
from portraitist.app.page_files import StylePreviews
from portraitist.app.site_builder import nodes_without_webgpu


def test_nodes_that_webgpu_lacks_are_listed():
    nodes = [
        helper.make_node("Resize", ["x", "", "scales"], ["smooth"], name="smooth", antialias=1, mode="linear"),
        helper.make_node("Resize", ["smooth", "", "scales"], ["plain"], name="plain", mode="linear"),
        helper.make_node("Relu", ["plain"], ["y"], name="relu"),
    ]
    assert nodes_without_webgpu(helper.make_model(helper.make_graph(nodes, "graph", [], []))) == ["smooth"]


@pytest.mark.slow
def test_example_faces_are_painted_by_the_shipped_model(shipped):
    path = ROOT / "docs" / "make_examples.py"
    spec = importlib.util.spec_from_file_location("make_examples", path)
    examples = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(examples)
    portraitist = Portraitist(shipped, threads=1)
    for number, face in enumerate(examples.PAGE_FACES, 1):
        pictures = examples.pair(portraitist, examples.SELFIES / f"{face}.jpg")
        for kind, painted in zip(("selfie", "avatar"), pictures, strict=True):
            with Image.open(examples.PAGE / f"example_{number}_{kind}.webp") as shown:
                difference = np.abs(np.asarray(shown.convert("RGB"), int) - np.asarray(painted))
            assert difference.mean() < 3, f"example {number}: run {path.name}"  # WebP is lossy


@pytest.mark.slow
def test_style_previews_differ_by_style(shipped):
    portraitist = Portraitist(shipped, threads=1)
    previews = StylePreviews(portraitist)
    assert portraitist.style_names[0] == "house"
    assert len({previews[name] for name in portraitist.style_names}) == len(portraitist.style_names) > 1
