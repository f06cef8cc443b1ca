import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from toys import PAINTERS, ROOT, Few, given, schedule, settings

from portraitist.core.files import LockedError
from portraitist.train.loop import train
from portraitist.train.resume import Checkpointer, fingerprint

METHODS = ["perceptual", "unet_mask", *PAINTERS]
EPOCHS, STEPS = 3, 3


class KilledError(Exception):
    """Stands for a kill: whatever was not kept is lost."""


class Mortal(Few):
    """Batches of which one kills, once."""

    def __init__(self, at: tuple[int, int]) -> None:
        super().__init__(STEPS)
        self.at = at

    def __getitem__(self, step):
        if (self.epoch, step) == self.at:
            raise KilledError
        return super().__getitem__(step)


def in_folder(tmp_path, monkeypatch, every_s=0.0):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setattr(Checkpointer, "every_s", every_s)
    return Checkpointer("train", "0123")


def trained(name, steps, resume=None):
    learner, log = train(name, settings(name), steps, given(), schedule(epochs=EPOCHS), resume)
    return learner.state_dict(), log


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_wherever_a_training_was_killed_it_ends_with_the_same_bits(name, tmp_path, monkeypatch):
    undisturbed, log = trained(name, Few(STEPS))
    for at in [(epoch, step) for epoch in range(EPOCHS) for step in range(STEPS)]:
        with pytest.raises(KilledError), in_folder(tmp_path, monkeypatch) as resume:
            trained(name, Mortal(at), resume)
        with in_folder(tmp_path, monkeypatch) as resume:
            weights, again = trained(name, Few(STEPS), resume)
        assert weights.keys() == undisturbed.keys()
        assert all(torch.equal(weights[key], undisturbed[key]) for key in weights), at
        assert again == log


def test_what_was_done_is_not_done_again(tmp_path, monkeypatch):
    with pytest.raises(KilledError), in_folder(tmp_path, monkeypatch) as resume:
        trained("cartoongan", Mortal((1, 2)), resume)
    seen = []

    class Counting(Few):
        def __getitem__(self, step):
            seen.append((self.epoch, step))
            return super().__getitem__(step)

    with in_folder(tmp_path, monkeypatch) as resume:
        trained("cartoongan", Counting(STEPS), resume)
    assert seen == [(1, 2), (2, 0), (2, 1), (2, 2)]


def test_a_state_is_kept_only_when_it_is_time(tmp_path, monkeypatch):
    with in_folder(tmp_path, monkeypatch, every_s=3600.0) as resume:
        trained("perceptual", Few(STEPS), resume)
        assert resume.last() is None


def test_the_state_of_work_that_is_done_is_cleared_away_and_of_broken_work_kept(tmp_path, monkeypatch):
    with pytest.raises(KilledError), in_folder(tmp_path, monkeypatch) as resume:
        resume.keep({"epoch": 4})
        raise KilledError
    with in_folder(tmp_path, monkeypatch) as resume:
        assert resume.last() == {"epoch": 4}
    assert list((tmp_path / ".checkpoints").iterdir()) == []


def test_a_state_that_was_half_written_does_not_take_the_place_of_the_last_whole_one(tmp_path, monkeypatch):
    def breaks(state, file):
        file.write(b"half")
        raise OSError("no space left")

    with in_folder(tmp_path, monkeypatch) as resume:
        resume.keep({"epoch": 1})
        with monkeypatch.context() as patched:
            patched.setattr(torch, "save", breaks)
            with pytest.raises(OSError, match="no space left"):
                resume.keep({"epoch": 2})
        assert resume.last() == {"epoch": 1}


def test_two_runs_at_the_same_work_are_one_too_many(tmp_path, monkeypatch):
    with (
        in_folder(tmp_path, monkeypatch),
        pytest.raises(LockedError, match=r"another run is at the same work, in .*train-0123; wait"),
        in_folder(tmp_path, monkeypatch),
    ):
        pass


def test_the_fingerprint_is_of_what_is_told_and_of_every_byte_that_is_read(tmp_path):
    folder = tmp_path / "crops"
    folder.mkdir()
    (folder / "b.tar").write_bytes(b"two")
    (folder / "a.tar").write_bytes(b"one")
    (tmp_path / "split.csv").write_bytes(b"id")
    files = [folder, tmp_path / "split.csv"]
    first = fingerprint({"rate": 0.1, "seed": 1}, files)
    assert first == fingerprint({"seed": 1, "rate": 0.1}, files)
    assert first != fingerprint({"rate": 0.2, "seed": 1}, files)
    (folder / "a.tar").write_bytes(b"One")
    changed = fingerprint({"rate": 0.1, "seed": 1}, files)
    assert changed != first
    (folder / "a.tar").rename(folder / "c.tar")
    assert fingerprint({"rate": 0.1, "seed": 1}, files) not in (first, changed)
    with pytest.raises(FileNotFoundError):
        fingerprint({}, [tmp_path / "none.csv"])


LONG = """
import sys
from pathlib import Path
import torch
from toys import Few, given, schedule, settings
from portraitist.resume import Resume
from portraitist.train import train
Resume.every_s = 0
with Resume("train", "long") as resume:
    learner, _ = train("masked_cartoongan", settings("masked_cartoongan"), Few(40), given(), schedule(epochs=4), resume)
    torch.save(learner.state_dict(), sys.argv[1])
"""


@pytest.mark.slow
def test_kill_nine_again_and_again_and_the_weights_are_those_of_an_undisturbed_run(tmp_path):
    def start(where):
        where.mkdir(exist_ok=True)
        paths = os.pathsep.join(map(str, (ROOT / "src", ROOT / "tests")))
        env = os.environ | {"DVC_ROOT": str(where), "PYTHONPATH": paths}
        return subprocess.Popen([sys.executable, "-c", LONG, str(where / "model.pt")], env=env)

    kept = tmp_path / "killed" / ".checkpoints" / "train-long" / "state.pt"
    kills = 0
    while not (tmp_path / "killed" / "model.pt").exists():
        running = start(tmp_path / "killed")
        before = kept.stat().st_mtime_ns if kept.exists() else 0
        while kills < 5 and running.poll() is None and not (kept.exists() and kept.stat().st_mtime_ns > before):
            time.sleep(0.01)
        if kills < 5:
            time.sleep(0.1 * kills)  # some steps on, somewhere in one
            running.send_signal(signal.SIGKILL)
            kills += 1
            assert running.wait() == -signal.SIGKILL
        else:
            assert running.wait() == 0
    assert start(tmp_path / "calm").wait() == 0
    killed, calm = (torch.load(tmp_path / where / "model.pt") for where in ("killed", "calm"))
    assert killed.keys() == calm.keys()
    assert all(torch.equal(killed[key], calm[key]) for key in calm)
    assert not kept.parent.exists()
