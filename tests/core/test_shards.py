import os
import pickle
import tarfile
from pathlib import Path

import pytest

from portraitist.core import shards as shards_module
from portraitist.core.shards import INDEX_FILE, Shards, ShardWriter, shard_name, write_index, write_shard

PICTURES = {  # member sizes below, at and above tar's block size of 512
    "c0": {"png": b"first", "mask.png": b"\x00" * 512},
    "a1": {"png": bytes(range(256)) * 5},
    "b2": {"png": b"", "alpha.png": b"alpha"},
    "d3": {"png": b"last" * 200},
    "e4": {"png": b"lone"},
}


def write_shards(folder: Path, pictures: dict[str, dict[str, bytes]] = PICTURES, shard_size: int = 2) -> Path:
    with ShardWriter(folder, shard_size) as shards:
        for picture, members in pictures.items():
            shards.add(picture, members)
    return folder


def test_equal_content_gives_equal_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first = write_shards(tmp_path / "first")
    monkeypatch.setattr("time.time", lambda: 1e9)
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    second = write_shards(tmp_path / "second")
    names = sorted(path.name for path in first.iterdir())
    assert names == ["00000.tar", "00001.tar", "00002.tar", INDEX_FILE]
    assert [(first / name).read_bytes() for name in names] == [(second / name).read_bytes() for name in names]


def test_change_affects_only_its_shard(tmp_path: Path):
    first = write_shards(tmp_path / "first")
    second = write_shards(tmp_path / "second", PICTURES | {"e4": {"png": b"long"}})
    names = [f"0000{number}.tar" for number in range(3)]
    equal = [(first / name).read_bytes() == (second / name).read_bytes() for name in names]
    assert equal == [True, True, False]


def test_random_access_equals_tarfile(tmp_path: Path):
    shards = Shards(write_shards(tmp_path / "shards"))
    found = {}
    for path in sorted(shards.folder.glob("*.tar")):
        with tarfile.open(path) as tar:
            found |= {member.name: tar.extractfile(member).read() for member in tar}
    assert found == {f"{name}.{end}": data for name, members in PICTURES.items() for end, data in members.items()}
    for name in reversed(found):
        picture, ending = name.split(".", 1)
        assert shards.read(picture, ending) == found[name]


def test_pictures_are_in_order_of_addition_with_all_members(tmp_path: Path):
    shards = Shards(write_shards(tmp_path / "shards"))
    assert len(shards) == 5
    assert list(shards) == ["c0", "a1", "b2", "d3", "e4"]
    assert shards.members("b2") == PICTURES["b2"]
    assert shards.has("b2", "alpha.png")
    assert not shards.has("a1", "alpha.png")
    assert not shards.has("no such picture", "png")


def test_missing_picture_or_member_raises_key_error(tmp_path: Path):
    shards = Shards(write_shards(tmp_path / "shards"))
    with pytest.raises(KeyError):
        shards.read("z9", "png")
    with pytest.raises(KeyError):
        shards.read("a1", "mask.png")


def test_truncated_shard_raises_error_with_its_name(tmp_path: Path):
    folder = write_shards(tmp_path / "shards")
    os.truncate(folder / "00001.tar", 512 + 512 + 100)  # b2.png is empty; b2.alpha.png starts at 1024
    shards = Shards(folder)
    assert shards.read("b2", "alpha.png") == b"alpha"
    with pytest.raises(OSError, match=r"00001\.tar is truncated: 800 bytes expected at offset \d+, found 0"):
        shards.read("d3", "png")
    assert shards.read("e4", "png") == b"lone"


def test_repeated_id_and_picture_without_members_raise(tmp_path: Path):
    with pytest.raises(ValueError, match="a1 was added twice"), ShardWriter(tmp_path / "one", 2) as shards:
        shards.add("a1", {"png": b"one"})
        shards.add("a1", {"mask.png": b"other"})
    with pytest.raises(ValueError, match="a1 has no members"), ShardWriter(tmp_path / "other", 2) as shards:
        shards.add("a1", {})


def test_existing_folder_raises(tmp_path: Path):
    with pytest.raises(FileExistsError):
        ShardWriter(tmp_path, 2)


def test_index_is_written_only_on_success(tmp_path: Path):
    with pytest.raises(ZeroDivisionError), ShardWriter(tmp_path / "shards", 2) as shards:
        shards.add("a1", {"png": b"one"})
        raise ZeroDivisionError
    assert [path.name for path in (tmp_path / "shards").iterdir()] == ["00000.tar"]
    with pytest.raises(FileNotFoundError):
        Shards(tmp_path / "shards")


def test_shards_without_pictures_can_be_read(tmp_path: Path):
    assert list(Shards(write_shards(tmp_path / "shards", {}))) == []


@pytest.mark.parametrize(("written", "read"), [(2, 2), (5, 5), (100, 5)])
def test_shard_size_is_the_number_of_pictures_in_the_first_shard(tmp_path: Path, written: int, read: int):
    assert Shards(write_shards(tmp_path / "shards", shard_size=written)).shard_size == read


def test_shards_written_one_by_one_equal_those_of_the_writer(tmp_path: Path):
    expected = write_shards(tmp_path / "writer")
    (tmp_path / "parts").mkdir()
    pictures = list(PICTURES.items())
    parts = [
        write_shard(tmp_path / "parts" / shard_name(number), iter(pictures[2 * number : 2 * number + 2]))
        for number in range(3)
    ]
    write_index(tmp_path / "parts", parts)
    for path in expected.iterdir():
        assert (tmp_path / "parts" / path.name).read_bytes() == path.read_bytes(), path.name


def test_shard_without_pictures_has_no_file(tmp_path: Path):
    path = tmp_path / "00000.tar"
    assert write_shard(path, [("a1", {"png": b"one"})])
    assert write_shard(path, []) == ""
    assert list(tmp_path.iterdir()) == []


def test_index_removes_unfinished_shards(tmp_path: Path):
    part = write_shard(tmp_path / "00000.tar", [("a1", {"png": b"one"})])
    (tmp_path / ".partial-1-abc.tar").write_bytes(b"half")
    write_index(tmp_path, [part])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000.tar", INDEX_FILE]


def test_selection_of_pictures_can_be_sent_to_a_process(tmp_path: Path):
    shards = Shards(write_shards(tmp_path / "shards"))
    assert shards.ids_by_shard() == {"00000.tar": ["c0", "a1"], "00001.tar": ["b2", "d3"], "00002.tar": ["e4"]}
    shards.read("c0", "png")
    selected = pickle.loads(pickle.dumps(shards.select(["d3", "c0"])))
    assert list(selected) == ["d3", "c0"]
    assert selected.members("d3") == PICTURES["d3"]
    del shards
    assert selected.read("c0", "png") == b"first"


def test_number_of_open_shards_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(shards_module, "MAX_OPEN", 2)
    before = len(list(Path("/proc/self/fd").iterdir()))
    shards = Shards(write_shards(tmp_path / "shards", shard_size=1))
    for picture in [*PICTURES, *PICTURES]:
        assert shards.members(picture) == PICTURES[picture]
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2
