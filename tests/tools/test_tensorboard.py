import os
import subprocess
import sys

import numpy as np
import pytest
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray
from toys import ROOT
from typer.testing import CliRunner

from portraitist.cli import app
from portraitist.core.image_io import encode_jpeg
from portraitist.tools.tensorboard import LogFormatError, TensorboardWriter
from portraitist.train.monitor import LiveLog

STRIP = encode_jpeg(np.full((16, 24, 3), (200, 30, 90), np.uint8))


def log_steps(path, first=0, **columns):
    """Append one step for each value of each loss term, as a training does."""
    live = LiveLog(path, first)
    for values in zip(*columns.values(), strict=True):
        live.add(1, dict(zip(columns, map(float, values), strict=True)), 2)


def open_events(folder):
    """The events of a run, as TensorBoard shows them."""
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def scalars(events, tag):
    return [(event.step, make_ndarray(event.tensor_proto).item()) for event in events.Tensors(tag)]


def run_events(*arguments):
    """Exit code, stdout and stderr of the command."""
    result = CliRunner().invoke(app, ["tensorboard", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def log(tmp_path):
    return tmp_path / "logs" / "train" / "cartoongan.live.csv"


@pytest.fixture
def run_folder(tmp_path):
    return tmp_path / "runs" / "train" / "cartoongan"


@pytest.fixture
def writer(tmp_path):
    return TensorboardWriter(tmp_path / "logs", tmp_path / "runs")


def test_each_log_is_a_run_and_each_column_a_scalar(writer, log, run_folder, tmp_path):
    log_steps(log, g_adv=[0.5, 0.25, 4], d_real=[1, 2, 3])
    log_steps(tmp_path / "logs" / "train_mask.live.csv", m_mask=[7])
    assert writer.catch_up() == 2
    events = open_events(run_folder)
    assert set(events.Tags()["tensors"]) == {"epoch", "g_adv", "d_real", "images_per_s", "memory_mb"}
    assert scalars(events, "g_adv") == [(0, 0.5), (1, 0.25), (2, 4)]
    assert scalars(events, "d_real") == [(0, 1), (1, 2), (2, 3)]
    assert {event.wall_time for event in events.Tensors("g_adv")} == {log.stat().st_mtime}
    assert scalars(open_events(tmp_path / "runs" / "train_mask"), "m_mask") == [(0, 7)]


def test_sample_strip_becomes_an_image_of_the_last_step(writer, log, run_folder):
    log_steps(log, g_adv=[1, 2, 3])
    writer.catch_up()
    assert "painted" not in open_events(run_folder).Tags()["tensors"]
    log.with_name("cartoongan.jpg").write_bytes(STRIP)
    for _ in range(2):
        writer.catch_up()
        (image,) = open_events(run_folder).Tensors("painted")
        assert image.step == 2
        assert make_ndarray(image.tensor_proto).tolist() == [b"24", b"16", STRIP]


def test_rows_are_written_once_and_when_complete(writer, log, run_folder):
    page = EventAccumulator(str(run_folder))
    log_steps(log, g_adv=[1.5])
    with log.open("a") as file:
        file.write("1,1,2")
        file.flush()
        writer.catch_up()
        assert scalars(page.Reload(), "g_adv") == [(0, 1.5)]
        file.write(".75,8,900\n")
    for _ in range(2):
        writer.catch_up()
        assert scalars(page.Reload(), "g_adv") == [(0, 1.5), (1, 2.75)]
    log_steps(log, first=2, g_adv=[3, 4])
    writer.catch_up()
    assert scalars(page.Reload(), "g_adv") == [(0, 1.5), (1, 2.75), (2, 3), (3, 4)]


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_resumed_training_replaces_its_later_steps(writer, log, run_folder, steps):
    page = EventAccumulator(str(run_folder))
    log_steps(log, g_adv=[1, 2, 3, 4])
    writer.catch_up()
    assert len(scalars(page.Reload(), "g_adv")) == 4
    log_steps(log, first=2, g_adv=[30 + step for step in range(steps)])
    writer.catch_up()
    expected = [(0, 1), (1, 2), *((2 + step, 30 + step) for step in range(steps))]
    assert scalars(page.Reload(), "g_adv") == expected  # a page that has been open all the time
    assert scalars(open_events(run_folder), "g_adv") == expected


def test_a_new_writer_replaces_only_its_own_files(writer, log, run_folder, tmp_path):
    log_steps(log, g_adv=[1, 2])
    writer.catch_up()
    (run_folder / "events.out.tfevents.1.mine").write_bytes(b"")
    TensorboardWriter(tmp_path / "logs", tmp_path / "runs").catch_up()
    assert scalars(open_events(run_folder), "g_adv") == [(0, 1), (1, 2)]
    assert len(list(run_folder.iterdir())) == 2
    assert (run_folder / "events.out.tfevents.1.mine").exists()


@pytest.mark.parametrize("row", ["7,8", "0,1,much", "0,1,2,3"])
def test_invalid_row_is_named(writer, log, tmp_path, row):
    log.parent.mkdir(parents=True)
    log.write_text(f"step,epoch,g_adv\n{row}\n")
    with pytest.raises(LogFormatError, match=rf"cartoongan\.live\.csv: .*'{row}'"):
        writer.catch_up()
    code, stdout, stderr = run_events(tmp_path / "logs", "-o", tmp_path / "runs")
    assert (code, stdout) == (2, "")
    assert str(log) in stderr
    assert repr(row) in stderr


def test_command_prints_how_to_open_the_runs(log, run_folder, tmp_path):
    log_steps(log, g_adv=[1])
    code, stdout, _ = run_events(tmp_path / "logs", "-o", tmp_path / "runs")
    assert code == 0
    assert f"tensorboard --logdir {tmp_path / 'runs'}" in stdout
    assert scalars(open_events(run_folder), "g_adv") == [(0, 1)]


@pytest.mark.parametrize("folder", ["", "none"])
def test_missing_logs_are_an_error(tmp_path, folder):
    code, stdout, stderr = run_events(tmp_path / folder, "-o", tmp_path / "runs")
    assert (code, stdout) == (2, "")
    assert str(tmp_path / folder) in stderr


def test_follow_writes_new_steps_until_interrupted(log, run_folder, tmp_path, monkeypatch):
    steps = iter(range(2))

    def train_meanwhile(seconds):
        assert 0 < seconds < 10
        if (step := next(steps, None)) is None:
            raise KeyboardInterrupt
        log_steps(log, first=step, g_adv=[step + 1.5])

    monkeypatch.setattr("time.sleep", train_meanwhile)
    assert run_events(tmp_path / "logs", "-o", tmp_path / "runs", "--follow")[0] == 0
    assert scalars(open_events(run_folder), "g_adv") == [(0, 1.5), (1, 2.5)]


def test_the_command_imports_no_torch():
    code = "import sys, portraitist.cli, portraitist.tools.tensorboard; "
    code += "print('tensorboard' in sys.modules, 'torch' in sys.modules)"
    env = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    output = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
    assert output == "True False\n"
