"""Stage split: groups and pairs from the manifests of earlier stages."""

from pathlib import Path

import pandas as pd
import pytest

from pipeline.split import main as split
from portraitist.core import manifest
from portraitist.split.params import SplitParams
from portraitist.split.read_faces import join_sources, read_faces

PARAMS = SplitParams(salt="1", train=0.5, validation=0.1, max_hamming_distance=0)
ROWS = [  # picture, face, kind, source, group, pair
    ("a" * 16, "a" * 16, "selfies", "taobao", "", "1" * 16),
    ("a" * 16, "b" * 16, "selfies", "taobao", "", "1" * 16),  # another face of the same picture
    ("c" * 16, "c" * 16, "portraits", "taobao", "", "1" * 16),
    ("d" * 16, "d" * 16, "selfies", "folder", "", "anna"),
    ("e" * 16, "e" * 16, "portraits", "folder", "", "anna"),
    ("f" * 16, "f" * 16, "portraits", "folder", "portraits/zorn", ""),
    ("0" * 16, "0" * 16, "portraits", "folder", "", ""),
]


@pytest.fixture
def table(tmp_path: Path) -> pd.DataFrame:
    frame = pd.DataFrame(ROWS, columns=["picture", "id", "kind", "source", "group", "pair"]).assign(status="kept")
    frame["dhash"] = [f"{int(face[0], 16):016x}" for face in frame["id"]]
    for stage in ("mask", "crop"):
        (tmp_path / stage).mkdir()
        frame[["id", "picture", "kind", "status"]].to_csv(tmp_path / stage / "manifest.csv", index=False)
    pictures = frame.drop_duplicates("picture").drop(columns="id").rename(columns={"picture": "id"})
    (tmp_path / "clean").mkdir()
    pictures.assign(same_as="").to_csv(tmp_path / "clean" / "manifest.csv", index=False)
    for source, rows in pictures.groupby("source"):
        (tmp_path / "raw" / str(source)).mkdir(parents=True)
        rows.to_csv(tmp_path / "raw" / str(source) / "manifest.csv", index=False)
    paths = [tmp_path / name for name in ("raw", "clean", "crop", "mask", "split.csv", "leakage.json")]
    split(PARAMS, sorted(paths[0].iterdir()), *paths[1:])
    return manifest.read(tmp_path / "split.csv").set_index("id")


def test_pair_is_per_source_and_of_the_largest_face(table: pd.DataFrame):
    pairs = {face[0]: pair for face, pair in table["pair"].items()}
    assert pairs == {
        "a": f"taobao/{'1' * 16}", "b": "", "c": f"taobao/{'1' * 16}", "d": "folder/anna", "e": "folder/anna",
        "f": "", "0": "",
    }  # fmt: skip


def test_photo_and_its_painting_are_one_group(table: pd.DataFrame):
    groups = {face[0]: group for face, group in table["group"].items()}
    assert groups["a"] == groups["b"] == groups["c"] == f"taobao/{'1' * 16}"
    assert groups["d"] == groups["e"] == "folder/anna"
    assert (groups["f"], groups["0"]) == ("portraits/zorn", "0" * 16)
    assert table.groupby("group")["part"].nunique().max() == 1


def test_groups_and_pairs_of_copies_count():
    ids = list("abcdef")
    faces = pd.DataFrame({"id": ids, "kind": "selfies", "picture": ids})
    pictures = pd.DataFrame({"id": ids, "dhash": "0"})
    collected = [  # id, group, pair
        ("a", "", ""), ("a", "selfies/bob", ""), ("a", "", "folder/0080"),  # a photo that was collected three times
        ("b", "", "folder/0080"),  # its painting
        ("c", "", ""),
        ("d", "selfies/bob", ""), ("e", "selfies/bob", ""), ("e", "selfies/anna", ""), ("f", "selfies/anna", ""),
    ]  # fmt: skip
    table = join_sources(faces, pictures, pd.DataFrame(collected, columns=["id", "group", "pair"])).set_index("id")
    assert table["group"].to_dict() == dict.fromkeys("abdef", "selfies/anna") | {"c": "c"}
    assert table["pair"].to_dict() == dict.fromkeys("ab", "folder/0080") | dict.fromkeys("cdef", "")


def test_rejected_copies_and_nested_folders_keep_a_persons_pictures_together(tmp_path: Path):
    collected = [  # id, group, status
        ("a", "", "kept"),
        ("a", "selfies/anna/2023", "duplicate"),  # an equal file in another folder
        ("b", "selfies/anna/2024", "kept"),
        ("c", "selfies/anna", "kept"),  # a smaller copy of d, which stage clean rejects
        ("d", "", "kept"),
        ("e", "selfies/bob", "blocklisted"),
        ("e", "", "kept"),
    ]
    cleaned = [("a", ""), ("b", ""), ("c", "d"), ("c", "c"), ("d", ""), ("e", "")]  # c was collected by two sources
    frames = {
        "folder": pd.DataFrame(collected, columns=["id", "group", "status"]).assign(pair=""),
        "clean": pd.DataFrame(cleaned, columns=["id", "same_as"]).assign(dhash="0"),
    }
    frames["clean"]["status"] = ["duplicate" if copy else "kept" for copy in frames["clean"]["same_as"]]
    faces = pd.DataFrame({"id": list("abde"), "picture": list("abde"), "kind": "selfies", "status": "kept"})
    for name, frame in (frames | {"crop": faces, "mask": faces}).items():
        (tmp_path / name).mkdir()
        frame.to_csv(tmp_path / name / "manifest.csv", index=False)
    source, *paths = (tmp_path / name for name in ("folder", "clean", "crop", "mask"))
    groups = read_faces([source], *paths).set_index("id")["group"]
    assert groups.to_dict() == {"a": "selfies/anna", "b": "selfies/anna", "d": "selfies/anna", "e": "e"}
