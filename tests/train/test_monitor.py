import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from toys import ROOT, NoiseBatches, batch, make_trainable, schedule, settings, upstream_models
from train_helpers import Interrupted, KilledError, checkpointer_in

from portraitist.train.loop import train
from portraitist.train.monitor import Monitor, SampleStrip


def read(folder):
    """The rows of each metric's file, and the latest values."""
    frames = {path.stem: pd.read_csv(path, sep="\t") for path in (folder / "plots" / "metrics").iterdir()}
    assert all(list(frame.columns) == ["step", name] for name, frame in frames.items())
    rows = {name: list(frame.itertuples(index=False, name=None)) for name, frame in frames.items()}
    return rows, json.loads((folder / "metrics.json").read_text())


def monitor_in(folder, num_steps=1):
    monitor = Monitor(folder, num_steps)
    monitor.start(None)
    return monitor


def test_log_is_complete_after_each_step(tmp_path):
    monitor = monitor_in(tmp_path)
    monitor.after_step({"g_adv": 0.123456789, "d_real": 2})
    assert read(tmp_path) == (
        {"g_adv": [(1, 0.123457)], "d_real": [(1, 2)]},
        {"g_adv": 0.123457, "d_real": 2, "step": 1},
    )
    monitor.after_step({"g_adv": 3.0, "d_real": 4})
    assert read(tmp_path) == (
        {"g_adv": [(1, 0.123457), (2, 3)], "d_real": [(1, 2), (2, 4)]},
        {"g_adv": 3, "d_real": 4, "step": 2},
    )


def test_rows_are_means_over_equal_numbers_of_steps(tmp_path):
    monitor = monitor_in(tmp_path, num_steps=601)  # 4 steps per row
    for step in range(10):
        monitor.after_step({"loss": float(step)})
    assert read(tmp_path)[0] == {"loss": [(4, 1.5), (8, 5.5)]}
    monitor.finish(make_trainable("unet_mask"))
    assert read(tmp_path)[0] == {"loss": [(4, 1.5), (8, 5.5), (10, 8.5)]}


def test_a_new_log_replaces_that_of_another_training(tmp_path):
    monitor_in(tmp_path).after_step({"g_adv": 1.0})
    monitor_in(tmp_path).after_step({"d_real": 2.0})
    assert read(tmp_path) == ({"d_real": [(1, 2)]}, {"d_real": 2, "step": 1})


@pytest.mark.parametrize("deleted", [False, True])  # whether DVC deletes the log before it starts the stage again
@pytest.mark.parametrize("num_steps", [6, 500])
def test_resumed_run_writes_the_same_log(num_steps, deleted, tmp_path, monkeypatch):
    """The run is killed two steps after its last saved state, in epoch 2."""

    def run(folder, batches, checkpointer=None):
        monitor = Monitor(folder, num_steps)
        train("cartoongan", settings("cartoongan"), batches, upstream_models(), schedule(), checkpointer, monitor)
        return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    folder = tmp_path / "log"
    expected = run(folder, NoiseBatches(3))
    shutil.rmtree(folder)
    states = iter([False, True, False, False])
    with pytest.raises(KilledError), checkpointer_in(tmp_path, monkeypatch) as checkpointer:
        monkeypatch.setattr(checkpointer, "due", lambda: next(states))
        run(folder, Interrupted((1, 1)), checkpointer)
    if num_steps == 6:
        assert len(read(folder)[0]["g_adv"]) == 4
    if deleted:
        shutil.rmtree(folder)
    with checkpointer_in(tmp_path, monkeypatch) as checkpointer:
        assert run(folder, NoiseBatches(3), checkpointer) == expected


def test_summary_counts_whole_batches_of_this_process(tmp_path, monkeypatch):
    clock = iter([10.0, 12.0])
    monkeypatch.setattr("portraitist.train.monitor.time.monotonic", lambda: next(clock))
    monitor = Monitor(tmp_path, 1)
    monitor.start({"step": 5, "pending": [], "rows": {}})
    for _ in range(3):
        monitor.after_step({"loss": 1.0})
    assert monitor.summary(batch_size=4).startswith("3 steps in 2 s, 6 images/s, peak memory ")


def test_memory_is_the_peak_of_this_process():
    program = "from portraitist.train.monitor import memory_mb; print(memory_mb()); x = b'1' * 2_000_000_000; "
    program += "print(memory_mb())"
    # in a new process, because this one may have used more memory before
    env = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    output = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True).stdout
    before, after = map(float, output.split())
    assert before > 50
    assert 2000 < after < before + 2100


@pytest.mark.parametrize(
    ("name", "epochs", "columns"),
    [
        ("masked_cartoongan", 1, [0, 1]),
        ("masked_cartoongan", 3, [0, 1, 2, 3]),
        ("masked_cartoongan", 20, [0, 2, 5, 7, 10, 12, 15, 17, 20]),
        ("nst_with_background", 3, [0, 3]),  # is not trained, so its images do not change
        ("unet_mask", 3, [0]),  # cannot paint
    ],
)
def test_samples_are_painted_at_most_eight_times(name, epochs, columns, tmp_path):
    samples = SampleStrip(batch().selfies, batch().selfie_masks, epochs)
    monitor = Monitor(tmp_path, epochs, samples)
    train(name, settings(name), NoiseBatches(1), upstream_models(), schedule(epochs=epochs), monitor=monitor)
    assert list(samples.columns) == columns
    assert (tmp_path / "samples.jpg").exists() == (len(columns) > 1)


def test_sample_strip_is_written_while_training_runs(tmp_path):
    samples = SampleStrip(batch().selfies, batch().selfie_masks, 3)
    batches, monitor = Interrupted((2, 0)), Monitor(tmp_path, 9, samples)
    with pytest.raises(KilledError):
        train("cartoongan", settings("cartoongan"), batches, upstream_models(), schedule(epochs=3), monitor=monitor)
    with Image.open(tmp_path / "samples.jpg") as picture:
        assert picture.size == (3 * 32, 2 * 16)  # selfies, and two of three epochs


def test_strip_has_a_row_per_selfie_and_a_column_per_epoch(tmp_path):
    samples = SampleStrip(batch().selfies, batch().selfie_masks, 1)
    samples.columns = {0: samples.columns[0] * 0, 1: samples.columns[0] * 0 + 255}
    samples.write(tmp_path / "strip.jpg")
    with Image.open(tmp_path / "strip.jpg") as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == (2 * 16, 2 * 32, 3)
    assert pixels[:, :32].mean() < 1
    assert pixels[:, 32:].mean() > 254


def test_resumed_run_writes_the_same_sample_strip(tmp_path, monkeypatch):
    def strip(batches, checkpointer=None):
        name = "masked_cartoongan"
        monitor = Monitor(tmp_path / "log", 1, SampleStrip(batch().selfies, batch().selfie_masks, 2))
        train(name, settings(name), batches, upstream_models(), schedule(), checkpointer, monitor)
        return (tmp_path / "log" / "samples.jpg").read_bytes()

    expected = strip(NoiseBatches(3))
    with pytest.raises(KilledError), checkpointer_in(tmp_path, monkeypatch) as checkpointer:
        strip(Interrupted((1, 1)), checkpointer)
    with checkpointer_in(tmp_path, monkeypatch) as checkpointer:
        assert strip(NoiseBatches(3), checkpointer) == expected
