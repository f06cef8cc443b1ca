import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from portraitist.core.shards import Shards, ShardWriter, shard_name, write_shard
from portraitist.core.workers import (
    MAX_AHEAD,
    MAX_DEATHS,
    ShardTask,
    WorkerLostError,
    WorkersParams,
    _JoblibPool,
    map_shards,
    shard_tasks,
)

HERE = Path(__file__).parent
TWO = WorkersParams(backend="joblib", processes=2)


class Reverse:
    """Writes each picture's bytes in reverse order; the picture itself can demand a failure."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with (folder / "started").open("a") as file:
            file.write(f"{os.getpid()}\n")

    def __call__(self, task: ShardTask) -> tuple[str, int]:
        return write_shard(self.folder / task.name, self.reversed(task)), os.getpid()

    def reversed(self, task: ShardTask):
        for picture in task.pictures:
            if picture["id"] in task.rejected:
                yield picture["id"], {"rejected": task.rejected[picture["id"]].encode()}
                continue
            data = task.shards.read(picture["id"], "bytes")
            if data == b"raise":
                raise ValueError("no such picture")
            if data == b"slow":
                (self.folder / "slow").touch()
                time.sleep(5)
            first = data == b"kill once" and not (self.folder / "killed").exists()
            if first:
                (self.folder / "killed").touch()
            if data == b"kill" or first:
                os.kill(os.getpid(), signal.SIGKILL)
            yield picture["id"], {"bytes": data[::-1]}


class KillsAnyWhole:
    """Ends its process on every task with more than one picture, as if memory were used up."""

    def __init__(self) -> None: ...

    def __call__(self, task: ShardTask) -> int:
        if len(task.pictures) > 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return len(task.pictures)


def make_tasks(folder: Path, changed: dict[int, bytes] | None = None, count: int = 12) -> list[ShardTask]:
    """Return tasks for shards of four pictures; some pictures have other bytes."""
    with ShardWriter(folder / "in", 4) as shards:
        for number in range(count):
            shards.add(f"{number:02d}", {"bytes": (changed or {}).get(number, b"abc%d" % number)})
    (folder / "out").mkdir()
    read = Shards(folder / "in")
    return list(shard_tasks(read, {picture: {"id": picture} for picture in read}))


def run(folder: Path, tasks: list[ShardTask], params: WorkersParams = TWO) -> list[str]:
    return [index for index, _ in map_shards(partial(Reverse, folder / "out"), tasks, params, "test")]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("[0-9]*.tar"))}


def test_tasks_follow_shards_and_skip_other_pictures(tmp_path: Path):
    make_tasks(tmp_path)
    tasks = list(shard_tasks(Shards(tmp_path / "in"), {name: {"id": name} for name in ("09", "02", "01")}))
    assert [(task.name, [picture["id"] for picture in task.pictures]) for task in tasks] == [
        ("00000.tar", ["01", "02"]),
        ("00002.tar", ["09"]),
    ]
    assert [list(task.shards) for task in tasks] == [["01", "02"], ["09"]]


def test_results_are_in_order_and_setup_runs_once_per_process(tmp_path: Path):
    tasks = make_tasks(tmp_path, count=40)
    results = list(map_shards(partial(Reverse, tmp_path / "out"), tasks, TWO, "test"))
    assert [index.split(",")[2] for index, _ in results] == [shard_name(number) for number in range(10)]
    started = (tmp_path / "out" / "started").read_text().split()
    assert {str(process) for _, process in results} <= set(started)
    assert len(started) == len(set(started)) <= 2
    assert str(os.getpid()) not in started


def test_bytes_do_not_depend_on_number_of_workers(tmp_path: Path):
    made = []
    for processes in (1, 3):
        folder = tmp_path / str(processes)
        folder.mkdir()
        indexes = run(folder, make_tasks(folder), WorkersParams(backend="joblib", processes=processes))
        made.append((indexes, contents(folder / "out")))
    assert made[0] == made[1]
    assert len(made[0][1]) == 3


def test_exception_in_worker_is_raised_in_caller(tmp_path: Path):
    with pytest.raises(ValueError, match="no such picture"):
        run(tmp_path, make_tasks(tmp_path, {5: b"raise"}))


def test_lost_worker_costs_only_its_shard(tmp_path: Path, capsys):
    tasks = make_tasks(tmp_path, {5: b"kill once"})
    indexes = run(tmp_path, tasks)
    assert [len(index.splitlines()) for index in indexes] == [4, 4, 4]
    assert capsys.readouterr().err.count("its pictures are processed again") == 1
    assert contents(tmp_path / "out")["00001.tar"].count(b"ecno llik") == 1


@pytest.mark.slow
@pytest.mark.parametrize("killers", [{2}, {4, 7}])
def test_picture_that_kills_its_worker_is_rejected_alone(killers: set[int], tmp_path: Path):
    indexes = run(tmp_path, make_tasks(tmp_path, dict.fromkeys(killers, b"kill"), count=8))
    endings = dict(line.split(",")[:2] for index in indexes for line in index.splitlines())
    assert len(endings) == 8
    assert {int(name) for name, ending in endings.items() if ending == "rejected"} == killers
    reason = f"killed its worker process {MAX_DEATHS} times".encode()
    assert sum(data.count(reason) for data in contents(tmp_path / "out").values()) == len(killers)


@pytest.mark.slow
def test_shard_whose_pictures_are_harmless_alone_is_an_error(tmp_path: Path):
    tasks = make_tasks(tmp_path, count=4)
    with pytest.raises(WorkerLostError, match=r"00000\.tar.*workers\.processes"):
        list(map_shards(KillsAnyWhole, tasks, TWO, "test"))


def test_slow_shard_holds_back_a_bounded_number_of_results(tmp_path: Path, monkeypatch):
    submitted = []
    submit = _JoblibPool.submit
    monkeypatch.setattr(_JoblibPool, "submit", lambda pool, task: submitted.append(task) or submit(pool, task))
    tasks = make_tasks(tmp_path, count=160)
    results = map_shards(partial(Reverse, tmp_path / "out"), tasks, TWO, "test")
    for number in range(1, 6):
        next(results)
        assert len(submitted) <= number + MAX_AHEAD * TWO.processes
    results.close()


def test_progress_counts_shards_and_pictures_per_second(tmp_path: Path, capsys):
    run(tmp_path, make_tasks(tmp_path))
    assert "test: 12 pictures in 3 shards, " in capsys.readouterr().err


def test_no_worker_process_is_left(tmp_path: Path):
    run(tmp_path, make_tasks(tmp_path))
    for process in (tmp_path / "out" / "started").read_text().split():
        with pytest.raises(ProcessLookupError):
            os.kill(int(process), 0)


STAGE = """if True:
    import sys
    from pathlib import Path
    from test_workers import make_tasks, run
    run(Path(sys.argv[1]), make_tasks(Path(sys.argv[1]), {5: b"slow"}))
"""


@pytest.mark.slow
def test_worker_whose_stage_was_killed_writes_nothing_more(tmp_path: Path):
    path = os.pathsep.join([str(HERE), *filter(None, sys.path)])
    stage = subprocess.Popen([sys.executable, "-c", STAGE, str(tmp_path)], env=os.environ | {"PYTHONPATH": path})
    while not (tmp_path / "out" / "slow").exists():
        assert stage.poll() is None
        time.sleep(0.02)
    stage.kill()
    stage.wait()
    time.sleep(6)
    assert "00001.tar" not in contents(tmp_path / "out")
    for process in (tmp_path / "out" / "started").read_text().split():
        with pytest.raises(ProcessLookupError):
            os.kill(int(process), 0)


# --- Ray: in a process of its own, because Ray leaves sockets and threads behind

ON_RAY = """if True:
    import os, sys
    from functools import partial
    from pathlib import Path
    from ray.cluster_utils import Cluster
    from test_workers import Reverse, make_tasks
    from portraitist.core.workers import WorkersParams, map_shards
    folder = Path(sys.argv[1])
    node = {"num_cpus": 1, "node_ip_address": "127.0.0.2", "object_store_memory": 100 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})
    other = cluster.add_node(**node)
    os.environ["RAY_ADDRESS"] = cluster.address
    tasks = make_tasks(folder, {5: b"kill once"}, count=48)
    results = map_shards(partial(Reverse, folder / "out"), tasks, WorkersParams(backend="ray", processes=1), "test")
    for number, (index, _) in enumerate(results):
        with (folder / "index").open("a") as file:  # not standard output, to which Ray prints
            file.write(index)
        if number == 2:
            cluster.remove_node(other, allow_graceful=False)
    cluster.shutdown()
"""


@pytest.mark.slow
def test_ray_writes_the_same_bytes_although_a_node_is_lost(tmp_path: Path):
    pytest.importorskip("ray")
    for name in ("joblib", "ray"):
        (tmp_path / name).mkdir()
    indexes = run(tmp_path / "joblib", make_tasks(tmp_path / "joblib", {5: b"kill once"}, count=48))
    own = {
        "PYTHONPATH": os.pathsep.join([str(HERE), *filter(None, sys.path)]),
        "RAY_raylet_start_wait_time_s": "300",  # Ray's own limit is too short for a busy machine
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    command = [sys.executable, "-c", ON_RAY, str(tmp_path / "ray")]
    ran = subprocess.run(command, env=os.environ | own, capture_output=True, text=True, check=False, timeout=600)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert (tmp_path / "ray" / "index").read_text() == "".join(indexes)
    assert contents(tmp_path / "ray" / "out") == contents(tmp_path / "joblib" / "out")
    assert "test: 48 pictures in 12 shards, " in ran.stderr
