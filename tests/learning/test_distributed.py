"""Training with several processes (torchrun, gloo): results equal those of one process, or there is an error."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from toys import ROOT, NoiseBatches, train_logged

from portraitist.core.training_log import Rows
from portraitist.learning import distributed
from portraitist.learning.distributed import DistributedError

PAGE = ROOT / "docs" / "training.md"
METHODS = ["perceptual", "unet_mask", "cyclegan", "cartoongan", "masked_cartoongan"]
pytestmark = pytest.mark.slow
HEADER = """
import os, sys, time
from contextlib import nullcontext
from pathlib import Path
import torch
from toys import NoiseBatches, schedule, settings, train_logged, upstream_models
from portraitist.learning import distributed
from portraitist.train.loop import train
from portraitist.train.resume import Checkpointer
folder = Path(sys.argv[1])
torch.set_default_dtype(torch.float64)
with distributed.process_group():
    rank = distributed.rank()
    (folder / f"{rank}.pid").write_text(str(os.getpid()))
"""
TRAIN_ALL = (
    HEADER
    + """
    for name in sys.argv[2:]:
        trainable, rows = train_logged(name, NoiseBatches())
        torch.save({"rows": rows, "weights": trainable.state_dict()}, folder / f"{name}{rank}.pt")
"""
)
TRAIN_LONG = (
    HEADER
    + """
    try:
        Checkpointer.every_s = 0
        state = Checkpointer("train", "long") if rank == 0 else None
        if state:
            state.__enter__()
        train("cartoongan", settings("cartoongan"), NoiseBatches(40), upstream_models(), schedule(epochs=200), state)
    except distributed.DistributedError as error:
        (folder / "lost").write_text(str(error))
        raise
"""
)
TRAIN_SLOWLY = (
    HEADER
    + """
    class Slow(NoiseBatches):
        def __getitem__(self, step):
            time.sleep(0.5)
            return super().__getitem__(step)

    Checkpointer.every_s = 0
    with Checkpointer("train", "short") if rank == 0 else nullcontext() as state:
        trainable, rows = train_logged("cartoongan", Slow(), state)
        if state:
            torch.save({"rows": rows, "weights": trainable.state_dict()}, folder / "done.pt")
"""
)


def start(
    script: str, folder: Path, *arguments: str, count: int = 2, launch: str = "torchrun --standalone"
) -> subprocess.Popen[str]:
    """Start a script under torchrun, with `count` processes for each torchrun that `launch` starts."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "script.py").write_text(script, encoding="utf-8")
    python_path = os.pathsep.join(map(str, (ROOT / "src", ROOT / "tests", ROOT)))
    env = os.environ | {"PYTHONPATH": python_path, "OMP_NUM_THREADS": "1", "DVC_ROOT": str(folder)}
    words = f"{launch} --nproc-per-node {count}".replace("torchrun", f"{sys.executable} -m torch.distributed.run")
    command = [*words.split(), str(folder / "script.py"), str(folder), *arguments]
    with (folder / "stderr").open("w") as stderr:
        return subprocess.Popen(command, env=env, stderr=stderr, text=True)


def values(rows: Rows) -> dict[tuple[str, int], float]:
    """Return the values of a log, by metric and step."""
    return {(name, step): value for name, column in rows.items() for step, value in column}


def free_port() -> int:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def wait_until(condition: Callable[[], bool], timeout_s: float = 60) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of all stages, trained by two processes."""
    folder = tmp_path_factory.mktemp("two")
    process = start(TRAIN_ALL, folder, *METHODS)
    assert process.wait(300) == 0, (folder / "stderr").read_text()
    return folder


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_give_the_same_weights_as_one(name: str, two_processes: Path, double: None):
    first, second = (torch.load(two_processes / f"{name}{rank}.pt") for rank in range(2))
    single, rows = train_logged(name, NoiseBatches())
    assert values(first["rows"]) == pytest.approx(values(rows), rel=1e-9)
    assert first["rows"] == second["rows"]
    for key, weights in single.state_dict().items():
        if not key.endswith("_extra_state"):  # each process has its own image pool
            assert torch.allclose(first["weights"][key], weights, rtol=1e-6, atol=1e-6), key
            assert torch.equal(first["weights"][key], second["weights"][key]), key


def test_srun_of_two_nodes_gives_the_same_weights_as_one_process(tmp_path: Path, double: None):
    """Run the command of docs/training.md; a script replaces srun and starts two nodes on this machine."""
    srun = tmp_path / "srun"
    srun.write_text('#!/bin/sh\n"$@" & other=$!\n"$@" && wait $other\n', encoding="utf-8")
    srun.chmod(0o755)
    (line,) = re.findall(r'launch=srun (.*) --nproc-per-node 8 \$rendezvous"', PAGE.read_text(encoding="utf-8"))
    (rendezvous,) = re.findall(r'rendezvous="(.*)"', PAGE.read_text(encoding="utf-8"))
    launch = f"{srun} {line} {rendezvous}"
    values_of = {"$SLURM_NNODES": "2", "$SLURM_JOB_ID": "7", "$first:29400": f"127.0.0.1:{free_port()}"}
    for name, value in values_of.items():
        assert name in launch
        launch = launch.replace(name, value)
    process = start(TRAIN_ALL, tmp_path, "cartoongan", count=1, launch=launch)
    assert process.wait(300) == 0, (tmp_path / "stderr").read_text()
    single, rows = train_logged("cartoongan", NoiseBatches())
    for rank in range(2):
        trained = torch.load(tmp_path / f"cartoongan{rank}.pt")
        assert values(trained["rows"]) == pytest.approx(values(rows), rel=1e-9)
        for key, weights in single.state_dict().items():
            assert key.endswith("_extra_state") or torch.allclose(trained["weights"][key], weights, atol=1e-6), key


def test_indivisible_batch_size_is_an_error(monkeypatch: pytest.MonkeyPatch):
    assert distributed.local_batch_size(3) == 3
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    assert distributed.local_batch_size(4) == 2
    with pytest.raises(DistributedError, match=r"batch_size is 3.* multiple of 2"):
        distributed.local_batch_size(3)


@pytest.mark.parametrize("count", [1, 2])
def test_any_number_of_processes_can_resume(count: int, tmp_path: Path, double: None):
    state = tmp_path / ".checkpoints" / "train-short" / "state.pt"
    process = start(TRAIN_SLOWLY, tmp_path)
    try:
        wait_until(state.exists)
        os.kill(int((tmp_path / "1.pid").read_text()), signal.SIGKILL)
        assert process.wait(60) == 1
    finally:
        process.kill()
    assert not (tmp_path / "done.pt").exists()
    assert start(TRAIN_SLOWLY, tmp_path, count=count).wait(120) == 0
    single, rows = train_logged("cartoongan", NoiseBatches())
    resumed = torch.load(tmp_path / "done.pt")
    assert values(resumed["rows"]) == pytest.approx(values(rows), rel=1e-6)
    expected = single.state_dict()
    assert all(torch.allclose(resumed["weights"][key], weights, atol=1e-6) for key, weights in expected.items())


@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_process_stops_all_and_keeps_the_state(lost: int, tmp_path: Path):
    process = start(TRAIN_LONG, tmp_path)
    state = tmp_path / ".checkpoints" / "train-long" / "state.pt"
    try:
        wait_until(state.exists)
        pids = [int((tmp_path / f"{rank}.pid").read_text()) for rank in range(2)]
        os.kill(pids[lost], signal.SIGKILL)
        assert process.wait(60) == 1
    finally:
        process.kill()
    assert all(not Path(f"/proc/{pid}").exists() for pid in pids)
    assert "Signal 9 (SIGKILL)" in (tmp_path / "stderr").read_text()
    assert torch.load(state)["steps"] > 0
