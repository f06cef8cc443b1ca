import os
import subprocess
import sys

import pandas as pd
import pytest
from PIL import Image
from test_resume import KilledError, Mortal, in_folder
from toys import ROOT, Few, batch, begun, given, schedule, settings

from portraitist.train.loop import train
from portraitist.train.monitor import LiveLog, SampleStrip


def rows_of(path):
    return pd.read_csv(path)


def test_a_step_is_a_row_as_it_happens(tmp_path):
    live = LiveLog(tmp_path / "new" / "cartoongan.live.csv", 0)
    live.add(1, {"g_fool": 0.123456789}, 2)
    assert rows_of(live.path).iloc[0, :3].to_dict() == {"step": 0, "epoch": 1, "g_fool": 0.123457}
    live.add(1, {"g_fool": 3.0}, 2)
    rows = rows_of(live.path)
    assert list(rows.columns) == ["step", "epoch", "g_fool", "images_per_s", "memory_mb"]
    assert list(rows["step"]) == [0, 1]
    assert (rows["images_per_s"] > 0).all()


def test_images_per_second_are_those_of_all_processes(tmp_path, monkeypatch):
    clock = iter([10.0, 12.0, 12.5])
    monkeypatch.setattr("portraitist.train.monitor.time.monotonic", lambda: next(clock))
    live = LiveLog(tmp_path / "live.csv", 0)
    live.add(1, {}, 4)
    live.add(1, {}, 4)
    assert list(rows_of(tmp_path / "live.csv")["images_per_s"]) == [2, 8]


def test_the_memory_is_the_most_that_this_process_has_taken():
    program = "from portraitist.watch import memory_mb as now; print(now()); held = b'1' * 2_000_000_000; print(now())"
    env = os.environ | {"PYTHONPATH": str(ROOT / "src")}  # a process of its own: this one may have held more before
    said = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True).stdout
    before, after = map(float, said.split())
    assert before > 50
    assert 2000 < after < before + 2100


def test_a_run_that_goes_on_writes_each_step_once(tmp_path, monkeypatch):
    def run(steps):
        with in_folder(tmp_path, monkeypatch) as resume:
            train("cartoongan", settings("cartoongan"), steps, given(), schedule(), resume, live=tmp_path / "live.csv")

    with pytest.raises(KilledError):
        run(Mortal((1, 2)))
    assert list(rows_of(tmp_path / "live.csv")["step"]) == [0, 1, 2, 3, 4]
    run(Few(3))
    rows = rows_of(tmp_path / "live.csv")
    assert list(rows["step"]) == [0, 1, 2, 3, 4, 5]
    assert list(rows["epoch"]) == [1, 1, 1, 2, 2, 2]


def test_the_steps_of_a_killed_run_are_kept_up_to_where_it_goes_on(tmp_path):
    live = LiveLog(tmp_path / "live.csv", 0)
    for step in range(5):
        live.add(1, {"loss": float(step)}, 1)
    live = LiveLog(tmp_path / "live.csv", 3)
    live.add(1, {"loss": 30.0}, 1)
    assert list(rows_of(tmp_path / "live.csv")["loss"]) == [0, 1, 2, 30]


@pytest.mark.parametrize(("epochs", "shown"), [(1, [0, 1]), (3, [0, 1, 2, 3]), (20, [0, 2, 5, 7, 10, 12, 15, 17, 20])])
def test_selfies_are_painted_eight_times_and_at_the_end(epochs, shown):
    seen = batch()
    samples = SampleStrip(seen.selfies, seen.selfie_masks, epochs)
    painter = begun("masked_cartoongan")
    for epoch in range(1, epochs + 1):
        samples.paint(painter, epoch)
    assert list(samples.columns) == shown


def test_what_does_not_paint_is_not_shown():
    samples = SampleStrip(batch().selfies, batch().selfie_masks, 1)
    samples.paint(begun("unet_mask"), 1)
    assert list(samples.columns) == [0]


def test_what_learns_nothing_paints_once():
    for name, shown in (("nst_with_background", [0, 3]), ("cartoongan", [0, 1, 2, 3])):
        samples = SampleStrip(batch().selfies, batch().selfie_masks, 3)
        train(name, settings(name), Few(1), given(), schedule(epochs=3), samples=samples)
        assert list(samples.columns) == shown


def test_the_samples_of_a_killed_run_are_those_of_an_undisturbed_one(tmp_path, monkeypatch):
    def painted(steps, resume=None):
        samples = SampleStrip(batch().selfies, batch().selfie_masks, 2)
        train("masked_cartoongan", settings("masked_cartoongan"), steps, given(), schedule(), resume, samples)
        samples.write(tmp_path / "shown.jpg")
        return (tmp_path / "shown.jpg").read_bytes()

    calm = painted(Few(3))
    with pytest.raises(KilledError), in_folder(tmp_path, monkeypatch) as resume:
        painted(Mortal((1, 1)), resume)
    with in_folder(tmp_path, monkeypatch) as resume:
        assert painted(Few(3), resume) == calm
    with Image.open(tmp_path / "shown.jpg") as shown:
        assert shown.width > 3 * 16
