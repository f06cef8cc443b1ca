import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from drawn import NO_AUGMENTATION
from toys import (
    PAINTING_METHODS,
    ROOT,
    NoiseBatches,
    ToyFeatures,
    schedule,
    settings,
    train_logged,
    write_style_networks,
)
from train_helpers import Interrupted, KilledError, checkpointer_in

from pipeline import train as stage
from portraitist.augment.library import LIBRARY_FOLDER
from portraitist.core.files import LockedError
from portraitist.learning import upstream
from portraitist.learning.features import Lite0
from portraitist.learning.method import UpstreamModels
from portraitist.nets.arbitrary_style import PREDICTOR_FILE, TRANSFORMER_FILE
from portraitist.nets.unet import UNet
from portraitist.train import loop
from portraitist.train.loop import TrainingTask
from portraitist.train.resume import fingerprint

METHODS = ["perceptual", "unet_mask", *PAINTING_METHODS]
EPOCHS, STEPS = 3, 3


def trained(name, batches, checkpointer=None):
    trainable, rows = train_logged(name, batches, checkpointer, epochs=EPOCHS)
    return trainable.state_dict(), rows


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_resume_gives_identical_weights(name, tmp_path, monkeypatch):
    expected, expected_rows = trained(name, NoiseBatches(STEPS))
    for at in [(epoch, step) for epoch in range(EPOCHS) for step in range(STEPS)]:
        with pytest.raises(KilledError), checkpointer_in(tmp_path, monkeypatch) as checkpointer:
            trained(name, Interrupted(at, STEPS), checkpointer)
        with checkpointer_in(tmp_path, monkeypatch) as checkpointer:
            weights, rows = trained(name, NoiseBatches(STEPS), checkpointer)
        assert weights.keys() == expected.keys()
        assert all(torch.equal(weights[key], expected[key]) for key in weights), at
        assert rows == expected_rows


def test_resumed_run_loads_only_the_remaining_batches(tmp_path, monkeypatch):
    with pytest.raises(KilledError), checkpointer_in(tmp_path, monkeypatch) as checkpointer:
        trained("cartoongan", Interrupted((1, 2), STEPS), checkpointer)
    loaded = []

    class Recording(NoiseBatches):
        def __getitem__(self, step):
            loaded.append((self.epoch, step))
            return super().__getitem__(step)

    with checkpointer_in(tmp_path, monkeypatch) as checkpointer:
        trained("cartoongan", Recording(STEPS), checkpointer)
    assert loaded == [(1, 2), (2, 0), (2, 1), (2, 2)]


def test_state_is_saved_only_when_due(tmp_path, monkeypatch):
    with checkpointer_in(tmp_path, monkeypatch, every_s=3600.0) as checkpointer:
        trained("perceptual", NoiseBatches(STEPS), checkpointer)
        assert checkpointer.load() is None


def test_state_is_deleted_after_success_and_kept_on_error(tmp_path, monkeypatch):
    with pytest.raises(KilledError), checkpointer_in(tmp_path, monkeypatch) as checkpointer:
        checkpointer.save({"epoch": 4})
        raise KilledError
    with checkpointer_in(tmp_path, monkeypatch) as checkpointer:
        assert checkpointer.load() == {"epoch": 4}
    assert list((tmp_path / ".checkpoints").iterdir()) == []


@pytest.mark.parametrize(("name", "networks", "optimizers"), [
    ("masked_cartoongan", {"discriminator", "ema", "generator"}, {"d_optimizer", "g_optimizer"}),
    ("masked_stylizer", {"discriminator", "ema", "generator", "style"}, {"d_optimizer", "g_optimizer"}),
    ("arbitrary_style_with_background", {"style", "transformer"}, set()),
])  # fmt: skip
def test_state_holds_what_is_trained_and_no_upstream_network(name, networks, optimizers, tmp_path, monkeypatch):
    with pytest.raises(KilledError), checkpointer_in(tmp_path, monkeypatch) as checkpointer:
        trained(name, Interrupted((0, 1), STEPS), checkpointer)
    with checkpointer_in(tmp_path, monkeypatch) as checkpointer:
        state = checkpointer.load()
    assert {part for part, weights in state["networks"].items() if weights} == networks
    assert set(state["optimizers"]) == optimizers


def test_failed_save_keeps_the_last_state(tmp_path, monkeypatch):
    def fail(path, data):
        with path.open("wb") as file:
            file.write(data[:9])
        raise OSError("no space left")

    with checkpointer_in(tmp_path, monkeypatch) as checkpointer:
        checkpointer.save({"epoch": 1})
        with monkeypatch.context() as patched:
            patched.setattr(Path, "write_bytes", fail)
            with pytest.raises(OSError, match="no space left"):
                checkpointer.save({"epoch": 2})
        assert checkpointer.load() == {"epoch": 1}


def test_a_second_run_with_the_same_fingerprint_is_refused(tmp_path, monkeypatch):
    with (
        checkpointer_in(tmp_path, monkeypatch),
        pytest.raises(LockedError, match=r"train-0123 is in use"),
        checkpointer_in(tmp_path, monkeypatch),
    ):
        pass


def test_fingerprint_covers_settings_and_every_byte(tmp_path):
    folder = tmp_path / "crops"
    folder.mkdir()
    (folder / "b.tar").write_bytes(b"two")
    (folder / "a.tar").write_bytes(b"one")
    (tmp_path / "split.csv").write_bytes(b"id")
    files = [folder, tmp_path / "split.csv"]
    first = fingerprint({"rate": 0.1, "seed": 1}, files)
    assert first == fingerprint({"seed": 1, "rate": 0.1}, files)
    assert first != fingerprint({"rate": 0.2, "seed": 1}, files)
    (folder / "a.tar").write_bytes(b"One")
    edited = fingerprint({"rate": 0.1, "seed": 1}, files)
    assert edited != first
    (folder / "a.tar").rename(folder / "c.tar")
    assert fingerprint({"rate": 0.1, "seed": 1}, files) not in (first, edited)
    with pytest.raises(FileNotFoundError):
        fingerprint({}, [tmp_path / "none.csv"])


def test_fingerprint_covers_the_background_library(paths):
    name = "masked_cartoongan"
    task = TrainingTask(
        name, settings(name), schedule(), NO_AUGMENTATION, diverse=True, paths=paths,
        upstream=UpstreamModels(), upstream_files=(),
    )  # fmt: skip
    before = task.fingerprint()
    library = paths.recipes.parent / LIBRARY_FOLDER
    library.mkdir(exist_ok=True)
    (library / "new.tar").write_bytes(b"pictures")
    assert task.fingerprint() != before


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the package's source, which the fingerprint reads instead of the original."""
    copy = tmp_path / "portraitist"
    shutil.copytree(ROOT / "src" / "portraitist", copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(loop, "PACKAGE", copy)
    return copy


def test_fingerprint_covers_the_code_that_training_runs(paths, package):
    features = Lite0.__new__(Lite0)
    torch.nn.Module.__init__(features)
    upstream = UpstreamModels(features, None, UNet(4))
    name = "masked_cartoongan"
    task = TrainingTask(
        name,
        settings(name),
        schedule(),
        NO_AUGMENTATION,
        diverse=False,
        paths=paths,
        upstream=upstream,
        upstream_files=(),
    )

    def changes_fingerprint(file: str) -> bool:
        before, original = task.fingerprint(), (package / file).read_bytes()
        (package / file).write_bytes(original + b"# edited\n")
        after = task.fingerprint()
        (package / file).write_bytes(original)
        return before != after

    used = {
        "__init__.py", "augment/recipes.py", "core/shards.py",
        "learning/losses.py", "learning/optim.py", "learning/ema.py", "learning/tensors.py", "learning/dataset.py",
        "learning/method.py", "methods/masked_cartoongan.py",
        "nets/cartoongan.py", "nets/projected.py", "learning/features.py", "nets/unet.py",
        "train/loop.py", "train/batches.py", "train/monitor.py", "train/params.py", "train/resume.py",
        "train/validation.py", "learning/realism.py",
    }  # fmt: skip
    unused = {
        "app/server.py", "evaluate/params.py", "evaluate/run.py", "reporting/contact_sheet.py", "all_params.py",
        "methods/cyclegan.py", "methods/unet_mask.py", "nets/cyclegan.py", "tools/tensorboard.py",
    }  # fmt: skip
    assert {file for file in used | unused if changes_fingerprint(file)} == used


@pytest.mark.parametrize("name", ["masked_stylizer", "arbitrary_style_without_background"])
def test_stage_trains_from_the_pretrained_folder_and_its_fingerprint_covers_it(name, paths, tmp_path, monkeypatch):
    tasks = []
    monkeypatch.setattr(stage, "train_or_exit", lambda task, *_: tasks.append(task))
    monkeypatch.setattr(upstream, "load_feature_network", lambda *_: ToyFeatures())
    monkeypatch.chdir(ROOT)
    (tmp_path / "pretrained").mkdir()
    pretrained = write_style_networks(tmp_path / "pretrained")
    data = {"crops": paths.crops, "masks": paths.masks, "split": paths.split, "recipes": paths.recipes}
    options = data | {"pretrained": pretrained, "out": "a.pt", "log": "logs", "method": name}
    words = [word for key, value in options.items() for word in (f"--{key}", str(value))]
    monkeypatch.setattr(sys, "argv", ["train", *words])
    stage.main()
    (task,) = tasks
    assert task.upstream.require_pretrained() == pretrained
    assert ROOT / "src" / "portraitist" / "nets" / "arbitrary_style.py" in task.code_files()
    before = task.fingerprint()
    assert task.fingerprint() == before
    for file in (PREDICTOR_FILE, TRANSFORMER_FILE):
        (pretrained / file).write_bytes(b"other")
        assert task.fingerprint() != before
        before = task.fingerprint()


TRAIN_AND_SAVE = """
import sys
from pathlib import Path
import torch
from toys import NoiseBatches, upstream_models, schedule, settings
from portraitist.train.loop import train
from portraitist.train.resume import Checkpointer
Checkpointer.every_s = 0
name = "masked_cartoongan"
with Checkpointer("train", "long") as checkpointer:
    trainable = train(name, settings(name), NoiseBatches(40), upstream_models(), schedule(epochs=4), checkpointer)
    torch.save(trainable.state_dict(), sys.argv[1])
"""


@pytest.mark.slow
def test_repeated_sigkill_gives_identical_weights(tmp_path):
    def start(folder: Path) -> subprocess.Popen[bytes]:
        folder.mkdir(exist_ok=True)
        python_path = os.pathsep.join(map(str, (ROOT / "src", ROOT / "tests")))
        env = os.environ | {"DVC_ROOT": str(folder), "PYTHONPATH": python_path}
        return subprocess.Popen([sys.executable, "-c", TRAIN_AND_SAVE, str(folder / "model.pt")], env=env)

    state = tmp_path / "killed" / ".checkpoints" / "train-long" / "state.pt"
    kills = 0
    while not (tmp_path / "killed" / "model.pt").exists():
        process = start(tmp_path / "killed")
        before = state.stat().st_mtime_ns if state.exists() else 0
        while kills < 5 and process.poll() is None and not (state.exists() and state.stat().st_mtime_ns > before):
            time.sleep(0.01)
        if kills < 5:
            time.sleep(0.1 * kills)  # some steps later, in the middle of a step
            process.send_signal(signal.SIGKILL)
            kills += 1
            assert process.wait() == -signal.SIGKILL
        else:
            assert process.wait() == 0
    assert start(tmp_path / "reference").wait() == 0
    killed, reference = (torch.load(tmp_path / folder / "model.pt") for folder in ("killed", "reference"))
    assert killed.keys() == reference.keys()
    assert all(torch.equal(killed[key], reference[key]) for key in reference)
    assert not state.parent.exists()
