import errno
from pathlib import Path

import pytest

from portraitist.core.files import atomic_write


def test_a_file_has_its_name_when_it_is_whole_and_nothing_else_is_left(tmp_path):
    with atomic_write(tmp_path / "a.png", force=False) as partial:
        partial.write_bytes(b"mine")
        assert partial.suffix == ".png"
        assert not (tmp_path / "a.png").exists()
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.png", b"mine")]
    with pytest.raises(ZeroDivisionError), atomic_write(tmp_path / "b.png", force=False) as partial:
        partial.write_bytes(b"half")
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("steps", [("write_bytes",), ("unlink", "write_bytes"), ("replace",)])
def test_a_fault_of_writing_names_the_file_that_was_meant_and_one_of_reading_what_was_read(
    tmp_path, monkeypatch, steps
):
    def fails(self, *words, **more):
        raise OSError(errno.EROFS, "Read-only file system", str(self))

    place = tmp_path / "a.png"
    with pytest.raises(OSError, match="Read-only") as raised, atomic_write(place, force=True) as partial:
        for step in steps:
            monkeypatch.setattr(Path, step, fails)
        partial.write_bytes(b"mine")
    assert raised.value.filename == str(place)
    monkeypatch.undo()
    with pytest.raises(FileNotFoundError) as raised, atomic_write(place, force=True):
        (tmp_path / "selfie.jpg").read_bytes()
    assert raised.value.filename == str(tmp_path / "selfie.jpg")


@pytest.mark.parametrize("late", [False, True])
def test_a_file_that_is_there_or_comes_meanwhile_is_kept_unless_force_is_said(tmp_path, late):
    place = tmp_path / "a.png"
    for force in (False, True):
        place.unlink(missing_ok=True)
        if not late:
            place.write_bytes(b"theirs")
        try:
            with atomic_write(place, force) as partial:
                partial.write_bytes(b"mine")
                place.write_bytes(b"theirs")
        except FileExistsError as error:
            assert str(error) == f"{place} exists; --force writes over it"
        assert place.read_bytes() == (b"mine" if force else b"theirs")
        assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
