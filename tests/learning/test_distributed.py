"""Several processes, started by torchrun as a user would, over gloo: they do what one does, or end with an error."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from toys import ROOT, Few, given, schedule, settings

from portraitist.learning import distributed
from portraitist.learning.distributed import DistributedError
from portraitist.train.loop import train

METHODS = ["perceptual", "unet_mask", "cyclegan", "cartoongan", "masked_cartoongan"]
pytestmark = pytest.mark.slow
START = """
import os, sys, time
from contextlib import nullcontext
from pathlib import Path
import torch
from toys import Few, batch, given, schedule, settings
from portraitist import ranks
from portraitist.resume import Resume
from portraitist.train import train
dest = Path(sys.argv[1])
torch.set_default_dtype(torch.float64)
with ranks.joined():
    (dest / f"{ranks.rank()}.pid").write_text(str(os.getpid()))
"""
TRAINS = (
    START
    + """
    for name in sys.argv[2:]:
        learner, log = train(name, settings(name), Few(), given(), schedule())
        torch.save({"log": log, "weights": learner.state_dict()}, dest / f"{name}{ranks.rank()}.pt")
"""
)


def start(script: str, dest: Path, *words: str, count: int = 2) -> subprocess.Popen[str]:
    dest.mkdir(parents=True, exist_ok=True)
    (dest / "script.py").write_text(script, encoding="utf-8")
    paths = os.pathsep.join(map(str, (ROOT / "src", ROOT / "tests", ROOT)))
    env = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "DVC_ROOT": str(dest)}
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    command = [*torchrun, str(dest / "script.py"), str(dest), *words]
    with (dest / "stderr").open("w") as stderr:
        return subprocess.Popen(command, env=env, stderr=stderr, text=True)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes have made of every stage."""
    dest = tmp_path_factory.mktemp("two")
    running = start(TRAINS, dest, *METHODS)
    assert running.wait(300) == 0, (dest / "stderr").read_text()
    return dest


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_learn_what_one_does(name: str, two: Path, double: None):
    first, second = (torch.load(two / f"{name}{rank}.pt") for rank in range(2))
    alone, log = train(name, settings(name), Few(), given(), schedule())
    for row, expected in zip(first["log"], log, strict=True):
        assert row == pytest.approx(expected, rel=1e-9)
    assert first["log"] == second["log"]
    for key, weights in alone.state_dict().items():
        if not key.endswith("_extra_state"):  # a pool of images is each process's own
            assert torch.allclose(first["weights"][key], weights, rtol=1e-6, atol=1e-6), key
            assert torch.equal(first["weights"][key], second["weights"][key]), key


def test_a_batch_that_cannot_be_shared_out_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch):
    assert distributed.local_batch_size(3) == 3
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    assert distributed.local_batch_size(4) == 2
    with pytest.raises(DistributedError, match="a batch of 3 cannot be shared by 2 processes; a multiple of 2 can"):
        distributed.local_batch_size(3)


LONG = (
    START
    + """
    try:
        Resume.every_s = 0
        resume = Resume("train", "long") if ranks.rank() == 0 else None
        if resume:
            resume.__enter__()
        train("cartoongan", settings("cartoongan"), Few(40), given(), schedule(epochs=200), resume)
    except ranks.RanksError as error:
        (dest / "lost").write_text(str(error))
        raise
"""
)


GOES_ON = (
    START
    + """
    class Slow(Few):
        def __getitem__(self, step):
            time.sleep(0.5)
            return super().__getitem__(step)

    Resume.every_s = 0
    with Resume("train", "short") if ranks.rank() == 0 else nullcontext() as resume:
        learner, log = train("cartoongan", settings("cartoongan"), Slow(), given(), schedule(), resume)
        if resume:
            torch.save({"log": log, "weights": learner.state_dict()}, dest / "done.pt")
"""
)


@pytest.mark.parametrize("count", [1, 2])
def test_what_two_have_begun_is_gone_on_with_by_as_many_as_there_are(count: int, tmp_path: Path, double: None):
    kept = tmp_path / ".checkpoints" / "train-short" / "state.pt"
    running = start(GOES_ON, tmp_path)
    try:
        until(kept.exists)
        os.kill(int((tmp_path / "1.pid").read_text()), signal.SIGKILL)
        assert running.wait(60) == 1
    finally:
        running.kill()
    assert not (tmp_path / "done.pt").exists()
    assert start(GOES_ON, tmp_path, count=count).wait(120) == 0
    alone, log = train("cartoongan", settings("cartoongan"), Few(), given(), schedule())
    done = torch.load(tmp_path / "done.pt")
    assert [row.keys() for row in done["log"]] == [row.keys() for row in log]
    assert done["log"][1] == pytest.approx(log[1], rel=1e-6)
    assert all(torch.allclose(done["weights"][key], weights, atol=1e-6) for key, weights in alone.state_dict().items())


@pytest.mark.parametrize("lost", [0, 1])
def test_when_a_process_is_lost_all_end_and_the_state_is_there(lost: int, tmp_path: Path):
    running = start(LONG, tmp_path)
    kept = tmp_path / ".checkpoints" / "train-long" / "state.pt"
    try:
        until(kept.exists)
        pids = [int((tmp_path / f"{rank}.pid").read_text()) for rank in range(2)]
        os.kill(pids[lost], signal.SIGKILL)
        assert running.wait(60) == 1
    finally:
        running.kill()
    assert all(not Path(f"/proc/{pid}").exists() for pid in pids)
    assert "Signal 9 (SIGKILL)" in (tmp_path / "stderr").read_text()
    assert torch.load(kept)["rows"]


def until(happens: Callable[[], bool], within_s: float = 60) -> None:
    end = time.monotonic() + within_s
    while not happens():
        assert time.monotonic() < end
        time.sleep(0.02)
