"""Stages evaluate, evaluate_selfies and compare on generated pictures."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from evaluation_toys import CROP_PARAMS
from PIL import Image
from threadpoolctl import threadpool_info, threadpool_limits
from toys import make_checkpoint

from pipeline.compare import main as compare
from pipeline.evaluate import main as evaluate
from pipeline.evaluate_selfies import main as evaluate_selfies
from portraitist.augment.backgrounds import TEST_BACKGROUNDS
from portraitist.compare.html_report import STAGE_REPORTS, RunInputs
from portraitist.core import manifest
from portraitist.core.image_io import encode_png
from portraitist.core.shards import ShardWriter
from portraitist.evaluate.params import EvaluateParams
from portraitist.evaluate.run import COST_FILE, ModelPaths, load_data, stylized_by_method
from portraitist.learning.dataset import DatasetPaths

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PARAMS = EvaluateParams(seed=1, features_px=32, inception=False, bootstrap=20, sheet_rows=2)
SIDE = CROP_PARAMS.size_px
COUNTS = {"selfies": 5, "portraits": 4, "training_selfies": 3, "training_portraits": 3}
METHODS = {"dark": 30, "light": 200}  # the grey level of each method's output


def ids(name: str) -> list[str]:
    return [manifest.picture_id(f"{name} {number}".encode()) for number in range(COUNTS[name])]


def picture(seed: str) -> np.ndarray:
    return np.random.default_rng(list(seed.encode())).integers(60, 180, (SIDE, SIDE, 3)).astype(np.uint8)


def person() -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[4:30, 6:26] = 255
    return mask


def write_inputs(root: Path) -> None:
    """Write the outputs of the earlier stages."""
    with ShardWriter(root / "crop", 4) as crops, ShardWriter(root / "mask", 4) as masks:
        for name in COUNTS:
            for face in ids(name):
                crops.add(face, {"png": encode_png(picture(face))})
                masks.add(face, {"png": encode_png(person())})
    parts = {
        "selfies": ("selfies", "test"),
        "portraits": ("portraits", "test"),
        "training_selfies": ("selfies", "train"),
        "training_portraits": ("portraits", "train"),
    }
    rows = []
    for name, (kind, part) in parts.items():
        rows += [{"id": face, "kind": kind, "part": part, "group": face} for face in ids(name)]
    manifest.write(rows, root / "split.csv", ["id", "kind", "part", "group"])
    for name, level in (*METHODS.items(), ("augment", 100)):
        with ShardWriter(root / name, 4) as shards:
            for face in sorted(ids("selfies")):
                stylized = np.where(person()[..., None] > 0, level, picture(face)).astype(np.uint8)
                on_backgrounds = {f"{background}.png": encode_png(stylized) for background in TEST_BACKGROUNDS}
                shards.add(face, {"png": encode_png(stylized), **on_backgrounds})
        (root / name / COST_FILE).write_text('{"gflop": 1.5, "megabytes": 2.5}')
    (root / "clean").mkdir()
    faces = [{"id": face, "status": "kept", "picture": face[::-1]} for face in ids("selfies")]
    manifest.write(faces, root / "crop" / "manifest.csv", ["id", "status", "picture"])
    pictures = [{"id": face[::-1], "status": "kept", "source": "drawn", "reason": "x"} for face in ids("selfies")]
    manifest.write(pictures, root / "clean" / "manifest.csv", ["id", "status", "source", "reason"])
    (root / "identity").mkdir()
    (root / "metrics").mkdir()
    for stage in STAGE_REPORTS:
        (root / "metrics" / f"{stage}.json").write_text("{}")
    (root / "preferences.csv").write_text(f"id,left,right,preferred\n{ids('selfies')[0]},dark,light,dark\n")
    make_checkpoint(root / "mask.pt", "unet_mask")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory, pretrained: Path) -> Path:
    """A folder with the inputs of stage evaluate, and the outputs of all three stages."""
    root = tmp_path_factory.mktemp("stages")
    write_inputs(root)
    paths = DatasetPaths(root / "crop", root / "mask", root / "split.csv", root / "none.csv")
    models = ModelPaths(root / "mask.pt", pretrained, root / "identity")
    evaluate_selfies(PARAMS, CROP_PARAMS, paths, root / "augment", models, root / "clean", root / "models" / "selfies")
    for name in METHODS:
        evaluate(PARAMS, CROP_PARAMS, root / name, root / "models" / "selfies", paths, models, root / "models" / name)
    inputs = RunInputs(ROOT / "params.yaml", ROOT / "profiles" / "sample.yaml", ROOT / "dvc.yaml", root / "metrics")
    folders = {name: root / "models" / name for name in ("selfies", *METHODS)}
    compare("dark", folders, root / "preferences.csv", inputs, root / "metrics")
    return root


def test_each_method_is_measured_on_its_own_output(root: Path) -> None:
    results = {
        name: json.loads((root / "models" / name / "metrics.json").read_text()) for name in ("selfies", *METHODS)
    }
    assert results["selfies"]["content_lite0"]["value"] == 0
    assert results["dark"]["content_lite0"]["value"] > 0.01
    assert {metrics["background_bleed"]["n"] for metrics in results.values()} == {5}
    assert {metrics["kernel_lite0"]["details"]["n_portraits"] for metrics in results.values()} == {4}
    assert {metrics["memorised_lite0"]["details"]["n_training_portraits"] for metrics in results.values()} == {3}
    assert results["dark"]["background_repainted"]["value"] == 0  # both methods change the person only
    assert results["dark"]["sharpness"]["value"] == results["light"]["sharpness"]["value"] == 0
    assert results["selfies"]["sharpness"]["value"] > 0.5
    assert results["dark"]["cost_gflop"]["value"] == 1.5
    assert results["dark"]["background_sensitivity"]["value"] == pytest.approx(0, abs=1e-6)
    assert results["dark"]["background_bleed"]["value"] != results["light"]["background_bleed"]["value"]


def test_held_out_results_and_groups_are_reported_once(root: Path) -> None:
    methods = json.loads((root / "metrics" / "methods.json").read_text())
    assert list(methods["mask_iou_held_out"]) == list(methods["painted_rate_held_out"]) == ["held_out"]
    assert set(methods["background_bleed"]) == set(methods["painted_rate"]) == {"selfies", *METHODS}
    assert "mask_iou_held_out" not in (root / "metrics" / "compare.md").read_text()
    groups = pd.read_csv(root / "models" / "selfies" / "groups.csv", dtype=str)
    assert list(groups) == ["id", "tone", "light", "pose", "source"]
    assert list(groups["id"]) == sorted(ids("selfies"))
    assert set(groups["source"]) == {"drawn"}


def test_rates_and_landmarks_are_reported_by_group(root: Path) -> None:
    coverage = pd.read_csv(root / "metrics" / "coverage.csv")
    drawn = coverage[(coverage["by"] == "source") & (coverage["group"] == "drawn")]
    assert {"painted_rate", "background_bleed"} <= set(drawn["metric"])


def test_compare_writes_all_outputs(root: Path) -> None:
    files = {path.name for path in (root / "metrics").iterdir()}
    assert files - {f"{stage}.json" for stage in STAGE_REPORTS} == {
        "compare.csv", "compare.md", "coverage.csv", "methods.json", "report.html", "sheet.jpg",
    }  # fmt: skip
    frame = pd.read_csv(root / "metrics" / "compare.csv")
    assert set(frame) == {"metric", "method", "value", "low", "high", "n", "shown"}
    with Image.open(root / "metrics" / "sheet.jpg") as sheet:
        assert sheet.width == 5 * (128 + 8)  # selfies, portraits, two methods, learned mask
    report = (root / "metrics" / "report.html").read_text()
    assert "dark over light" in report  # from the only answer
    assert report.count("data:image/") > 20


def test_export_method_outside_the_table_exits_with_one_line(tmp_path: Path) -> None:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["export"]["method"] = "perceptual"  # can be trained, but is not a method of the comparison
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    (tmp_path / "profiles").symlink_to(ROOT / "profiles")
    words = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["compare"]["cmd"].split()
    run = subprocess.run(
        [sys.executable, *words[1:]],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (run.returncode, run.stderr.count("\n")) == (1, 1)
    for part in ("export.method", "'perceptual'", "methods with results: none"):
        assert part in run.stderr


def test_plot_template_matches_columns_of_compare_csv(root: Path) -> None:
    frame = pd.read_csv(root / "metrics" / "compare.csv")
    template = json.loads((ROOT / ".dvc" / "plots" / "intervals.json").read_text())
    stage = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["compare"]
    (plot,) = [plot["metrics/compare.csv"] for plot in stage["plots"] if isinstance(plot, dict)]
    assert plot["template"] == "intervals"
    assert plot["y"] in frame
    assert template["facet"]["field"] in frame
    columns = [step["calculate"].removeprefix("toNumber(datum.").rstrip(")") for step in template["transform"]]
    assert set(columns) == {"value", "low", "high"}


def test_features_of_the_selfies_stage_are_loaded(root: Path, pretrained: Path) -> None:
    paths = DatasetPaths(root / "crop", root / "mask", root / "split.csv", root / "none.csv")
    models = ModelPaths(root / "mask.pt", pretrained, root / "identity")
    data = load_data(PARAMS, CROP_PARAMS, stylized_by_method(root / "dark", root / "models" / "selfies"), paths, models)
    assert ("lite2", "training_selfies", "person on grey") in data.cache


def test_results_are_deterministic_and_single_threaded(root: Path, pretrained: Path) -> None:
    torch.set_num_threads(2)
    threadpool_limits(2)
    paths = DatasetPaths(root / "crop", root / "mask", root / "split.csv", root / "none.csv")
    models = ModelPaths(root / "mask.pt", pretrained, root / "identity")
    evaluate(PARAMS, CROP_PARAMS, root / "dark", root / "models" / "selfies", paths, models, root / "repeated")
    first = {path.name: path.read_bytes() for path in (root / "models" / "dark").iterdir()}
    assert {path.name: path.read_bytes() for path in (root / "repeated").iterdir()} == first
    assert torch.get_num_threads() == 1
    assert {library["num_threads"] for library in threadpool_info()} == {1}
