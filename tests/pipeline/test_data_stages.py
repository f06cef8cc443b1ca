"""The stages from collect to augment, run by their commands in dvc.yaml on a dozen pictures."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml
from data_checkout import DATA_STAGES, digests, make_checkout, run_stage
from drawn import encoded, selfie, smooth
from PIL import Image

from portraitist.app.avatar import Portraitist
from portraitist.core import manifest
from portraitist.core.geometry import mask_iou
from portraitist.core.image_io import decode_png, encode_png
from portraitist.core.shards import Shards

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SELFIES = (0, 2, 4, 8, 10, 16)
PORTRAITS = (1, 3, 5, 7, 9, 11)


def profile(folder: Path) -> dict[str, Any]:
    (path,) = (folder / "profiles").iterdir()
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def report(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / "metrics" / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, sample: Path) -> Path:
    """Two folders of a user: six faces each, and files that the stages reject."""
    root = tmp_path_factory.mktemp("own")
    selfies, portraits = root / "selfies", root / "portraits"
    (selfies / "anna").mkdir(parents=True)
    portraits.mkdir()
    for number in SELFIES:
        folder = selfies / "anna" if number in (8, 16) else selfies
        shutil.copy(sample / "selfies" / f"{number:04d}.jpg", folder)
    for number in PORTRAITS:
        shutil.copy(sample / "portraits" / f"{number:04d}.jpg", portraits)
    (selfies / "a_copy.jpg").write_bytes((selfies / "0000.jpg").read_bytes())
    (selfies / "broken.jpg").write_bytes((sample / "selfies" / "0006.jpg").read_bytes()[:6000])
    (selfies / "letter.jpg").write_text("Dear Anna, here are the pictures.", encoding="utf-8")
    (selfies / "thumb.png").write_bytes(encoded(Image.fromarray(selfie(sample, 12)).resize((60, 60)), "PNG"))
    smaller = Image.fromarray(selfie(sample, 2)).resize((200, 200), Image.Resampling.LANCZOS)
    (selfies / "smaller.png").write_bytes(encoded(smaller, "PNG"))
    wall = np.random.default_rng(0).integers(0, 256, (128, 160, 3), dtype=np.uint8)
    (portraits / "wall.png").write_bytes(encoded(wall, "PNG"))
    return root


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, own: Path, pretrained: Path) -> Path:
    """A folder in which all data stages ran on the user's folders and on the sample's first two of each kind."""
    folder = make_checkout(
        tmp_path_factory.mktemp("finished") / "here",
        pretrained,
        own,
        sample=2,
        folder=100,
    )
    for name in DATA_STAGES:
        run_stage(folder, name)
    return folder


def test_collect_lists_every_file_and_stores_bytes_once(finished: Path, own: Path):
    frame = manifest.read(finished / "data/raw/folder/manifest.csv")
    assert len(frame) == 11 + 7
    doubled = frame[frame["status"] == "duplicate"]
    assert list(doubled["name"]) == ["a_copy.jpg"]
    assert list(frame.loc[frame["id"] == doubled["id"].item(), "name"]) == ["0000.jpg", "a_copy.jpg"]
    shards = Shards(finished / "data/raw/folder")
    assert set(shards) == set(frame["id"])
    for row in frame.to_dict("records"):
        assert shards.read(row["id"], "bytes") == (own / row["kind"] / row["name"]).read_bytes()
    assert set(frame["group"]) == {"", "selfies/anna"}


def test_clean_counts_outcomes(finished: Path):
    assert report(finished, "clean") == {
        # two of each kind come from both sources, and `smaller` is a copy of 0002
        "selfies": {"duplicate": 3, "kept": 6, "not_a_picture": 1, "too_small": 1, "unreadable": 1},
        "portraits": {"duplicate": 2, "kept": 7},
        "sources": {
            "folder": {"duplicate": 5, "kept": 9, "not_a_picture": 1, "too_small": 1, "unreadable": 1},
            "sample": {"kept": 4},
        },
    }
    frame = manifest.read(finished / "data/clean/manifest.csv")
    refused = frame[~frame["status"].isin(["kept", "duplicate"])]
    assert all(refused["reason"] != "")
    doubled = frame[frame["status"] == "duplicate"]
    assert set(doubled["same_as"]) <= set(manifest.kept_rows(finished / "data/clean/manifest.csv")["id"])
    assert sorted(doubled["relation"]) == ["bytes"] * 4 + ["near"]
    smaller = doubled[doubled["relation"] == "near"]
    assert smaller[["width", "height"]].values.tolist() == [["200", "200"]]
    kept = frame[frame["status"] == "kept"]
    assert list(kept.loc[kept["id"] == smaller["same_as"].item(), "width"]) == ["256"]


def test_exact_mask_stays_with_duplicate_pictures(finished: Path):
    shards, sample = Shards(finished / "data/clean"), manifest.read(finished / "data/raw/sample/manifest.csv")
    known = [picture for picture in sample["id"] if picture in set(shards)]
    assert len(known) >= 3
    assert all(shards.has(picture, "truth.png") for picture in known)
    crops, frame = Shards(finished / "data/crop"), manifest.read(finished / "data/mask/manifest.csv").set_index("id")
    for picture in known:
        iou = mask_iou(
            decode_png(Shards(finished / "data/mask").read(picture, "png")),
            decode_png(crops.read(picture, "truth.png")),
        )
        assert float(frame.loc[picture, "truth_iou"]) == pytest.approx(iou, abs=1e-4)
        assert iou > 0.85


def test_crop_counts_outcomes(finished: Path):
    assert report(finished, "crop") == {"selfies": {"kept": 6}, "portraits": {"kept": 6, "no_face": 1}}
    shards = Shards(finished / "data/crop")
    assert set(shards) == set(manifest.kept_rows(finished / "data/crop/manifest.csv")["id"])
    side = profile(finished)["crop"]["size_px"]
    assert {decode_png(shards.read(picture, "png")).shape for picture in shards} == {(side, side, 3)}
    frame = manifest.read(finished / "data/crop/manifest.csv")
    assert "160 x 128" in frame.loc[frame["status"] == "no_face", "reason"].item()


def test_mask_counts_outcomes(finished: Path):
    assert report(finished, "mask") == {"selfies": {"kept": 6}, "portraits": {"kept": 6}}
    assert set(Shards(finished / "data/mask")) == set(Shards(finished / "data/crop"))


def test_product_crops_and_masks_to_the_same_bytes(finished: Path, own: Path, model: Path):
    portraitist = Portraitist(model)
    crops, masks = Shards(finished / "data/crop"), Shards(finished / "data/mask")
    compared = 0
    for path in sorted((own / "selfies").rglob("*.jpg")):
        name = manifest.picture_id(path.read_bytes())
        if name in set(masks):
            avatar = portraitist.paint(path)
            from_stage = {ending: data for ending, data in crops.members(name).items() if ending != "truth.png"}
            assert avatar.crop.square.members() == from_stage
            assert encode_png(avatar.mask) == masks.read(name, "png")
            compared += 1
    assert compared >= 4


def test_split_lists_each_face_once_without_leaks(finished: Path):
    frame = manifest.read(finished / "data/split.csv")
    assert sorted(frame["id"]) == sorted(Shards(finished / "data/mask"))
    assert report(finished, "leakage")["leaks"] == 0
    assert report(finished, "leakage")["pictures"] == dict(Counter((frame["kind"] + "/" + frame["part"]).tolist()))
    assert len(frame[frame["group"] == "selfies/anna"]) == 2
    assert frame[frame["group"] == "selfies/anna"]["part"].nunique() == 1


def test_augment_writes_recipes_and_test_composites(finished: Path):
    frame = manifest.read(finished / "data/split.csv")
    trained = sorted(frame.loc[frame["part"] == "train", "id"])
    recipes = pd.read_csv(finished / "data/augment/recipes.csv", dtype={"id": str})
    recipes_per_person = profile(finished)["augment"]["recipes_per_person"]
    assert list(recipes["id"]) == [face for face in trained for _ in range(recipes_per_person)]
    shards = Shards(finished / "data/augment")
    tested = frame[(frame["kind"] == "selfies") & (frame["part"] == "test")]
    assert sorted(shards) == sorted(tested["id"])
    masks = Shards(finished / "data/mask")
    for picture in shards:
        assert len(shards.members(picture)) == 16
        background = decode_png(masks.read(picture, "png")) == 0
        assert (decode_png(shards.read(picture, "blue.png"))[background] == (40, 70, 190)).all()
        assert mask_iou(decode_png(shards.read(picture, "blue.mask.png")), decode_png(masks.read(picture, "png"))) > 0.6


def test_second_run_in_another_folder_gives_equal_bytes(finished: Path, own: Path, pretrained: Path, tmp_path: Path):
    folder = make_checkout(
        tmp_path / "elsewhere",
        pretrained,
        own,
        sample=2,
        folder=100,
    )
    for name in DATA_STAGES:
        run_stage(folder, name)
        there = digests(folder)
        assert there == {path: digest for path, digest in digests(finished).items() if path in there}
    assert there == digests(finished)
    assert len(there) > 25


def set_params(folder: Path, **sections: dict[str, Any]) -> None:
    """Set values in params.yaml."""
    path = folder / "params.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name, values in sections.items():
        content[name] |= values
    path.write_text(yaml.safe_dump(content), encoding="utf-8")


def test_worker_processes_change_no_byte(finished: Path, pretrained: Path, tmp_path: Path):
    folder = make_checkout(tmp_path / "two", pretrained, tmp_path)
    set_params(folder, crop={"workers": 2}, mask={"workers": 2})
    shutil.copytree(ROOT / "pipeline", folder / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "data" / "clean").symlink_to(finished / "data" / "clean")
    commands = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    for name in ("crop", "mask"):
        words = [sys.executable, *commands[name]["cmd"].split()[1:]]
        paths = os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), str(ROOT / "src")])}
        subprocess.run(words, cwd=folder, check=True, capture_output=True, env=paths)
    there = {path: digest for path, digest in digests(folder).items() if not path.startswith("data/clean")}
    assert len(there) >= 10
    assert there.items() <= digests(finished).items()


def test_each_face_of_a_picture_is_in_the_same_part(pretrained: Path, sample: Path, tmp_path: Path):
    for kind in ("selfies", "portraits"):
        (tmp_path / kind).mkdir()
    pair = np.full((256, 512, 3), 90, np.uint8)
    pair[:, :256], pair[:, 256:] = selfie(sample, 10), selfie(sample, 8)
    (tmp_path / "selfies" / "pair.png").write_bytes(encoded(pair, "PNG"))
    for kind, numbers in (("selfies", (0, 2, 4)), ("portraits", PORTRAITS)):
        for number in numbers:
            shutil.copy(sample / kind / f"{number:04d}.jpg", tmp_path / kind)
    folder = make_checkout(tmp_path / "each", pretrained, tmp_path, folder=9)
    set_params(folder, crop={"faces": "each"})
    for name in DATA_STAGES[:-1]:
        run_stage(folder, name)
    assert report(folder, "crop") == {"selfies": {"kept": 5}, "portraits": {"kept": 6}}
    frame = manifest.kept_rows(folder / "data/crop/manifest.csv").set_index("id")
    picture = manifest.picture_id((tmp_path / "selfies" / "pair.png").read_bytes())
    faces = frame[frame["picture"] == picture]
    assert picture in faces.index
    assert len(faces) == 2
    squares = Shards(folder / "data/crop")
    assert len({squares.read(picture, "png") for picture in faces.index}) == 2
    split = manifest.read(folder / "data/split.csv").set_index("id")
    assert set(split.loc[faces.index, "group"]) == {picture}
    assert split.loc[faces.index, "part"].nunique() == 1


def odd(sample: Path) -> dict[str, bytes]:
    """Return pictures that are no ordinary selfies."""
    face, other = selfie(sample, 10), selfie(sample, 8)
    cat = np.full((256, 256, 3), 200, np.uint8)
    cv2.ellipse(cat, (128, 150), (70, 60), 0, 0, 360, (120, 90, 60), -1)
    for x in (80, 176):
        cv2.fillPoly(cat, [np.array([(x - 26, 110), (x + 26, 110), (x, 50)])], (120, 90, 60))
        cv2.circle(cat, (x + (20 if x < 128 else -20), 140), 9, (250, 230, 90), -1)
    cv2.circle(cat, (128, 168), 7, (30, 20, 20), -1)
    margins = np.full((256, 256), 255, np.uint8)
    margins[:40], margins[:, :30] = 0, 0
    exact = decode_png((sample / "masks" / "selfies" / "0016.png").read_bytes())
    rows = [np.concatenate([selfie(sample, left), selfie(sample, right)], axis=1) for left, right in ((10, 8), (2, 0))]
    collage, crowd = np.concatenate(rows), np.tile(other, (3, 3, 1))
    return {
        "no_face": encoded(smooth(5, 200, 240), "PNG"),
        "half": encoded(np.ascontiguousarray(face[:, : 256 * 2 // 5]), "PNG"),
        "cat": encoded(cat, "PNG"),
        "collage": encoded(collage, "PNG"),
        "40_px": encoded(Image.fromarray(face).resize((40, 40)), "PNG"),
        "70_px_crowd": encoded(Image.fromarray(crowd).resize((70, 70)), "PNG"),
        "grey": encoded(Image.fromarray(other).convert("L"), "PNG"),
        "margins": encoded(Image.fromarray(np.dstack([selfie(sample, 4), margins])), "PNG"),
        "cut_out": encoded(Image.fromarray(np.dstack([selfie(sample, 16), exact])), "PNG"),
    }


def test_every_odd_picture_has_an_outcome(pretrained: Path, sample: Path, tmp_path: Path):
    for kind in ("selfies", "portraits"):
        (tmp_path / kind).mkdir()
    pictures = odd(sample)
    for name, data in pictures.items():
        (tmp_path / "selfies" / f"{name}.png").write_bytes(data)
    shutil.copy(sample / "portraits" / "0001.jpg", tmp_path / "portraits")
    folder = make_checkout(tmp_path / "odd", pretrained, tmp_path, folder=99)
    lenient = {"max_aspect": 9.0, "min_entropy_bits": 0.0, "min_sharpness": {"selfies": 0.0, "portraits": 0.0}}
    set_params(folder, clean=lenient)  # so that the later stages get them
    for name in DATA_STAGES[:5]:
        run_stage(folder, name)
    frames = [manifest.read(folder / f"data/{name}/manifest.csv").set_index("id") for name in ("clean", "crop", "mask")]
    names = {manifest.picture_id(data): name for name, data in pictures.items()}
    assert set(names) <= set(frames[0].index)
    last = {}  # status of each picture at its last stage
    for frame in frames:
        for picture in set(names) & set(frame.index):
            last[names[picture]] = frame.loc[picture, "status"]
            assert (frame.loc[picture, "reason"] != "") == (last[names[picture]] not in ("kept", "duplicate"))
    assert last == {
        "no_face": "no_face",
        "half": "no_face",
        "cat": "no_face",
        "collage": "kept",
        "40_px": "too_small",
        "70_px_crowd": "face_too_small",
        "grey": "kept",
        "margins": "kept",
        "cut_out": "kept",
    }
    origin = {names[picture]: frames[2].loc[picture, "from"] for picture in names if picture in frames[2].index}
    assert {name for name, value in origin.items() if value == "alpha"} == {"cut_out"}


def test_folder_of_an_unlisted_source_is_ignored(finished: Path, tmp_path: Path, pretrained: Path):
    folder = make_checkout(tmp_path / "here", pretrained, tmp_path / "none", sample=3)
    shutil.copytree(finished / "data" / "raw" / "folder", folder / "data" / "raw" / "folder")
    for name in ("sources", "collect", "clean"):
        run_stage(folder, name)
    kept = {"selfies": {"kept": 3}, "portraits": {"kept": 3}}
    assert report(folder, "clean") == kept | {"sources": {"sample": {"kept": 6}}}


def test_run_stops_if_no_picture_of_a_kind_is_left(
    tmp_path: Path, pretrained: Path, sample: Path, capsys: pytest.CaptureFixture[str]
):
    for kind in ("selfies", "portraits"):
        (tmp_path / kind).mkdir()
        shutil.copy(sample / "selfies" / "0000.jpg", tmp_path / kind / "face.jpg")
    (tmp_path / "portraits" / "face.jpg").write_text("no picture", encoding="utf-8")
    folder = make_checkout(tmp_path / "here", pretrained, tmp_path, folder=9)
    for name in ("sources", "collect"):
        run_stage(folder, name)
    with pytest.raises(SystemExit, match="clean: no portraits are left"):
        run_stage(folder, "clean")
    assert "0 of 1 portraits kept, rejected: 1 not_a_picture" in capsys.readouterr().err
    assert report(folder, "clean")["selfies"] == {"kept": 1}  # the report is written before the error


def test_missing_folder_stops_the_run_with_one_line(tmp_path: Path, pretrained: Path):
    folder = make_checkout(tmp_path / "here", pretrained, tmp_path / "none", folder=9)
    shutil.copytree(ROOT / "pipeline", folder / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "src").symlink_to(ROOT / "src")
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    words = [sys.executable, *stages["sources"]["cmd"].split()[1:]]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert "collect.folder.path" in line
    assert str(tmp_path / "none") in line
    assert "selfies/" in line
    assert not (folder / "data/sources").exists()
