import os
import subprocess
import sys

import numpy as np
import pytest
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray
from test_cli import run
from toys import ROOT

from portraitist.core.image_io import encode_jpeg
from portraitist.tools import tensorboard
from portraitist.tools.tensorboard import LogFormatError, TensorboardWriter
from portraitist.train import monitor
from portraitist.train.monitor import LiveLog

SHEET = encode_jpeg(np.full((16, 24, 3), (200, 30, 90), np.uint8))


def trained(path, first=0, **rows):
    """A training at its log: one more row for each value of each term."""
    live = LiveLog(path, first)
    for values in zip(*rows.values(), strict=True):
        live.add(1, dict(zip(rows, map(float, values), strict=True)), 2)


def shown(folder):
    """What TensorBoard would show of a run."""
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def scalars(events, tag):
    return [(event.step, make_ndarray(event.tensor_proto).item()) for event in events.Tensors(tag)]


@pytest.fixture
def log(tmp_path):
    return tmp_path / "logs" / "train" / "cartoongan.live.csv"


@pytest.fixture
def runs(tmp_path):
    return TensorboardWriter(tmp_path / "logs", tmp_path / "runs")


def test_each_log_is_a_run_and_each_column_a_scalar_by_the_step(runs, log, tmp_path):
    trained(log, g_fool=[0.5, 0.25, 4], d_real=[1, 2, 3])
    trained(tmp_path / "logs" / "train_mask.live.csv", m_mask=[7])
    assert runs.catch_up() == 2
    events = shown(tmp_path / "runs" / "train" / "cartoongan")
    assert set(events.Tags()["tensors"]) == {"epoch", "g_fool", "d_real", "images_per_s", "memory_mb"}
    assert scalars(events, "g_fool") == [(0, 0.5), (1, 0.25), (2, 4)]
    assert scalars(events, "d_real") == [(0, 1), (1, 2), (2, 3)]
    assert {event.wall_time for event in events.Tensors("g_fool")} == {log.stat().st_mtime}
    assert scalars(shown(tmp_path / "runs" / "train_mask"), "m_mask") == [(0, 7)]


def test_the_sheet_of_samples_is_an_image_of_the_last_step_as_soon_as_there_is_one(runs, log, tmp_path):
    trained(log, g_fool=[1, 2, 3])
    runs.catch_up()
    folder = tmp_path / "runs" / "train" / "cartoongan"
    assert "painted" not in shown(folder).Tags()["tensors"]
    log.with_name("cartoongan.jpg").write_bytes(SHEET)
    for _ in range(2):
        runs.catch_up()
        (image,) = shown(folder).Tensors("painted")
        assert image.step == 2
        assert make_ndarray(image.tensor_proto).tolist() == [b"24", b"16", SHEET]


def test_while_a_training_runs_each_row_is_written_once_and_only_when_it_is_whole(runs, log, tmp_path):
    page = EventAccumulator(str(tmp_path / "runs" / "train" / "cartoongan"))
    trained(log, g_fool=[1.5])
    with log.open("a") as file:
        file.write("1,1,2")
        file.flush()
        runs.catch_up()
        assert scalars(page.Reload(), "g_fool") == [(0, 1.5)]
        file.write(".75,8,900\n")
    for _ in range(2):
        runs.catch_up()
        assert scalars(page.Reload(), "g_fool") == [(0, 1.5), (1, 2.75)]
    trained(log, first=2, g_fool=[3, 4])
    runs.catch_up()
    assert scalars(page.Reload(), "g_fool") == [(0, 1.5), (1, 2.75), (2, 3), (3, 4)]


@pytest.mark.parametrize("more", [1, 2, 5])
def test_a_log_that_was_cut_back_after_a_kill_is_shown_as_it_is_now(runs, log, tmp_path, more):
    page = EventAccumulator(str(tmp_path / "runs" / "train" / "cartoongan"))
    trained(log, g_fool=[1, 2, 3, 4])
    runs.catch_up()
    assert len(scalars(page.Reload(), "g_fool")) == 4
    trained(log, first=2, g_fool=[30 + step for step in range(more)])
    runs.catch_up()
    expected = [(0, 1), (1, 2), *((2 + step, 30 + step) for step in range(more))]
    assert scalars(page.Reload(), "g_fool") == expected  # a page that was open all the time
    assert scalars(shown(page.path), "g_fool") == expected


def test_a_second_command_writes_no_row_twice_and_lets_others_files_be(runs, log, tmp_path):
    trained(log, g_fool=[1, 2])
    runs.catch_up()
    folder = tmp_path / "runs" / "train" / "cartoongan"
    (folder / "events.out.tfevents.1.mine").write_bytes(b"")
    TensorboardWriter(tmp_path / "logs", tmp_path / "runs").catch_up()
    assert scalars(shown(folder), "g_fool") == [(0, 1), (1, 2)]
    assert len(list(folder.iterdir())) == 2
    assert (folder / "events.out.tfevents.1.mine").exists()


@pytest.mark.parametrize("row", ["7,8", "0,1,much", "0,1,2,3"])
def test_what_is_no_log_is_named(runs, log, tmp_path, row):
    log.parent.mkdir(parents=True)
    log.write_text(f"step,epoch,g_fool\n{row}\n")
    with pytest.raises(LogFormatError, match=rf"cartoongan\.live\.csv: '{row}' is no step of a training"):
        runs.catch_up()
    code, said, complaint = run("events", tmp_path / "logs", "-o", tmp_path / "runs")
    assert (code, said, complaint) == (2, "", f"portraitist: {log}: {row!r} is no step of a training\n")


def test_the_command_says_how_to_look(log, tmp_path):
    trained(log, g_fool=[1])
    code, said, _ = run("events", tmp_path / "logs", "-o", tmp_path / "runs")
    assert (code, said) == (
        0,
        f"1 run in {tmp_path / 'runs'}; look at them by: tensorboard --logdir {tmp_path / 'runs'}\n",
    )
    assert scalars(shown(tmp_path / "runs" / "train" / "cartoongan"), "g_fool") == [(0, 1)]


def test_where_nothing_was_trained_it_says_so(tmp_path):
    code, said, complaint = run("events", tmp_path, "-o", tmp_path / "runs")
    assert (code, said) == (2, "")
    assert complaint == f"portraitist: {tmp_path} holds no *.live.csv: a training writes its log while it runs\n"
    complaint = run("events", tmp_path / "none", "-o", tmp_path / "runs")[2]
    assert complaint == f"portraitist: {tmp_path / 'none'} is no folder: a training writes its log while it runs\n"


def test_followed_a_training_may_begin_and_go_on_until_ctrl_c(log, tmp_path, monkeypatch):
    turns = iter(range(2))

    def meanwhile(seconds):
        assert 0 < seconds < 10
        if (turn := next(turns, None)) is None:
            raise KeyboardInterrupt
        trained(log, first=turn, g_fool=[turn + 1.5])

    monkeypatch.setattr("time.sleep", meanwhile)
    assert run("events", tmp_path / "logs", "-o", tmp_path / "runs", "--follow")[0] == 0
    assert scalars(shown(tmp_path / "runs" / "train" / "cartoongan"), "g_fool") == [(0, 1.5), (1, 2.5)]


def test_what_it_reads_is_what_a_training_writes():
    assert tensorboard.LIVE_SUFFIX == monitor.LIVE_SUFFIX


def test_watching_loads_no_torch(tmp_path):
    code = (
        "import sys, portraitist.cli, portraitist.events; print('tensorboard' in sys.modules, 'torch' in sys.modules)"
    )
    env = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    said = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
    assert said == "True False\n"
