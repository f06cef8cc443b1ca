import os
import tarfile
from pathlib import Path

import pytest

from portraitist.core.shards import INDEX_FILE, Shards, ShardWriter

PICTURES = {  # lengths below, at and above tar's block of 512
    "c0": {"png": b"first", "mask.png": b"\x00" * 512},
    "a1": {"png": bytes(range(256)) * 5},
    "b2": {"png": b"", "alpha.png": b"alpha"},
    "d3": {"png": b"last" * 200},
    "e4": {"png": b"lone"},
}


def written(folder: Path, pictures: dict[str, dict[str, bytes]] = PICTURES, shard_size: int = 2) -> Path:
    with ShardWriter(folder, shard_size) as shards:
        for picture, members in pictures.items():
            shards.add(picture, members)
    return folder


def test_equal_content_gives_equal_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    one = written(tmp_path / "one")
    monkeypatch.setattr("time.time", lambda: 1e9)
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    other = written(tmp_path / "other")
    names = sorted(path.name for path in one.iterdir())
    assert names == ["00000.tar", "00001.tar", "00002.tar", INDEX_FILE]
    assert [(one / name).read_bytes() for name in names] == [(other / name).read_bytes() for name in names]


def test_other_content_gives_other_bytes(tmp_path: Path):
    one, other = written(tmp_path / "one"), written(tmp_path / "other", PICTURES | {"e4": {"png": b"long"}})
    assert [(one / f"0000{n}.tar").read_bytes() == (other / f"0000{n}.tar").read_bytes() for n in range(3)] == [
        True,
        True,
        False,
    ]


def test_random_access_finds_what_tarfile_finds(tmp_path: Path):
    shards = Shards(written(tmp_path / "shards"))
    found = {}
    for path in sorted(shards.folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            found |= {member.name: tar.extractfile(member).read() for member in tar}
    assert found == {f"{name}.{end}": data for name, members in PICTURES.items() for end, data in members.items()}
    for name in reversed(found):
        picture, ending = name.split(".", 1)
        assert shards.read(picture, ending) == found[name]


def test_pictures_come_in_the_order_they_were_added_with_all_their_members(tmp_path: Path):
    shards = Shards(written(tmp_path / "shards"))
    assert len(shards) == 5
    assert list(shards) == ["c0", "a1", "b2", "d3", "e4"]
    assert shards.members("b2") == PICTURES["b2"]
    assert shards.has("b2", "alpha.png")
    assert not shards.has("a1", "alpha.png")
    assert not shards.has("no such picture", "png")


def test_a_missing_picture_or_member_is_a_key_error(tmp_path: Path):
    shards = Shards(written(tmp_path / "shards"))
    with pytest.raises(KeyError):
        shards.read("z9", "png")
    with pytest.raises(KeyError):
        shards.read("a1", "mask.png")


def test_a_truncated_shard_is_an_os_error_that_names_it(tmp_path: Path):
    folder = written(tmp_path / "shards")
    os.truncate(folder / "00001.tar", 512 + 512 + 100)  # b2.png is empty; b2.alpha.png begins at 1024
    shards = Shards(folder)
    assert shards.read("b2", "alpha.png") == b"alpha"
    with pytest.raises(OSError, match=r"00001\.tar: 800 bytes expected at \d+, found 0"):
        shards.read("d3", "png")
    assert shards.read("e4", "png") == b"lone"


def test_a_doubled_id_and_a_picture_without_members_are_refused(tmp_path: Path):
    with pytest.raises(ValueError, match="a1: added twice"), ShardWriter(tmp_path / "one", 2) as shards:
        shards.add("a1", {"png": b"one"})
        shards.add("a1", {"mask.png": b"other"})
    with pytest.raises(ValueError, match="a1: no member"), ShardWriter(tmp_path / "other", 2) as shards:
        shards.add("a1", {})


def test_a_folder_that_exists_is_refused(tmp_path: Path):
    with pytest.raises(FileExistsError):
        ShardWriter(tmp_path, 2)


def test_the_index_is_written_only_on_success(tmp_path: Path):
    class Broken(Exception):
        pass

    with pytest.raises(Broken), ShardWriter(tmp_path / "shards", 2) as shards:
        shards.add("a1", {"png": b"one"})
        raise Broken
    assert not (tmp_path / "shards" / INDEX_FILE).exists()
    with pytest.raises(FileNotFoundError):
        Shards(tmp_path / "shards")


def test_no_picture_leaves_an_index_that_reads_as_none(tmp_path: Path):
    assert list(Shards(written(tmp_path / "shards", {}))) == []
