"""Injected faults, on a dozen pictures: a clear message, no half-written output, and the same bytes after the next run.

Faults occur at random moments. Each test prints its seed; the environment variable FAULTS_SEED repeats a run.
docs/robustness.md has a table of the results.
"""

import errno
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml
from data_checkout import make_checkout
from drawn import encoded, smooth
from dvc_stages import outputs, stages
from fakeweb import FakeWeb, Reply, fake_web
from faulty_files import FaultyDisk, faulty_disk, unreadable_shards
from scratch_clone import ROOT, tiny_profile
from toys import make_trainable, settings
from train_helpers import write_dataset

from benchmarks.kills import RUN_STAGE
from portraitist.collect import fetch_cache
from portraitist.collect.blocklist import Blocklist
from portraitist.collect.candidate import Candidate, SourceError
from portraitist.collect.collector import collect_source
from portraitist.collect.fetch_cache import FetchCache
from portraitist.collect.output import write_output
from portraitist.collect.params import CollectParams
from portraitist.core import manifest
from portraitist.core.files import PARTIAL_PREFIX
from portraitist.core.shards import INDEX_FILE, Shards, ShardWriter
from portraitist.core.training_log import TrainingLog
from portraitist.learning.checkpoint import save_checkpoint, write_tensors
from portraitist.reporting.stage_report import OutcomeSheet, write_stage_metrics

SEED = int(os.environ.get("FAULTS_SEED") or random.SystemRandom().randrange(10**6))
DATA_STAGES = ("sources", "collect@sample", "clean", "crop", "mask", "split", "augment")
TRAININGS = ("train_generator", "train_mask", "train@cartoongan")
KILLS = 4  # of each stage
PICTURES = {f"{number:015x}a": encoded(smooth(number), "PNG") for number in range(7)}
Files = dict[str, bytes]
DVC = [sys.executable, "-m", "dvc"]
NO_REPORTS = os.environ | {"DVC_NO_ANALYTICS": "1"}


def read_files(folder: Path) -> Files:
    """Return the content of all files in a folder, by their relative path; temporary ones are left out."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in paths
        if not path.name.startswith(PARTIAL_PREFIX)
    }


def half_written(found: Mapping[str, Any], complete: Mapping[str, Any]) -> list[str]:
    """Return the files that look complete to a reader, but are not.

    A shard can only be read through the index of its folder, which is written last. No reader knows folders that a
    complete run removes.
    """
    folders = {Path(name).parent for name in complete}
    different = [name for name, data in found.items() if data != complete.get(name) and Path(name).parent in folders]
    return [
        name for name in different if not (name.endswith(".tar") and str(Path(name).with_name(INDEX_FILE)) not in found)
    ]


# Faults of the disk, at every single write


def write_data_stage(folder: Path) -> None:
    """Write what a data stage writes: shards, a contact sheet, a manifest and a report."""
    sheet, rows = OutcomeSheet(), []
    with ShardWriter(folder / "crop", 3) as shards:
        for number, (picture, data) in enumerate(PICTURES.items()):
            rows.append({"id": picture, "kind": manifest.KINDS[number % 2], "status": "kept", "reason": ""})
            sheet.add([np.full((8, 8, 3), number, np.uint8)], kept=True)
            shards.add(picture, {"png": data})
    sheet.write(folder / "crop.jpg")
    frame = manifest.write(rows, folder / "crop" / "manifest.csv", ["id", "kind", "status", "reason"])
    write_stage_metrics(frame, "crop", folder / "crop.json")


def write_training(folder: Path) -> None:
    """Write what a training writes: log, saved state and model."""
    log = TrainingLog(folder / "log")
    for step in (1, 2, 3):
        log.add(step, {"g_adv": step / 3, "d_real": step / 7})
    write_tensors({"step": 3}, folder / "state.pt", sync=True)
    method = make_trainable("cartoongan")
    save_checkpoint(folder / "models" / "cartoongan.pt", "cartoongan", settings("cartoongan"), method, {})


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC], ids=["EIO", "ENOSPC"])
@pytest.mark.parametrize("write", [write_data_stage, write_training], ids=["data stage", "training"])
def test_failed_write_leaves_nothing_half_written(write: Callable[[Path], None], code: int, tmp_path: Path) -> None:
    with faulty_disk(tmp_path / "complete", FaultyDisk()) as disk:
        write(tmp_path / "complete")
    complete = read_files(tmp_path / "complete")
    assert disk.writes > 5
    for fail_at in range(1, disk.writes + 1):
        folder = tmp_path / str(fail_at)
        with faulty_disk(folder, FaultyDisk(fail_at, code)), pytest.raises((OSError, RuntimeError), match=r"\[Errno"):
            write(folder)
        logs = {name for name in complete if name.startswith("log/")}  # they grow while a training runs
        found = {name: data for name, data in read_files(folder).items() if name not in logs}
        assert half_written(found, complete) == [], fail_at
        assert not list(folder.rglob(f"{PARTIAL_PREFIX}*")), fail_at
        shutil.rmtree(folder)  # as DVC does before it runs a stage again
        write(folder)
        assert read_files(folder) == complete
        shutil.rmtree(folder)


def test_slow_disk_changes_no_byte(tmp_path: Path) -> None:
    write_data_stage(tmp_path / "fast")
    with faulty_disk(tmp_path / "slow", FaultyDisk(delay_s=0.002)) as disk:
        write_data_stage(tmp_path / "slow")
    assert disk.writes > 5
    assert read_files(tmp_path / "slow") == read_files(tmp_path / "fast")


def test_unreadable_shard_is_named(tmp_path: Path) -> None:
    write_data_stage(tmp_path)
    with unreadable_shards(), pytest.raises(OSError, match=r"Input/output error: '.*crop/00000.tar'"):
        Shards(tmp_path / "crop").members(next(iter(PICTURES)))


# Faults of the network


@pytest.fixture
def fake(tmp_path: Path) -> Iterator[FakeWeb]:
    with fake_web(tmp_path) as web:
        yield web


def collect(web: FakeWeb, store: Path, dest: Path) -> Files:
    """Collect the pictures of http://a.example into a folder, and return its files."""

    def candidates(*_: Any) -> Iterator[Candidate]:
        for name in PICTURES:
            yield Candidate("selfies", name, url=f"http://a.example/{name}")

    source = ModuleType("source")
    vars(source)["candidates"] = candidates
    params = CollectParams(path=Path("none"), limit=99, shard_size=3)
    with FetchCache(web.web(deadline_s=0.5), store, "test") as cache:
        write_output(collect_source("test", source, params, cache, Blocklist.of([])), dest, params.shard_size)
    return read_files(dest)


PICTURE = PICTURES["000000000000003a"]
FAULTS = {
    "reset": Reply(PICTURE, reset=True),
    "drip": Reply(PICTURE, drip_s=0.01),
    "too long a length": Reply(PICTURE, length=len(PICTURE) + 100),
    "too short a length": Reply(PICTURE, length=len(PICTURE) // 2),
    "busy": Reply("", 503),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_network_fault_costs_one_picture_until_the_next_run(
    fault: str, fake: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_cache, "_now", lambda: "2026-01-01T00:00:00Z")
    fake.pages |= {f"a.example/{name}": Reply(data) for name, data in PICTURES.items()}
    expected = collect(fake, tmp_path / "other store", tmp_path / "expected")
    name = list(PICTURES)[3]
    fake.pages[f"a.example/{name}"] = FAULTS[fault]
    collect(fake, tmp_path / "store", tmp_path / "first")
    rows = manifest.read(tmp_path / "first" / "manifest.csv").set_index("name")
    assert dict(rows["status"].value_counts()).get("kept") == len(PICTURES) - 1
    assert rows.loc[name, "reason"] != ""
    assert not list((tmp_path / "store").rglob(f"{PARTIAL_PREFIX}*"))
    fake.pages[f"a.example/{name}"] = Reply(PICTURES[name])
    assert collect(fake, tmp_path / "store", tmp_path / "second") == expected


def test_web_that_is_down_stops_the_stage(fake: FakeWeb, tmp_path: Path) -> None:
    fake.pages["a.example"] = Reply(PICTURE, reset=True)
    with pytest.raises(SourceError, match=r"no picture was kept; status of the candidates: 7 \w+"):
        collect(fake, tmp_path / "store", tmp_path / "out")
    assert not (tmp_path / "out" / INDEX_FILE).exists()


# Faults of the clock


def test_jumping_clock_changes_no_byte(fake: FakeWeb, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_cache, "_now", lambda: "2026-01-01T00:00:00Z")  # the only time in an output
    fake.pages |= {f"a.example/{name}": Reply(data) for name, data in PICTURES.items()}
    write_training(tmp_path / "steady")
    write_data_stage(tmp_path / "steady")
    expected = collect(fake, tmp_path / "store 1", tmp_path / "1"), read_files(tmp_path / "steady")
    rng = random.Random(SEED)
    print(f"FAULTS_SEED={SEED}")
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + rng.uniform(-1e7, 1e7))
    write_training(tmp_path / "jumping")
    write_data_stage(tmp_path / "jumping")
    assert (collect(fake, tmp_path / "store 2", tmp_path / "2"), read_files(tmp_path / "jumping")) == expected


# Faults of processes, disks and folders, with the commands of the stages


class Checkout:
    """A folder with a dozen pictures, in which the commands of dvc.yaml run as DVC runs them."""

    def __init__(self, folder: Path, pretrained: Path) -> None:
        self.folder = make_checkout(folder, pretrained, folder / "none", sample=8)
        self.seconds: dict[str, float] = {}  # of each complete run
        self.complete: dict[str, dict[str, str]] = {}

    def set_profile(self, **sections: dict[str, Any]) -> None:
        (path,) = (self.folder / "profiles").iterdir()
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        path.write_text(yaml.safe_dump(content | sections), encoding="utf-8")

    def start(self, stage: str, *prefix: str, below: str = "") -> subprocess.Popen[str]:
        """Start a stage's command, as an argument of the command `prefix`, with its outputs in the folder `below`."""
        words = stages()[stage]["cmd"].split()[1:]
        if stage in TRAININGS:  # save the state twice a second, not once a minute
            words = ["-c", RUN_STAGE, *words[1:]]
        written = outputs(stages()[stage])
        words = [str(Path(below, word)) if word in written else word for word in words]
        env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "src")]), "OMP_NUM_THREADS": "1"}
        command = [*prefix, sys.executable, *words]
        return subprocess.Popen(
            command, cwd=self.folder, env=env, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def run(self, stage: str) -> None:
        """Run a stage to its end, and keep the digests of its first outputs."""
        self.delete_outputs(stage)
        start = time.monotonic()
        process = self.start(stage)
        error = process.communicate(timeout=600)[1]
        assert process.returncode == 0, f"{stage}\n{error}"
        self.seconds.setdefault(stage, time.monotonic() - start)
        self.complete.setdefault(stage, self.digests(stage))

    def delete_outputs(self, stage: str) -> None:
        """Delete a stage's outputs, as DVC does before it runs the stage."""
        for name in outputs(stages()[stage]):
            path = self.folder / name
            if path.is_dir():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)

    def digests(self, stage: str, below: str = "") -> dict[str, str]:
        """Return the SHA-256 of each file of a stage's outputs, temporary files left out."""
        found = {}
        for name in outputs(stages()[stage]):
            top = self.folder / below / name
            for path in [top] if top.is_file() else top.rglob("*"):
                if path.is_file() and not path.name.startswith(PARTIAL_PREFIX):
                    digest = hashlib.sha256(path.read_bytes()).hexdigest()
                    found[path.relative_to(self.folder / below).as_posix()] = digest
        return found

    def half_written(self, stage: str, below: str = "") -> list[str]:
        """Return the outputs of an interrupted run that look complete, but are not. Logs may end anywhere."""
        found = {name: digest for name, digest in self.digests(stage, below).items() if not name.startswith("logs/")}
        return half_written(found, self.complete[stage])

    def run_again(self, stage: str) -> None:
        """Run a stage once more; its bytes must be those of its first run."""
        self.run(stage)
        assert self.digests(stage) == self.complete[stage], stage


def processes_of_session(session: int) -> list[int]:
    """Return the processes of a session that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, number = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if int(number) == session and state != "Z":
            found.append(int(path.parent.name))
    return found


def wait_for_end(session: int, seconds: float = 60) -> list[int]:
    """Wait until no process of a session is left; kill and return those that are."""
    end = time.monotonic() + seconds
    while (left := processes_of_session(session)) and time.monotonic() < end:
        time.sleep(0.1)
    for process in left:
        os.kill(process, signal.SIGKILL)
    return left


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, pretrained: Path) -> Checkout:
    """A checkout in which all data stages ran."""
    checkout = Checkout(tmp_path_factory.mktemp("faults") / "data", pretrained)
    for stage in DATA_STAGES:
        checkout.run(stage)
    return checkout


@pytest.fixture(scope="module")
def trainings(tmp_path_factory: pytest.TempPathFactory, pretrained: Path) -> Checkout:
    """A checkout with a toy data set, in which the three kinds of training ran for a few seconds."""
    checkout = Checkout(tmp_path_factory.mktemp("faults") / "trainings", pretrained)
    dataset = write_dataset(checkout.folder / "data")
    (checkout.folder / "data" / "augment").mkdir()
    dataset.recipes.rename(checkout.folder / "data" / "augment" / "recipes.csv")
    tiny: dict[str, Any] = tiny_profile()
    tiny["train"]["validate_every"] = 0
    longer = {name: tiny[name] | {"epochs": 40} for name in ("train_generator", "train_mask", "train")}
    checkout.set_profile(**{name: value for name, value in (tiny | longer).items() if isinstance(value, dict)})
    for stage in TRAININGS:
        checkout.run(stage)
    return checkout


def checkout_of(stage: str, request: pytest.FixtureRequest) -> Checkout:
    """Return the checkout in which a stage and those before it ran."""
    return request.getfixturevalue("trainings" if stage in TRAININGS else "data")


@pytest.fixture
def rng() -> random.Random:
    print(f"FAULTS_SEED={SEED}")
    return random.Random(SEED)


@pytest.mark.slow
@pytest.mark.xdist_group("faults")
@pytest.mark.parametrize("stage", [*DATA_STAGES, *TRAININGS])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_stage_that_is_stopped_runs_again_to_the_same_bytes(
    stage: str, number: signal.Signals, rng: random.Random, request: pytest.FixtureRequest
) -> None:
    checkout = checkout_of(stage, request)
    stopped = 0
    for _ in range(KILLS):
        checkout.delete_outputs(stage)
        process = checkout.start(stage)
        time.sleep(rng.uniform(0.3, 1) * checkout.seconds[stage])
        process.send_signal(number)  # to the stage's own process only, as the kernel does when memory is used up
        process.wait(60)
        assert wait_for_end(process.pid) == []  # its workers end with it
        error = process.communicate()[1]
        stopped += process.returncode != 0
        assert checkout.half_written(stage) == []
        if number != signal.SIGKILL and process.returncode:
            assert "Traceback" not in error or "import" in error, error  # while Python starts, it has no handlers yet
    checkout.run_again(stage)
    assert not list((checkout.folder / ".checkpoints").glob("*/state.pt"))
    print(f"{stage}: {stopped} of {KILLS} runs stopped by {number.name}")


def in_namespace(script: str) -> list[str]:
    """Return the command that runs `script`, then a command, as root of a namespace of users and mounts."""
    return ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", f'{script} && exec "$@"', "sh"]


@pytest.fixture(scope="module")
def namespaces() -> None:
    if (
        not shutil.which("unshare")
        or subprocess.run([*in_namespace("mount -t tmpfs tmpfs /tmp"), "true"], check=False).returncode
    ):
        pytest.skip("this machine permits no mounts in a namespace")


@pytest.mark.slow
@pytest.mark.xdist_group("faults")
@pytest.mark.parametrize("stage", DATA_STAGES[1:])
def test_full_disk_is_one_line_and_leaves_nothing_half_written(
    stage: str, data: Checkout, namespaces: None, rng: random.Random
) -> None:
    size = sum((data.folder / name).stat().st_size for name in data.complete[stage])
    small = data.folder / "small"
    copied = "cp -r small/. kept; exit $code"  # the tmpfs ends with its namespace
    for _ in range(2):
        for folder in (small, data.folder / "kept"):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
        kilobytes = max(4, int(rng.uniform(0.1, 0.8) * size / 1024) // 4 * 4)
        mount = f"mount -t tmpfs -o size={kilobytes}k tmpfs small && mkdir -p small/data/raw small/metrics"
        prefix = [*in_namespace(mount)[:-2], f'{mount}; "$@"; code=$?; {copied}', "sh"]
        process = data.start(stage, *prefix, below="small")
        error = process.communicate(timeout=300)[1]
        assert process.returncode == 1, error
        assert "No space left on device" in error
        assert "Traceback" not in error
        assert data.half_written(stage, "kept") == []
    data.run_again(stage)


@pytest.mark.slow
@pytest.mark.xdist_group("faults")
@pytest.mark.parametrize("stage", [*DATA_STAGES, "train_mask"])
def test_read_only_checkout_is_one_line(stage: str, namespaces: None, request: pytest.FixtureRequest) -> None:
    checkout = checkout_of(stage, request)
    checkout.delete_outputs(stage)
    process = checkout.start(stage, *in_namespace('mount --bind . . && mount -o remount,bind,ro . && cd "$PWD"'))
    error = process.communicate(timeout=300)[1]
    assert process.returncode == 1
    assert "Read-only file system" in error
    assert "Traceback" not in error
    assert checkout.digests(stage) == {}
    checkout.run_again(stage)


def assert_second_run_is_refused(checkout: Checkout, stage: str, has_started: Callable[[], bool]) -> None:
    """Run a stage twice at once; the second run must fail with one line, the first one complete its outputs."""
    checkout.delete_outputs(stage)
    first = checkout.start(stage)
    while not has_started():
        assert first.poll() is None
        time.sleep(0.01)
    first.send_signal(signal.SIGSTOP)  # it would end before the second one has started
    second = checkout.start(stage)
    error = second.communicate(timeout=120)[1]
    first.send_signal(signal.SIGCONT)
    assert second.returncode == 1
    assert "another process runs this stage with the same paths" in error
    assert len(error.splitlines()) == 1
    first.communicate(timeout=600)
    assert first.returncode == 0
    assert checkout.digests(stage) == checkout.complete[stage]


@pytest.mark.slow
@pytest.mark.xdist_group("faults")
@pytest.mark.parametrize("stage", ["clean", "crop", "augment"])
def test_second_run_of_a_data_stage_is_refused(stage: str, data: Checkout) -> None:
    output = data.folder / next(iter(outputs(stages()[stage])))
    assert_second_run_is_refused(data, stage, output.exists)


@pytest.mark.slow
@pytest.mark.xdist_group("faults")
def test_second_run_of_a_training_is_refused(trainings: Checkout) -> None:
    states = trainings.folder / ".checkpoints"
    assert_second_run_is_refused(trainings, "train_mask", lambda: any(states.glob("mask-*/state.pt")))


# DVC's own files


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository of DVC with one stage, which runs until there is a file `go`."""
    stage = {"cmd": "until [ -e go ]; do sleep 0.1; done; echo done > out.txt", "outs": ["out.txt"]}
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": {"slow": stage}}))
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    subprocess.run([*DVC, "init", "--quiet"], cwd=tmp_path, env=NO_REPORTS, check=True)
    return tmp_path


def repro(repository: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*DVC, "repro"], cwd=repository, env=NO_REPORTS, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip


def wait_for_rwlock(repository: Path) -> Path:
    path = repository / ".dvc" / "tmp" / "rwlock"
    while not (path.exists() and "out.txt" in path.read_text()):
        time.sleep(0.02)
    return path


@pytest.mark.slow
def test_lock_of_a_killed_dvc_is_ignored(repository: Path) -> None:
    process = repro(repository)
    lock = wait_for_rwlock(repository)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert json.loads(lock.read_text())  # left behind
    assert not (repository / "out.txt").exists()
    (repository / "go").touch()
    again = repro(repository)
    output = again.communicate(timeout=120)[0]
    assert again.returncode == 0, output
    assert (repository / "out.txt").read_text() == "done\n"


@pytest.mark.slow
def test_second_dvc_names_the_process_of_the_first(repository: Path) -> None:
    first = repro(repository)
    wait_for_rwlock(repository)
    second = repro(repository)
    output = second.communicate(timeout=120)[0]
    assert second.returncode != 0
    assert f"(PID {first.pid})" in output
    assert "is busy" in output
    (repository / "go").touch()
    first.communicate(timeout=120)
    assert first.returncode == 0
    assert (repository / "out.txt").read_text() == "done\n"
