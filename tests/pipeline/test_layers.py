"""Imports go one way: from a room to those before it, never to those after."""

import ast
import re
import subprocess
import sys

import pytest
from reach import ROOT, file_of, imported, reached

from portraitist.all_params import SECTIONS

SRC = ROOT / "src" / "portraitist"
ROOMS = [
    {"pictures", "sandbox", "whole"},
    {"images", "ranks"},
    {"params", "bootstrap", "locked"},
    {"status"},
    {"manifest", "blocklist"},
    {"shards", "parallel"},
    {"guard", "robots"},
    {"fetch"},
    {"spool"},
    {"report", "sources", "resume"},
    {"collect"},
    {"weights", "tflite_onnx", "compare", "judgements", "win_rates", "dag"},
    {"page", "judge"},
    {"clean"},
    {"dedupe", "crop"},
    {"sift", "mask", "review", "forget"},
    {"split", "augment"},
    {"dataset"},
    {"pairs"},
    {"losses", "nets"},
    {"methods"},
    {"checkpoint", "watch", "events"},
    {"train"},
    {"paint"},
    {"avatar", "card", "cost", "evaluate"},
    {"evaluation", "export", "look"},
    {"line", "video"},
    {"static_page", "web"},
    {"batch"},
    {"cli"},
    {"__main__"},
]
FLOOR = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}
PRODUCT = ("avatar", "batch", "look", "video", "web")
CORE_NAMES = {"python-multipart": "multipart", "opencv-python-headless": "cv2", "pillow": "PIL", "pyyaml": "yaml"}
FILES = sorted(path for path in SRC.rglob("*.py") if path != SRC / "__init__.py")
STAGES = sorted(path for path in (ROOT / "pipeline").glob("*.py") if path.stem != "__init__")


def room_of(path):
    first = path.relative_to(SRC).parts[0]
    return first.removesuffix(".py")


def top_names(path):
    """The first word of each module that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
    return found


def rooms_used(path):
    files = [file_of(name) for name in imported(path)]
    return {room_of(file) for file in files if file.is_relative_to(SRC) and file != SRC / "__init__.py"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SRC).as_posix())
def test_a_room_knows_only_those_before_it(path):
    own = room_of(path)
    assert own in FLOOR, "a file without a room: which is it?"
    assert not {room for room in rooms_used(path) if room != own and FLOOR[room] >= FLOOR[own]}


def test_every_room_is_there():
    assert {room_of(path) for path in FILES} == set(FLOOR)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SRC).as_posix())
def test_nothing_in_src_knows_the_pipeline_or_dvc(path):
    assert not top_names(path) & {"pipeline", "dvc"}


@pytest.mark.parametrize("path", STAGES, ids=lambda path: path.stem)
def test_a_stage_is_a_clerk_without_pixels_and_tensors(path):
    assert not top_names(path) & {"numpy", "torch", "torchvision", "PIL", "albumentations", "timm"}


@pytest.mark.parametrize(
    ("room", "unknown"),
    [
        ("nets", {"losses"}),
        ("losses", {"nets"}),
        ("evaluate", {"methods", "train", "checkpoint", "avatar"}),
        ("avatar", {"export", "evaluate", "images", "methods", "manifest"}),
    ],
)
def test_what_a_room_may_never_ask(room, unknown):
    files = [path for path in FILES if room_of(path) == room]
    assert files
    assert not set().union(*(rooms_used(path) for path in files)) & unknown


@pytest.mark.parametrize("product", PRODUCT)
def test_the_product_needs_nothing_of_training(product):
    files = reached(SRC / f"{product}.py")
    assert SRC / "crop.py" in files
    rooms = {room_of(path) for path in files if path != SRC / "__init__.py"}
    assert not rooms & {"dataset", "train", "augment", "methods", "images"}


@pytest.mark.parametrize("product", PRODUCT)
def test_the_product_runs_on_the_extra_app(product):
    listed = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    wanted = "".join(re.findall(r"\n(?:dependencies|app) = \[(.*?)\n\]", listed, re.S))
    there = {CORE_NAMES.get(name, name.replace("-", "_")) for name in re.findall(r'"([\w-]+)', wanted)}
    used = set().union(*map(top_names, reached(SRC / f"{product}.py"))) - set(sys.stdlib_module_names) - {"portraitist"}
    assert "onnxruntime" in used
    assert not there & {"torch", "pandas", "timm", "onnx"}
    assert used <= there


def test_painting_loads_nothing_that_the_pipeline_alone_needs(model, sample, tmp_path):
    selfie = str(sample / "selfies" / "0006.jpg")
    words = ["paint", selfie, "-o", str(tmp_path / "a.png"), "--model", str(model)]
    code = f"""if True:
        import sys
        sys.argv[1:] = {words!r}
        from portraitist.cli import app
        app(standalone_mode=False)
        print(*sorted(set(sys.modules) & {{"torch", "timm", "pandas", "onnx", "dvc", "albumentations"}}))
    """
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.splitlines() == [str(tmp_path / "a.png"), ""]


def test_one_word_names_a_stage_its_section_and_its_file():
    stages = {path.stem for path in STAGES}
    # `generator` is a shape that three trainings share, `content` what two of them compare, `fetch` is all sources'
    assert set(SECTIONS) - {"generator", "content", "fetch"} <= stages
    for path in STAGES:
        own = re.findall(r'\w+Params, "(\w+)"', path.read_text(encoding="utf-8"))
        assert path.stem in own or path.stem not in SECTIONS
