import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from toys import ROOT, NoiseBatches, batch, make_trainable, schedule, settings, upstream_models
from train_helpers import Interrupted, KilledError, checkpointer_in

from portraitist.train.loop import train
from portraitist.train.monitor import LiveLog, SampleStrip


def test_live_log_has_a_row_after_each_step(tmp_path):
    live = LiveLog(tmp_path / "new" / "cartoongan.live.csv", 0)
    live.add(1, {"g_adv": 0.123456789}, 2)
    assert pd.read_csv(live.path).iloc[0, :3].to_dict() == {"step": 0, "epoch": 1, "g_adv": 0.123457}
    live.add(1, {"g_adv": 3.0}, 2)
    rows = pd.read_csv(live.path)
    assert list(rows.columns) == ["step", "epoch", "g_adv", "images_per_s", "memory_mb"]
    assert list(rows["step"]) == [0, 1]
    assert (rows["images_per_s"] > 0).all()


def test_images_per_second_count_the_whole_batch(tmp_path, monkeypatch):
    clock = iter([10.0, 12.0, 12.5])
    monkeypatch.setattr("portraitist.train.monitor.time.monotonic", lambda: next(clock))
    live = LiveLog(tmp_path / "live.csv", 0)
    live.add(1, {}, 4)
    live.add(1, {}, 4)
    assert list(pd.read_csv(live.path)["images_per_s"]) == [2, 8]


def test_memory_is_the_peak_of_this_process():
    program = "from portraitist.train.monitor import memory_mb; print(memory_mb()); x = b'1' * 2_000_000_000; "
    program += "print(memory_mb())"
    env = os.environ | {"PYTHONPATH": str(ROOT / "src")}  # a new process: this one may have used more before
    output = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True).stdout
    before, after = map(float, output.split())
    assert before > 50
    assert 2000 < after < before + 2100


def test_resumed_run_logs_each_step_once(tmp_path, monkeypatch):
    def run(batches):
        name = "cartoongan"
        with checkpointer_in(tmp_path, monkeypatch) as checkpointer:
            train(
                name,
                settings(name),
                batches,
                upstream_models(),
                schedule(),
                checkpointer,
                live_log=tmp_path / "live.csv",
            )

    with pytest.raises(KilledError):
        run(Interrupted((1, 2)))
    assert list(pd.read_csv(tmp_path / "live.csv")["step"]) == [0, 1, 2, 3, 4]
    run(NoiseBatches(3))
    rows = pd.read_csv(tmp_path / "live.csv")
    assert list(rows["step"]) == [0, 1, 2, 3, 4, 5]
    assert list(rows["epoch"]) == [1, 1, 1, 2, 2, 2]


def test_live_log_keeps_rows_before_the_resumed_step(tmp_path):
    live = LiveLog(tmp_path / "live.csv", 0)
    for step in range(5):
        live.add(1, {"loss": float(step)}, 1)
    live = LiveLog(tmp_path / "live.csv", 3)
    live.add(1, {"loss": 30.0}, 1)
    assert list(pd.read_csv(live.path)["loss"]) == [0, 1, 2, 30]


@pytest.mark.parametrize(
    ("epochs", "columns"), [(1, [0, 1]), (3, [0, 1, 2, 3]), (20, [0, 2, 5, 7, 10, 12, 15, 17, 20])]
)
def test_samples_are_painted_at_most_eight_times(epochs, columns):
    samples = SampleStrip(batch().selfies, batch().selfie_masks, epochs)
    method = make_trainable("masked_cartoongan")
    for epoch in range(1, epochs + 1):
        samples.paint(method, epoch)
    assert list(samples.columns) == columns


def test_segmenter_adds_no_sample_column():
    samples = SampleStrip(batch().selfies, batch().selfie_masks, 1)
    samples.paint(make_trainable("unet_mask"), 1)
    assert list(samples.columns) == [0]


def test_method_without_training_is_sampled_once():
    for name, columns in (("nst_with_background", [0, 3]), ("cartoongan", [0, 1, 2, 3])):
        samples = SampleStrip(batch().selfies, batch().selfie_masks, 3)
        train(name, settings(name), NoiseBatches(1), upstream_models(), schedule(epochs=3), samples=samples)
        assert list(samples.columns) == columns


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
        samples = SampleStrip(batch().selfies, batch().selfie_masks, 2)
        train(name, settings(name), batches, upstream_models(), schedule(), checkpointer, samples)
        samples.write(tmp_path / "strip.jpg")
        return (tmp_path / "strip.jpg").read_bytes()

    expected = strip(NoiseBatches(3))
    with pytest.raises(KilledError), checkpointer_in(tmp_path, monkeypatch) as checkpointer:
        strip(Interrupted((1, 1)), checkpointer)
    with checkpointer_in(tmp_path, monkeypatch) as checkpointer:
        assert strip(NoiseBatches(3), checkpointer) == expected
