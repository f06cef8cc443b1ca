"""The clerk of the split: what it takes of each stage's manifest, and what a pair is there."""

from pathlib import Path

import pandas as pd
import pytest

from pipeline.split import main as split
from portraitist.core import manifest
from portraitist.split.params import SplitParams

PARAMS = SplitParams(salt="portraitist", train=0.5, validation=0.1, near_bits=0)
ROWS = [  # picture, face, kind, source, group, pair
    ("a" * 16, "a" * 16, "selfies", "taobao", "", "1" * 16),
    ("a" * 16, "b" * 16, "selfies", "taobao", "", "1" * 16),  # another face of it
    ("c" * 16, "c" * 16, "portraits", "taobao", "", "1" * 16),
    ("d" * 16, "d" * 16, "selfies", "folder", "", "anna"),
    ("e" * 16, "e" * 16, "portraits", "folder", "", "anna"),
    ("f" * 16, "f" * 16, "portraits", "folder", "portraits/zorn", ""),
    ("0" * 16, "0" * 16, "portraits", "folder", "", ""),
]


@pytest.fixture
def made(tmp_path: Path) -> pd.DataFrame:
    frame = pd.DataFrame(ROWS, columns=["picture", "id", "kind", "source", "group", "pair"]).assign(status="kept")
    frame["dhash"] = [f"{int(face[0], 16):016x}" for face in frame["id"]]
    for stage in ("mask", "crop"):
        (tmp_path / stage).mkdir()
        frame[["id", "picture", "kind", "status"]].to_csv(tmp_path / stage / "manifest.csv", index=False)
    whole = frame.drop_duplicates("picture").drop(columns="id").rename(columns={"picture": "id"})
    (tmp_path / "clean").mkdir()
    whole.to_csv(tmp_path / "clean" / "manifest.csv", index=False)
    for source, rows in whole.groupby("source"):
        (tmp_path / "raw" / str(source)).mkdir(parents=True)
        rows.to_csv(tmp_path / "raw" / str(source) / "manifest.csv", index=False)
    paths = [tmp_path / name for name in ("mask", "crop", "clean", "split.csv", "leakage.json", "raw")]
    split(PARAMS, *paths)
    return manifest.read(tmp_path / "split.csv").set_index("id")


def test_a_pair_goes_by_its_source_and_is_of_the_largest_face(made: pd.DataFrame):
    pairs = {face[0]: pair for face, pair in made["pair"].items()}
    assert pairs == {
        "a": f"taobao/{'1' * 16}", "b": "", "c": f"taobao/{'1' * 16}", "d": "folder/anna", "e": "folder/anna",
        "f": "", "0": "",
    }  # fmt: skip


def test_a_photo_and_its_painting_are_one_group_and_so_on_one_side(made: pd.DataFrame):
    groups = {face[0]: group for face, group in made["group"].items()}
    assert groups["a"] == groups["b"] == groups["c"] == f"taobao/{'1' * 16}"
    assert groups["d"] == groups["e"] == "folder/anna"
    assert (groups["f"], groups["0"]) == ("portraits/zorn", "0" * 16)
    assert made.groupby("group")["part"].nunique().max() == 1
