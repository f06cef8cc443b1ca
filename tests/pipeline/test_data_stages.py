"""The clerks from collect to augment, by the very words that dvc.yaml calls them with, on a dozen pictures."""

import hashlib
import json
import os
import runpy
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


def stage(at: Path, name: str) -> None:
    """Run a stage in the folder `at`, by its command in dvc.yaml."""
    definition = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    first, _, source = name.partition("@")
    command = (definition[first].get("do") or definition[first])["cmd"].replace("${key}", source)
    words = command.split()
    assert words[:2] == ["python", "-m"]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(at)
        patch.setattr(sys, "argv", words[2:])
        sys.modules.pop(words[2], None)
        runpy.run_module(words[2], run_name="__main__", alter_sys=True)


def checkout(at: Path, pretrained: Path, own: Path, **limits: int) -> Path:
    """A folder that holds what the data stages need, its params those that are shipped but for the collecting."""
    (at / "profiles").mkdir(parents=True)
    (at / "data" / "raw").mkdir(parents=True)
    (at / "metrics").mkdir()
    (at / "data" / "local" / "backgrounds").mkdir(parents=True)
    (at / "models").mkdir()
    (at / "models" / "pretrained").symlink_to(pretrained)
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["collect"]["sample"]["path"] = str(ROOT / "data" / "sample")
    params["collect"]["folder"]["path"] = str(own)
    scale = yaml.safe_load((ROOT / "profiles" / f"{params['profile']}.yaml").read_text(encoding="utf-8"))
    scale["collect"] = {source: {"limit": limits.get(source, 0), "shard_size": 5} for source in params["collect"]}
    (at / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    (at / "profiles" / f"{params['profile']}.yaml").write_text(yaml.safe_dump(scale), encoding="utf-8")
    return at


def digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file that the stages made."""
    files = (path for part in ("data", "metrics") for path in (folder / part).rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def profile(folder: Path) -> dict[str, Any]:
    (path,) = (folder / "profiles").iterdir()
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def report(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / "metrics" / f"{name}.json").read_text(encoding="utf-8"))


DATA = ("collect@sample", "collect@folder", "clean", "crop", "mask", "split", "augment")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory, sample: Path) -> Path:
    """A user's two folders: six faces each, and some of what else lies about in such folders."""
    root = tmp_path_factory.mktemp("own")
    selfies, portraits = root / "selfies", root / "portraits"
    (selfies / "anna").mkdir(parents=True)
    portraits.mkdir()
    for number in SELFIES:
        folder = selfies / "anna" if number in (8, 16) else selfies
        shutil.copy(sample / "selfies" / f"{number:04d}.jpg", folder)
    for number in PORTRAITS:
        shutil.copy(sample / "portraits" / f"{number:04d}.jpg", portraits)
    whole = (selfies / "0000.jpg").read_bytes()
    (selfies / "a_copy.jpg").write_bytes(whole)
    (selfies / "broken.jpg").write_bytes((sample / "selfies" / "0006.jpg").read_bytes()[:6000])
    (selfies / "letter.jpg").write_text("Dear Anna, here are the pictures.", encoding="utf-8")
    (selfies / "thumb.png").write_bytes(encoded(Image.fromarray(selfie(sample, 12)).resize((60, 60)), "PNG"))
    smaller = Image.fromarray(selfie(sample, 2)).resize((200, 200), Image.Resampling.LANCZOS)
    (selfies / "smaller.png").write_bytes(encoded(smaller, "PNG"))
    wall = np.random.default_rng(0).integers(0, 256, (128, 160, 3), dtype=np.uint8)
    (portraits / "wall.png").write_bytes(encoded(wall, "PNG"))
    return root


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, own: Path, pretrained: Path) -> Path:
    """What the data stages made of the user's folders, and of the sample's first two of each kind."""
    at = checkout(
        tmp_path_factory.mktemp("one") / "here",
        pretrained,
        own,
        sample=2,
        folder=100,
    )
    for name in DATA:
        stage(at, name)
    return at


def test_collect_has_a_row_for_each_file_and_keeps_each_bytes_once(made: Path, own: Path):
    frame = manifest.read(made / "data/raw/folder/manifest.csv")
    assert len(frame) == 11 + 7
    doubled = frame[frame["status"] == "duplicate"]
    assert list(doubled["name"]) == ["a_copy.jpg"]
    assert list(frame.loc[frame["id"] == doubled["id"].item(), "name"]) == ["0000.jpg", "a_copy.jpg"]
    shards = Shards(made / "data/raw/folder")
    assert set(shards) == set(frame["id"])
    for row in frame.to_dict("records"):
        assert shards.read(row["id"], "bytes") == (own / row["kind"] / row["name"]).read_bytes()
    assert set(frame["group"]) == {"", "selfies/anna"}


def test_clean_counts_each_verdict(made: Path):
    assert report(made, "clean") == {
        # two of each kind come from both sources, and `smaller` is a copy of 0002
        "selfies": {"duplicate": 3, "kept": 6, "not_a_picture": 1, "too_small": 1, "unreadable": 1},
        "portraits": {"duplicate": 2, "kept": 7},
        "sources": {
            "folder": {"duplicate": 5, "kept": 9, "not_a_picture": 1, "too_small": 1, "unreadable": 1},
            "sample": {"kept": 4},
        },
    }
    frame = manifest.read(made / "data/clean/manifest.csv")
    refused = frame[~frame["status"].isin(["kept", "duplicate"])]
    assert all(refused["reason"] != "")
    doubled = frame[frame["status"] == "duplicate"]
    assert set(doubled["same_as"]) <= set(manifest.kept_rows(made / "data/clean/manifest.csv")["id"])
    assert sorted(doubled["relation"]) == ["bytes"] * 4 + ["near"]
    smaller = doubled[doubled["relation"] == "near"]
    assert smaller[["width", "height"]].values.tolist() == [["200", "200"]]
    kept = frame[frame["status"] == "kept"]
    assert list(kept.loc[kept["id"] == smaller["same_as"].item(), "width"]) == ["256"]


def test_the_exact_mask_follows_the_picture_that_both_sources_hold(made: Path):
    shards, sample = Shards(made / "data/clean"), manifest.read(made / "data/raw/sample/manifest.csv")
    known = [one for one in sample["id"] if one in set(shards)]
    assert len(known) >= 3
    assert all(shards.has(one, "truth.png") for one in known)
    crops, frame = Shards(made / "data/crop"), manifest.read(made / "data/mask/manifest.csv").set_index("id")
    for one in known:
        iou = mask_iou(
            decode_png(Shards(made / "data/mask").read(one, "png")), decode_png(crops.read(one, "truth.png"))
        )
        assert float(frame.loc[one, "truth_iou"]) == pytest.approx(iou, abs=1e-4)
        assert iou > 0.85


def test_crop_counts_who_shows_a_face(made: Path):
    assert report(made, "crop") == {"selfies": {"kept": 6}, "portraits": {"kept": 6, "no_face": 1}}
    shards = Shards(made / "data/crop")
    assert set(shards) == set(manifest.kept_rows(made / "data/crop/manifest.csv")["id"])
    side = profile(made)["crop"]["size_px"]
    assert {decode_png(shards.read(one, "png")).shape for one in shards} == {(side, side, 3)}
    frame = manifest.read(made / "data/crop/manifest.csv")
    assert list(frame.loc[frame["status"] == "no_face", "reason"]) == ["no face found in the 160 x 128 picture"]


def test_mask_counts_who_is_person(made: Path):
    assert report(made, "mask") == {"selfies": {"kept": 6}, "portraits": {"kept": 6}}
    assert set(Shards(made / "data/mask")) == set(Shards(made / "data/crop"))


def test_paint_crops_and_masks_a_users_selfie_to_the_bytes_that_the_stages_wrote(made: Path, own: Path, model: Path):
    portraitist = Portraitist.open(model)
    crops, masks = Shards(made / "data/crop"), Shards(made / "data/mask")
    compared = 0
    for path in sorted((own / "selfies").rglob("*.jpg")):
        name = manifest.picture_id(path.read_bytes())
        if name in set(masks):
            avatar = portraitist.paint(path)
            stage_made = {ending: data for ending, data in crops.members(name).items() if ending != "truth.png"}
            assert avatar.crop.square.members() == stage_made
            assert encode_png(avatar.mask) == masks.read(name, "png")
            compared += 1
    assert compared >= 4


def test_split_names_each_picture_once_and_finds_no_leak(made: Path):
    frame = manifest.read(made / "data/split.csv")
    assert sorted(frame["id"]) == sorted(Shards(made / "data/mask"))
    assert report(made, "leakage")["leaks"] == 0
    assert report(made, "leakage")["pictures"] == dict(Counter((frame["kind"] + "/" + frame["part"]).tolist()))
    assert len(frame[frame["group"] == "selfies/anna"]) == 2
    assert frame[frame["group"] == "selfies/anna"]["part"].nunique() == 1


def test_augment_draws_for_those_trained_on_and_composes_those_tested_on(made: Path):
    frame = manifest.read(made / "data/split.csv")
    trained = sorted(frame.loc[frame["part"] == "train", "id"])
    recipes = pd.read_csv(made / "data/augment/recipes.csv", dtype={"id": str})
    per_person = profile(made)["augment"]["per_person"]
    assert list(recipes["id"]) == [one for one in trained for _ in range(per_person)]
    shards = Shards(made / "data/augment")
    tested = frame[(frame["kind"] == "selfies") & (frame["part"] == "test")]
    assert sorted(shards) == sorted(tested["id"])
    masks = Shards(made / "data/mask")
    for one in shards:
        assert len(shards.members(one)) == 16
        behind = decode_png(masks.read(one, "png")) == 0
        assert (decode_png(shards.read(one, "blue.png"))[behind] == (40, 70, 190)).all()
        assert mask_iou(decode_png(shards.read(one, "blue.mask.png")), decode_png(masks.read(one, "png"))) > 0.6


def test_a_second_run_elsewhere_gives_equal_bytes(made: Path, own: Path, pretrained: Path, tmp_path: Path):
    at = checkout(
        tmp_path / "elsewhere",
        pretrained,
        own,
        sample=2,
        folder=100,
    )
    for name in DATA:
        stage(at, name)
        there = digests(at)
        assert there == {path: digest for path, digest in digests(made).items() if path in there}
    assert there == digests(made)
    assert len(there) > 25


def params(at: Path, **sections: dict[str, Any]) -> None:
    """Set values of params.yaml, and of the profile where they stand there."""
    for path in (at / "params.yaml", *(at / "profiles").iterdir()):
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        for name, values in sections.items():
            content[name] |= {key: value for key, value in values.items() if key in content[name]}
        path.write_text(yaml.safe_dump(content), encoding="utf-8")


def test_worker_processes_change_no_byte(made: Path, pretrained: Path, tmp_path: Path):
    at = checkout(tmp_path / "two", pretrained, tmp_path)
    params(at, crop={"workers": 2}, mask={"workers": 2})
    shutil.copytree(ROOT / "pipeline", at / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    (at / "data" / "clean").symlink_to(made / "data" / "clean")
    commands = yaml.safe_load((ROOT / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    for name in ("crop", "mask"):
        words = [sys.executable, *commands[name]["cmd"].split()[1:]]
        paths = os.environ | {"PYTHONPATH": os.pathsep.join([str(at), str(ROOT / "src")])}
        subprocess.run(words, cwd=at, check=True, capture_output=True, env=paths)
    there = {path: digest for path, digest in digests(at).items() if not path.startswith("data/clean")}
    assert len(there) >= 10
    assert there.items() <= digests(made).items()


def test_each_large_face_goes_its_own_way_and_stays_with_its_picture(pretrained: Path, sample: Path, tmp_path: Path):
    for kind in ("selfies", "portraits"):
        (tmp_path / kind).mkdir()
    pair = np.full((256, 512, 3), 90, np.uint8)
    pair[:, :256], pair[:, 256:] = selfie(sample, 10), selfie(sample, 8)
    (tmp_path / "selfies" / "pair.png").write_bytes(encoded(pair, "PNG"))
    shutil.copy(sample / "portraits" / "0001.jpg", tmp_path / "portraits")
    at = checkout(tmp_path / "each", pretrained, tmp_path, folder=9)
    params(at, crop={"faces": "each"})
    for name in DATA[:-1]:
        stage(at, name)
    assert report(at, "crop") == {"selfies": {"kept": 2}, "portraits": {"kept": 1}}
    frame = manifest.kept_rows(at / "data/crop/manifest.csv").set_index("id")
    faces = frame[frame["kind"] == "selfies"]
    (picture,) = set(faces["picture"])
    assert picture in faces.index
    assert len(faces) == 2
    squares = Shards(at / "data/crop")
    assert len({squares.read(one, "png") for one in faces.index}) == 2
    split = manifest.read(at / "data/split.csv").set_index("id")
    assert set(split.loc[faces.index, "group"]) == {picture}
    assert split.loc[faces.index, "part"].nunique() == 1


def odd(sample: Path) -> dict[str, bytes]:
    """Pictures of which none is a plain selfie."""
    face, other = selfie(sample, 10), selfie(sample, 8)
    cat = np.full((256, 256, 3), 200, np.uint8)
    cv2.ellipse(cat, (128, 150), (70, 60), 0, 0, 360, (120, 90, 60), -1)
    for x in (80, 176):
        cv2.fillPoly(cat, [np.array([(x - 26, 110), (x + 26, 110), (x, 50)])], (120, 90, 60))
        cv2.circle(cat, (x + (20 if x < 128 else -20), 140), 9, (250, 230, 90), -1)
    cv2.circle(cat, (128, 168), 7, (30, 20, 20), -1)
    alpha = np.full((256, 256), 255, np.uint8)
    alpha[:40], alpha[:, :30] = 0, 0
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
        "rgba": encoded(Image.fromarray(np.dstack([selfie(sample, 4), alpha])), "PNG"),
    }


def test_every_odd_picture_gets_a_verdict_and_none_is_dropped(pretrained: Path, sample: Path, tmp_path: Path):
    for kind in ("selfies", "portraits"):
        (tmp_path / kind).mkdir()
    pictures = odd(sample)
    for name, data in pictures.items():
        (tmp_path / "selfies" / f"{name}.png").write_bytes(data)
    shutil.copy(sample / "portraits" / "0001.jpg", tmp_path / "portraits")
    at = checkout(tmp_path / "odd", pretrained, tmp_path, folder=99)
    anything = {"max_aspect": 9.0, "min_entropy_bits": 0.0, "min_sharpness": {"selfies": 0.0, "portraits": 0.0}}
    params(at, clean=anything)  # the later stages are to see them
    for name in DATA[:5]:
        stage(at, name)
    frames = [manifest.read(at / f"data/{name}/manifest.csv").set_index("id") for name in ("clean", "crop", "mask")]
    names = {manifest.picture_id(data): name for name, data in pictures.items()}
    assert set(names) <= set(frames[0].index)
    last = {}  # of each picture the status that it ended with
    for frame in frames:
        for one in set(names) & set(frame.index):
            last[names[one]] = frame.loc[one, "status"]
            assert (frame.loc[one, "reason"] != "") == (last[names[one]] not in ("kept", "duplicate"))
    assert last == {
        "no_face": "no_face",
        "half": "no_face",
        "cat": "no_face",
        "collage": "kept",
        "40_px": "too_small",
        "70_px_crowd": "face_too_small",
        "grey": "kept",
        "rgba": "kept",
    }
    assert frames[2].loc[manifest.picture_id(pictures["rgba"]), "from"] == "alpha"


def test_a_source_with_limit_0_is_left_out_even_if_its_folders_are_missing(tmp_path: Path, pretrained: Path):
    at = checkout(tmp_path / "here", pretrained, tmp_path / "none", sample=3)
    for name in ("collect@sample", "collect@folder", "clean"):
        stage(at, name)
    kept = {"selfies": {"kept": 3}, "portraits": {"kept": 3}}
    assert report(at, "clean") == kept | {"sources": {"sample": {"kept": 6}}}


def test_when_no_picture_of_a_kind_is_left_the_run_ends_and_says_why(tmp_path: Path, pretrained: Path, sample: Path):
    for kind in ("selfies", "portraits"):
        (tmp_path / kind).mkdir()
        shutil.copy(sample / "selfies" / "0000.jpg", tmp_path / kind / "face.jpg")
    (tmp_path / "portraits" / "face.jpg").write_text("no picture", encoding="utf-8")
    at = checkout(tmp_path / "here", pretrained, tmp_path, folder=9)
    for name in ("collect@sample", "collect@folder"):
        stage(at, name)
    with pytest.raises(SystemExit) as left:
        stage(at, "clean")
    assert left.value.code == "clean: no portraits left; what became of them: {'not_a_picture': 1}"
    assert report(at, "clean")["selfies"] == {"kept": 1}  # the report is there all the same


def test_a_missing_folder_ends_collect_with_one_line_and_exit_code_1(tmp_path: Path, pretrained: Path):
    at = checkout(tmp_path / "here", pretrained, tmp_path / "none", folder=9)
    command = [sys.executable, "-m", "pipeline.collect", "folder", str(at / "data/raw/folder")]
    shutil.copytree(ROOT / "pipeline", at / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    (at / "src").symlink_to(ROOT / "src")
    done = subprocess.run(command, cwd=at, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    message = f"collect folder: {tmp_path / 'none' / 'selfies'} is no folder; give the folder that holds your pictures"
    assert done.stderr.strip() == message
    assert not (at / "data/raw/folder/index.csv").exists()
