"""The clerks from evaluate to compare on drawn faces: what each reads, and what is left for people, DVC and git."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from threadpoolctl import threadpool_info, threadpool_limits
from toys import FRAME, checkpoint

from pipeline.compare import main as compare
from pipeline.evaluate import main as evaluate
from pipeline.evaluate_selfies import main as evaluate_selfies
from portraitist.augment.render import TEST_BACKGROUNDS
from portraitist.compare.html_report import Told
from portraitist.core import manifest
from portraitist.core.image_io import encode_png
from portraitist.core.shards import ShardWriter
from portraitist.evaluate.params import EvaluateParams
from portraitist.evaluate.run import COST, Nets
from portraitist.train.batches import DatasetPaths

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PARAMS = EvaluateParams(seed=1, features_px=32, inception=False, bootstrap=20, sheet_rows=2)
SIDE = FRAME.size_px
PEOPLE = {"selfies": 5, "portraits": 4, "studied": 3}  # of each, so many
METHODS = {"dark": 30, "light": 200}  # and the grey that each paints


def ids(kind: str) -> list[str]:
    return [manifest.picture_id(f"{kind} {number}".encode()) for number in range(PEOPLE[kind])]


def picture(seed: str) -> np.ndarray:
    return np.random.default_rng(list(seed.encode())).integers(60, 180, (SIDE, SIDE, 3)).astype(np.uint8)


def person() -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[4:30, 6:26] = 255
    return mask


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory, pretrained: Path) -> Path:
    """All that the stages before would have left, and what evaluate and compare make of it."""
    at = tmp_path_factory.mktemp("stages")
    with ShardWriter(at / "crop", 4) as crops, ShardWriter(at / "mask", 4) as masks:
        for kind in PEOPLE:
            for face in ids(kind):
                crops.add(face, {"png": encode_png(picture(face))})
                masks.add(face, {"png": encode_png(person())})
    parts = {"selfies": ("selfies", "test"), "portraits": ("portraits", "test"), "studied": ("portraits", "train")}
    rows = []
    for kind, (which, part) in parts.items():
        rows += [{"id": face, "kind": which, "part": part, "group": face} for face in ids(kind)]
    manifest.write(rows, at / "split.csv", ["id", "kind", "part", "group"])
    for name, level in (*METHODS.items(), ("augment", 100)):
        with ShardWriter(at / name, 4) as shards:
            for face in sorted(ids("selfies")):
                plain = np.where(person()[..., None] > 0, level, picture(face)).astype(np.uint8)
                turned = {f"{back}.png": encode_png(plain) for back in TEST_BACKGROUNDS}
                shards.add(face, {"png": encode_png(plain), **turned})
        (at / name / COST).write_text('{"gflop": 1.5, "megabytes": 2.5}')
    (at / "clean").mkdir()
    faces = [{"id": face, "status": "kept", "picture": face[::-1]} for face in ids("selfies")]
    manifest.write(faces, at / "crop" / "manifest.csv", ["id", "status", "picture"])
    known = [{"id": face[::-1], "status": "kept", "source": "drawn", "reason": "x"} for face in ids("selfies")]
    manifest.write(known, at / "clean" / "manifest.csv", ["id", "status", "source", "reason"])
    (at / "identity").mkdir()
    (at / "metrics").mkdir()
    (at / "metrics" / "clean.json").write_text("{}")
    (at / "judge.csv").write_text(f"id,left,right,preferred\n{ids('selfies')[0]},dark,light,dark\n")
    checkpoint(at / "mask.pt", "unet_mask")

    folders = DatasetPaths(at / "crop", at / "mask", at / "split.csv", at / "none.csv")
    nets = Nets(at / "mask.pt", pretrained, at / "identity")
    evaluate_selfies(PARAMS, FRAME, folders, at / "augment", nets, at / "clean", at / "models" / "selfies")
    for name in METHODS:
        evaluate(PARAMS, FRAME, at / name, folders, nets, at / "models" / name)
    told = Told(
        ROOT / "params.yaml", ROOT / "profiles" / "sample.yaml", ROOT / "dvc.yaml", [at / "metrics" / "clean.json"]
    )
    models = {name: at / "models" / name for name in ("selfies", *METHODS)}
    compare("dark", at / "metrics", at / "judge.csv", told, models)
    return at


def test_each_method_is_measured_on_what_it_painted(at: Path) -> None:
    found = {name: json.loads((at / "models" / name / "metrics.json").read_text()) for name in ("selfies", *METHODS)}
    assert found["selfies"]["content_lite0"]["value"] == 0
    assert found["dark"]["content_lite0"]["value"] > 0.01
    assert {one["background_bleed"]["n"] for one in found.values()} == {5}
    assert {one["kernel_lite0"]["about"]["n_portraits"] for one in found.values()} == {4}
    assert {one["memorised_lite0"]["about"]["n_studied"] for one in found.values()} == {3}
    assert found["dark"]["background_repainted"]["value"] == 0  # both paint the person only
    assert found["dark"]["sharpness"]["value"] == found["light"]["sharpness"]["value"] == 0
    assert found["selfies"]["sharpness"]["value"] > 0.5
    assert found["dark"]["cost_gflop"]["value"] == 1.5
    assert found["dark"]["background_sensitivity"]["value"] == pytest.approx(0, abs=1e-6)
    assert found["dark"]["background_bleed"]["value"] != found["light"]["background_bleed"]["value"]


def test_what_is_one_for_all_methods_is_told_once(at: Path) -> None:
    summary = json.loads((at / "metrics" / "summary.json").read_text())
    assert list(summary["mask_iou_held"]) == ["segmenter"]
    assert set(summary["background_bleed"]) == {"selfies", *METHODS}
    assert "mask_iou_held" not in (at / "metrics" / "compare.md").read_text().split("minus each other")[0]
    groups = pd.read_csv(at / "models" / "selfies" / "groups.csv", dtype=str)
    assert list(groups) == ["id", "tone", "light", "pose", "source"]
    assert list(groups["id"]) == sorted(ids("selfies"))
    assert set(groups["source"]) == {"drawn"}


def test_the_comparison_leaves_all_that_people_and_dvc_read(at: Path) -> None:
    left = {path.name for path in (at / "metrics").iterdir()}
    assert left == {
        "clean.json", "compare.csv", "compare.md", "coverage.csv", "intervals.json", "report.html", "sheet.jpg",
        "summary.json",
    }  # fmt: skip
    frame = pd.read_csv(at / "metrics" / "compare.csv")
    assert {"metric", "method", "value", "low", "high", "n", "shown"} == set(frame)
    with Image.open(at / "metrics" / "sheet.jpg") as sheet:
        assert sheet.width == 5 * (128 + 8)  # input, portraits, two methods, learned mask
    report = (at / "metrics" / "report.html").read_text()
    assert "dark to light" in report  # the one answer
    assert report.count("data:image/") > 20


def test_a_chosen_method_that_there_is_not_ends_the_comparison_in_one_line() -> None:
    stage = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["compare"]
    words = stage["cmd"].replace("${export.method}", "magic").replace("${profile}", "sample").split()
    ran = subprocess.run([sys.executable, *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr.count("\n")) == (1, 1)
    assert ran.stderr.startswith(
        "portraitist: params.yaml: export.method is 'magic'; methods has nst_with_background, "
    )


def test_the_plots_template_reads_the_table_that_compare_writes(at: Path) -> None:
    frame = pd.read_csv(at / "metrics" / "compare.csv")
    template = json.loads((ROOT / ".dvc" / "plots" / "intervals.json").read_text())
    stage = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]["compare"]
    (plot,) = [plot["metrics/compare.csv"] for plot in stage["plots"] if isinstance(plot, dict)]
    assert plot["template"] == "intervals"
    assert plot["y"] in frame
    assert template["facet"]["field"] in frame
    used = [step["calculate"].removeprefix("toNumber(datum.").rstrip(")") for step in template["transform"]]
    assert set(used) == {"value", "low", "high"}


def test_equal_runs_give_equal_bytes_with_one_thread_however_many_there_were(at: Path, pretrained: Path) -> None:
    torch.set_num_threads(2)
    threadpool_limits(2)
    folders = DatasetPaths(at / "crop", at / "mask", at / "split.csv", at / "none.csv")
    evaluate(PARAMS, FRAME, at / "dark", folders, Nets(at / "mask.pt", pretrained, at / "identity"), at / "again")
    first = {path.name: path.read_bytes() for path in (at / "models" / "dark").iterdir()}
    assert {path.name: path.read_bytes() for path in (at / "again").iterdir()} == first
    assert torch.get_num_threads() == 1
    assert {library["num_threads"] for library in threadpool_info()} == {1}
