from pathlib import Path

import pytest
from drawn import encoded, smooth

from portraitist.params import CollectParams
from portraitist.sources import SourceError, names, source


def laid(root: Path, **files: bytes) -> None:
    for name, data in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def params(root: Path, limit: int = 9) -> CollectParams:
    return CollectParams(selfies=root / "selfies", portraits=root / "portraits", limit=limit, shard_size=4)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    names = [
        "selfies/z.JPG",
        "selfies/anna/1.png",
        "selfies/anna/trip/2.webp",
        "selfies/b.jpeg",
        "portraits/klimt/kiss.tif",
    ]
    laid(tmp_path, **{name: name.encode() for name in names})
    laid(tmp_path, **{"selfies/notes.txt": b"", "selfies/.gitkeep": b"", "portraits/klimt/licence.md": b""})
    (tmp_path / "selfies" / "folder.png").mkdir()
    return tmp_path


def test_a_folder_gives_each_picture_below_it_as_it_is_by_name(own: Path):
    found = list(source("folder")(params(own)))
    assert [(one.kind, one.name) for one in found] == [
        ("selfies", "anna/1.png"),
        ("selfies", "anna/trip/2.webp"),
        ("selfies", "b.jpeg"),
        ("selfies", "z.JPG"),
        ("portraits", "klimt/kiss.tif"),
    ]
    assert all(one.data == f"{one.kind}/{one.name}".encode() for one in found)


def test_a_folder_inside_names_the_group_and_a_loose_picture_has_none(own: Path):
    groups = [one.group for one in source("folder")(params(own))]
    assert groups == ["selfies/anna", "selfies/anna/trip", "", "", "portraits/klimt"]


def test_the_users_own_pictures_carry_no_truth(own: Path):
    assert {one.truth for one in source("folder")(params(own))} == {None}


def test_the_limit_holds_for_each_kind(own: Path):
    found = list(source("folder")(params(own, limit=2)))
    assert [one.name for one in found] == ["anna/1.png", "anna/trip/2.webp", "klimt/kiss.tif"]


@pytest.mark.parametrize("name", ["folder", "sample"])
def test_a_missing_folder_is_named(name: str, tmp_path: Path):
    with pytest.raises(SourceError, match=r"selfies is no folder; give the folder"):
        list(source(name)(params(tmp_path)))


def test_a_folder_without_pictures_is_named_with_the_endings_that_are_read(own: Path):
    (own / "portraits" / "klimt" / "kiss.tif").unlink()
    with pytest.raises(SourceError, match=r"portraits holds no picture; files that end in \.bmp, \.jpeg, \.jpg"):
        list(source("folder")(params(own)))


def test_the_sample_carries_the_truth_of_each_picture(sample: Path):
    found = list(source("sample")(params(sample, limit=2)))
    assert [(one.kind, one.name) for one in found] == [
        ("selfies", "0000.jpg"),
        ("selfies", "0002.jpg"),
        ("portraits", "0001.jpg"),
        ("portraits", "0003.jpg"),
    ]
    for one in found:
        assert one.data == (sample / one.kind / one.name).read_bytes()
        assert one.truth == (sample / "masks" / one.kind / one.name).with_suffix(".png").read_bytes()
        assert (one.licence, one.group) == ("CC0-1.0", "")


def test_the_sample_without_its_masks_is_an_error(tmp_path: Path):
    picture = encoded(smooth(1), "PNG")
    laid(tmp_path, **{"selfies/1.png": picture, "portraits/2.png": picture})
    with pytest.raises(FileNotFoundError):
        list(source("sample")(params(tmp_path)))


def test_a_source_is_found_by_its_file_and_another_name_is_refused():
    assert names() == ["folder", "sample"]
    with pytest.raises(SourceError, match="no source 'gallery'; there are folder, sample"):
        source("gallery")
