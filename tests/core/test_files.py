import errno
import subprocess
import sys
from pathlib import Path

import pytest

from portraitist.core.files import PARTIAL_PREFIX, FolderLock, LockedError, atomic_write

SRC = Path(__file__).resolve().parents[2] / "src"


@pytest.mark.parametrize("sync", [False, True])
def test_file_appears_only_on_success(tmp_path, sync):
    with atomic_write(tmp_path / "a.png", overwrite=False, sync=sync) as partial:
        partial.write_bytes(b"new")
        assert partial.suffix == ".png"
        assert partial.name.startswith(PARTIAL_PREFIX)
        assert not (tmp_path / "a.png").exists()
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.png", b"new")]
    with pytest.raises(ZeroDivisionError), atomic_write(tmp_path / "b.png", sync=sync) as partial:
        partial.write_bytes(b"half")
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("methods", [("write_bytes",), ("unlink", "write_bytes"), ("replace",)])
def test_write_error_names_final_file_and_read_error_its_own(tmp_path, monkeypatch, methods):
    def fail(self, *args, **kwargs):
        raise OSError(errno.EROFS, "Read-only file system", str(self))

    path = tmp_path / "a.png"
    with pytest.raises(OSError, match="Read-only") as raised, atomic_write(path) as partial:
        for method in methods:
            monkeypatch.setattr(Path, method, fail)
        partial.write_bytes(b"new")
    assert raised.value.filename == str(path)
    monkeypatch.undo()
    with pytest.raises(FileNotFoundError) as raised, atomic_write(path):
        (tmp_path / "selfie.jpg").read_bytes()
    assert raised.value.filename == str(tmp_path / "selfie.jpg")


@pytest.mark.parametrize("created_meanwhile", [False, True])
def test_existing_file_is_kept_unless_overwrite(tmp_path, created_meanwhile):
    path = tmp_path / "a.png"
    for overwrite in (False, True):
        path.unlink(missing_ok=True)
        if not created_meanwhile:
            path.write_bytes(b"old")
        try:
            with atomic_write(path, overwrite) as partial:
                partial.write_bytes(b"new")
                path.write_bytes(b"old")
        except FileExistsError as error:
            assert not overwrite
            assert str(path) in str(error)
            assert "--force" in str(error)
        assert path.read_bytes() == (b"new" if overwrite else b"old")
        assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


def test_name_of_80_chinese_characters_can_be_written(tmp_path):
    path = tmp_path / f"{'画' * 80}.png"  # 244 bytes in UTF-8, where file systems allow 255
    with atomic_write(path) as partial:
        partial.write_bytes(b"new")
    assert path.read_bytes() == b"new"


def test_two_processes_cannot_hold_one_lock(tmp_path):
    folder = tmp_path / "missing" / "folder"
    code = f"""if True:
        import sys
        from pathlib import Path
        from portraitist.core.files import FolderLock
        with FolderLock(Path({str(folder)!r})):
            print("locked", flush=True)
            sys.stdin.read()
    """
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, env={"PYTHONPATH": str(SRC)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(LockedError, match=str(folder)), FolderLock(folder):
            pass
        holder.kill()  # even then the lock is released
        holder.wait()
    with FolderLock(folder), pytest.raises(LockedError), FolderLock(folder):
        pass
    with FolderLock(folder):
        pass
