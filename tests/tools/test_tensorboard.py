import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray
from toys import ROOT
from typer.testing import CliRunner

from portraitist.cli import app
from portraitist.core.image_io import encode_jpeg
from portraitist.core.training_log import TrainingLog
from portraitist.tools.tensorboard import LogFormatError, TensorboardWriter

STRIP = encode_jpeg(np.full((16, 24, 3), (200, 30, 90), np.uint8))


def log_steps(folder, first=0, **columns):
    """Append one step for each value of each metric, as a training does that resumes after step `first`."""
    files = {name: folder / "plots" / "metrics" / f"{name}.tsv" for name in columns}
    rows = {name: _rows(file)[:first] for name, file in files.items() if first}
    log = TrainingLog(folder, rows)
    for step, values in enumerate(zip(*columns.values(), strict=True), start=first + 1):
        log.add(step, dict(zip(columns, map(float, values), strict=True)))


def _rows(file):
    frame = pd.read_csv(file, sep="\t").astype(float)
    return [(int(step), value) for step, value in frame.itertuples(index=False, name=None)]


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
    return tmp_path / "logs" / "train" / "cartoongan"


@pytest.fixture
def run_folder(tmp_path):
    return tmp_path / "runs" / "train" / "cartoongan"


@pytest.fixture
def writer(tmp_path):
    return TensorboardWriter(tmp_path / "logs", tmp_path / "runs")


def test_each_log_is_a_run_and_each_metric_a_scalar(writer, log, run_folder, tmp_path):
    log_steps(log, g_adv=[0.5, 0.25, 4], d_real=[1, 2, 3])
    log_steps(tmp_path / "logs" / "train_mask", m_mask=[7])
    assert writer.catch_up() == 2
    events = open_events(run_folder)
    assert set(events.Tags()["tensors"]) == {"g_adv", "d_real"}
    assert scalars(events, "g_adv") == [(1, 0.5), (2, 0.25), (3, 4)]
    assert scalars(events, "d_real") == [(1, 1), (2, 2), (3, 3)]
    assert scalars(open_events(tmp_path / "runs" / "train_mask"), "m_mask") == [(1, 7)]


def test_sample_strip_becomes_an_image_of_the_last_step(writer, log, run_folder):
    log_steps(log, g_adv=[1, 2, 3])
    writer.catch_up()
    assert "painted" not in open_events(run_folder).Tags()["tensors"]
    (log / "samples.jpg").write_bytes(STRIP)
    for _ in range(2):
        writer.catch_up()
        (image,) = open_events(run_folder).Tensors("painted")
        assert image.step == 3
        assert make_ndarray(image.tensor_proto).tolist() == [b"24", b"16", STRIP]


def test_rows_are_written_once_and_when_complete(writer, log, run_folder):
    page = EventAccumulator(str(run_folder))
    log_steps(log, g_adv=[1.5])
    with (log / "plots" / "metrics" / "g_adv.tsv").open("a") as file:
        file.write("2\t2")
        file.flush()
        writer.catch_up()
        assert scalars(page.Reload(), "g_adv") == [(1, 1.5)]
        file.write(".75\n")
    for _ in range(2):
        writer.catch_up()
        assert scalars(page.Reload(), "g_adv") == [(1, 1.5), (2, 2.75)]
    log_steps(log, first=2, g_adv=[3, 4])
    writer.catch_up()
    assert scalars(page.Reload(), "g_adv") == [(1, 1.5), (2, 2.75), (3, 3), (4, 4)]


@pytest.mark.parametrize("steps", [0, 1, 2, 5])
def test_resumed_training_replaces_its_later_steps(writer, log, run_folder, steps):
    page = EventAccumulator(str(run_folder))
    log_steps(log, g_adv=[1, 2, 3, 4], d_real=[1, 2, 3, 4])
    writer.catch_up()
    assert len(scalars(page.Reload(), "g_adv")) == 4
    values = [30 + step for step in range(steps)]
    log_steps(log, first=2, g_adv=values, d_real=values)
    writer.catch_up()
    expected = [(1, 1), (2, 2), *((3 + step, 30 + step) for step in range(steps))]
    for events in (page.Reload(), open_events(run_folder)):  # a page that has been open all the time, and a new one
        assert scalars(events, "g_adv") == scalars(events, "d_real") == expected


def test_sample_strip_is_kept_when_its_step_is_replaced(writer, log, run_folder):
    log_steps(log, g_adv=[1, 2, 3])
    (log / "samples.jpg").write_bytes(STRIP)
    writer.catch_up()
    log_steps(log, first=1, g_adv=[20])
    writer.catch_up()
    assert [image.step for image in open_events(run_folder).Tensors("painted")] == [2]


def test_a_new_writer_replaces_only_its_own_files(writer, log, run_folder, tmp_path):
    log_steps(log, g_adv=[1, 2])
    writer.catch_up()
    (run_folder / "events.out.tfevents.1.mine").write_bytes(b"")
    TensorboardWriter(tmp_path / "logs", tmp_path / "runs").catch_up()
    assert scalars(open_events(run_folder), "g_adv") == [(1, 1), (2, 2)]
    assert len(list(run_folder.iterdir())) == 2
    assert (run_folder / "events.out.tfevents.1.mine").exists()


@pytest.mark.parametrize("row", ["7", "1\tmuch", "1\t2\t3", "1.5\t2"])
def test_invalid_row_is_named(writer, log, tmp_path, row):
    (log / "plots" / "metrics").mkdir(parents=True)
    (log / "plots" / "metrics" / "g_adv.tsv").write_text(f"step\tg_adv\n{row}\n")
    with pytest.raises(LogFormatError) as error:
        writer.catch_up()
    assert f"g_adv.tsv: not a row of a training log: {row!r}" in str(error.value)
    code, stdout, stderr = run_events(tmp_path / "logs", "-o", tmp_path / "runs")
    assert (code, stdout) == (2, "")
    assert str(log) in stderr
    assert repr(row) in stderr


def test_command_prints_how_to_open_the_runs(log, run_folder, tmp_path):
    log_steps(log, g_adv=[1])
    code, stdout, _ = run_events(tmp_path / "logs", "-o", tmp_path / "runs")
    assert code == 0
    assert f"tensorboard --logdir {tmp_path / 'runs'}" in stdout
    assert scalars(open_events(run_folder), "g_adv") == [(1, 1)]


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
    assert scalars(open_events(run_folder), "g_adv") == [(1, 1.5), (2, 2.5)]


def test_the_command_imports_no_torch():
    code = "import sys, portraitist.cli, portraitist.tools.tensorboard; "
    code += "print('tensorboard' in sys.modules, 'torch' in sys.modules)"
    env = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    output = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
    assert output == "True False\n"
