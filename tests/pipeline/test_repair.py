import shutil
import subprocess

import pytest
from reach import ROOT

from pipeline.repair import LOCK, RWLOCK, repair

STAGE = """  stage{n}:
    cmd: python -m pipeline.x
    deps:
    - path: src/a
      hash: md5
      md5: 00000000000000000000000000000000.dir
      size: 10
      nfiles: 2
    outs:
    - path: data/b
      hash: md5
      md5: 00000000000000000000000000000001
      size: 5
"""
COMPLETE = "schema: '2.0'\nstages:\n" + "".join(STAGE.format(n=n) for n in range(3))


@pytest.fixture
def repository(tmp_path):
    def git(*words):
        subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *words], cwd=tmp_path, check=True)

    (tmp_path / LOCK).write_text(COMPLETE)
    (tmp_path / RWLOCK).parent.mkdir(parents=True)
    (tmp_path / RWLOCK).write_text("{}")
    git("init", "--quiet")
    git("add", "dvc.lock")
    git("commit", "--quiet", "--message", "lock")
    return tmp_path


def test_intact_files_are_left_alone(repository):
    assert repair(repository) == []
    assert (repository / RWLOCK).read_text() == "{}"


def test_lock_cut_anywhere_is_restored(repository):
    data = COMPLETE.encode()
    unnoticed = []
    for end in range(len(data)):
        (repository / LOCK).write_bytes(data[:end])
        if not repair(repository):
            unnoticed.append(end)
        else:
            assert (repository / LOCK).read_text() == COMPLETE
    # a file truncated between two stages, or before an output's size, is complete enough for DVC to continue from
    assert all(data[:end].endswith((b"size: 5\n", b"0001\n")) for end in unnoticed)
    assert len(unnoticed) <= 2 * 3


def test_lock_without_a_commit_is_removed(tmp_path):
    (tmp_path / LOCK).write_text("schema: '2.0'\nstages:\n  crop:\n    cmd: tr")
    assert "removed" in repair(tmp_path)[0]
    assert not (tmp_path / LOCK).exists()


@pytest.mark.parametrize("content", [b"", b'{"data/crop": {"wri', b"\0\0\0", b"[]"])
def test_unreadable_rwlock_is_removed(repository, content):
    (repository / RWLOCK).write_bytes(content)
    assert len(repair(repository)) == 1
    assert not (repository / RWLOCK).exists()


@pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")
def test_make_repro_repairs_before_dvc_runs():
    command = ["make", "--dry-run", "--no-print-directory", "--old-file", ".venv/ready", "repro"]
    recipe = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    assert recipe[0] == "python -m pipeline.repair"
