import numpy as np
import pytest
import torch
from drawn import NO_AUGMENTATION
from PIL import Image
from toys import NoiseBatches, batch, schedule, settings, upstream_models
from train_helpers import Interrupted, KilledError, checkpointer_in

from portraitist.core import manifest
from portraitist.core.params import ParamsError
from portraitist.learning.checkpoint import load_checkpoint
from portraitist.learning.dataset import load_images
from portraitist.learning.method import Method
from portraitist.learning.realism import kernel_distance
from portraitist.train import validation
from portraitist.train.loop import TrainingTask, train, train_or_exit
from portraitist.train.monitor import Monitor, SampleStrip
from portraitist.train.validation import KERNEL_DISTANCE, PAINTED_RATE, Validator, make_validator

METRICS = {PAINTED_RATE, KERNEL_DISTANCE}


def mean_colors(images):
    return images.mean((2, 3)).numpy()


@pytest.fixture
def paths(paths):
    """A dataset with two training pictures and four validation pictures of each kind."""
    split = manifest.read(paths.split)
    split.loc[(split["part"] == "train") & (split["id"] >= "00000002"), "part"] = "validation"
    manifest.write(manifest.to_records(split), paths.split, ["id", "kind", "part"])
    return paths


def remove(paths, kind, count):
    """Move pictures of the validation part to the test part."""
    split = manifest.read(paths.split)
    rows = split.index[(split["kind"] == kind) & (split["part"] == "validation")][:count]
    split.loc[rows, "part"] = "test"
    manifest.write(manifest.to_records(split), paths.split, ["id", "kind", "part"])


class Brightening(Method):
    """Adds the same number to each pixel."""

    saved_modules = ()

    def __init__(self, difference):
        super().__init__()
        self.difference = torch.nn.Parameter(torch.tensor(difference))

    def step(self, batch):
        return {}

    @torch.no_grad()
    def paint(self, selfies, masks):
        return selfies + self.difference


class Scripted(Validator):
    """A validator whose kernel distances are given, one per epoch; it stores the weights of each validated epoch."""

    def __init__(self, paths, params, distances):
        super().__init__(paths, mean_colors, params)
        self.distances, self.seen = distances, {}

    def measure(self, method, epoch):
        self.seen[epoch] = {key: value.clone() for key, value in method.ema.state_dict().items()}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(validation, "kernel_distance", lambda *_: self.distances[epoch - 1])
            return super().measure(method, epoch)


def run(folder, validator, batches=None, checkpointer=None, name="cartoongan"):
    samples = SampleStrip(batch().selfies, batch().selfie_masks, validator.params.epochs if validator else 3)
    monitor = Monitor(folder, 1, samples, validator)
    params = validator.params if validator else schedule(epochs=3)
    batches = batches or NoiseBatches(2)
    trainable = train(name, settings(name), batches, upstream_models(), params, checkpointer, monitor)
    return trainable, monitor


def equal(weights, others):
    return weights.keys() == others.keys() and all(torch.equal(weights[key], others[key]) for key in weights)


def test_metrics_compare_with_validation_portraits_and_training_pictures(paths):
    """The portraits of this dataset are brighter than the selfies."""
    validator = Validator(paths, mean_colors, schedule(validate_every=1))
    ids = {kind: manifest.split_ids(paths.split, kind, "validation") for kind in ("selfies", "portraits")}
    masks = torch.cat([validation.load_mask_members(validator.masks, [picture]) for picture in ids["selfies"]])
    stylized = load_images(validator.crops, ids["selfies"]) + 0.3
    portrait_masks = validation.load_mask_members(validator.masks, ids["portraits"])
    portraits = load_images(validator.crops, ids["portraits"]) * portrait_masks
    expected = kernel_distance(mean_colors(stylized * masks), mean_colors(portraits))
    assert validator.measure(Brightening(0.3), 1)[KERNEL_DISTANCE] == pytest.approx(expected)
    rates = [validator.measure(Brightening(difference), 1)[PAINTED_RATE] for difference in (-0.3, 1.2)]
    assert rates == [0, 1]


def test_pictures_are_measured_in_chunks(paths, monkeypatch):
    validators = [Validator(paths, mean_colors, schedule(validate_every=1)) for _ in range(2)]
    whole = validators[0].measure(Brightening(0.3), 1)
    monkeypatch.setattr(validation, "CHUNK", 3)
    assert validators[1].measure(Brightening(0.3), 1) == pytest.approx(whole)


@pytest.mark.parametrize("name", ["masked_cartoongan", "cut", "masked_stylizer"])
def test_validation_does_not_change_the_training(name, paths, tmp_path):
    """The training is the same even if the validation draws random numbers."""

    def drawing_features(images):
        torch.rand(5)
        np.random.rand(5)
        return mean_colors(images)

    expected, monitor = run(tmp_path / "without", None, name=name)
    validator = Validator(paths, drawing_features, schedule(epochs=3, validate_every=1))
    trainable, validated = run(tmp_path / "with", validator, name=name)
    assert equal(trainable.state_dict(), expected.state_dict())
    assert trainable.training == expected.training
    rows = validated.log.rows
    assert [[step for step, _ in rows.pop(metric)] for metric in sorted(METRICS)] == [[2, 4, 6]] * 2
    assert rows == monitor.log.rows


@pytest.mark.parametrize(("every", "epochs"), [(1, [1, 2, 3, 4, 5]), (2, [2, 4, 5]), (9, [5])])
def test_every_few_epochs_and_the_last_one_are_validated(every, epochs, paths, tmp_path):
    validator = Scripted(paths, schedule(epochs=5, validate_every=every), [1.0] * 5)
    run(tmp_path, validator, NoiseBatches(1))
    assert list(validator.seen) == epochs


@pytest.mark.parametrize(
    ("select", "distances", "epoch"),
    [
        ("last", [1.0, 2.0, 3.0, 4.0], 4),
        ("best", [4.0, 3.0, 2.0, 1.0], 4),
        ("best", [2.0, 1.0, 3.0, 1.0], 2),  # if distances are equal, the earlier epoch is selected
        ("best", [-0.1, 0.0, -0.2, 0.1], 3),  # distances are estimates, which may be negative
    ],
)
def test_weights_of_the_selected_epoch_are_saved(select, distances, epoch, paths, tmp_path):
    validator = Scripted(paths, schedule(epochs=4, validate_every=1, select=select), distances)
    trainable, monitor = run(tmp_path, validator)
    assert monitor.epoch == epoch
    assert equal(trainable.ema.state_dict(), validator.seen[epoch])


def test_resumed_run_keeps_the_best_epoch(paths, tmp_path, monkeypatch):
    params, distances = schedule(epochs=4, validate_every=1, select="best"), [2.0, 1.0, 3.0, 4.0]
    validator = Scripted(paths, params, distances)
    with pytest.raises(KilledError), checkpointer_in(tmp_path, monkeypatch) as checkpointer:
        run(tmp_path / "log", validator, Interrupted((3, 0), 2), checkpointer)
    resumed = Scripted(paths, params, distances)
    with checkpointer_in(tmp_path, monkeypatch) as checkpointer:
        trainable, monitor = run(tmp_path / "log", resumed, NoiseBatches(2), checkpointer)
    assert list(resumed.seen) == [3, 4]  # the state was saved after the last step of epoch 3, before its validation
    assert monitor.epoch == 2
    assert equal(trainable.ema.state_dict(), validator.seen[2])
    assert monitor.log.rows[KERNEL_DISTANCE] == [(2, 2.0), (4, 1.0), (6, 3.0), (8, 4.0)]


@pytest.mark.parametrize(("patience", "epochs"), [(0, 6), (1, 3), (2, 4), (3, 6)])
def test_training_ends_after_patience_epochs_without_improvement(patience, epochs, paths, tmp_path):
    validator = Scripted(paths, schedule(epochs=6, validate_every=1, patience=patience), [3.0, 2.0, 3.0, 2.0, 1.0, 0.0])
    _, monitor = run(tmp_path, validator, NoiseBatches(1))
    assert (monitor.step, monitor.epoch) == (epochs, epochs)
    assert max(monitor.samples.columns) == epochs


@pytest.mark.parametrize("name", ["nst_with_background", "arbitrary_style_with_background", "unet_mask"])
def test_only_trained_methods_are_validated(name, paths, tmp_path):
    validator = Validator(paths, mean_colors, schedule(validate_every=1, select="best", patience=1))
    _, monitor = run(tmp_path, validator, name=name)
    assert not METRICS & set(monitor.log.rows)
    assert monitor.epoch == 2


@pytest.mark.parametrize("changes", [{"select": "best"}, {"patience": 3}])
def test_selection_without_validation_is_an_error(changes):
    with pytest.raises(ValueError, match="validate_every is 0"):
        schedule(validate_every=0, **changes)


@pytest.mark.parametrize("kind", ["selfies", "portraits"])
def test_too_few_pictures_disable_validation_or_are_an_error(kind, paths, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(validation, "lite2_features", lambda *_: mean_colors)

    def make(**changes):
        return make_validator(paths, tmp_path, schedule(validate_every=1, **changes), torch.device("cpu"))

    remove(paths, kind, 1)
    assert make(select="best")
    remove(paths, kind, 1)
    assert make() is None
    message = capsys.readouterr().err
    assert f"2 {kind}" in message
    assert "part 'validation'; train.validate_every needs 3 of each" in message
    for changes in ({"select": "best"}, {"patience": 1}):
        with pytest.raises(ParamsError, match="needs 3 of each"):
            make(**changes)


def test_saved_model_names_the_epoch_of_its_weights(paths, tmp_path, monkeypatch):
    distances = iter([2.0, 1.0, 3.0])
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.setattr(validation, "lite2_features", lambda *_: mean_colors)
    monkeypatch.setattr(validation, "kernel_distance", lambda *_: next(distances))
    params = schedule(epochs=3, validate_every=1, select="best")
    settings_, upstream = settings("cartoongan"), upstream_models()
    task = TrainingTask(
        "cartoongan",
        settings_,
        params,
        NO_AUGMENTATION,
        diverse=False,
        paths=paths,
        upstream=upstream,
        upstream_files=(),
    )
    train_or_exit(task, {}, tmp_path / "cartoongan.pt", tmp_path / "log")
    assert load_checkpoint(tmp_path / "cartoongan.pt")[1]["epochs"] == 2
    assert (tmp_path / "log" / "plots" / "metrics" / f"{KERNEL_DISTANCE}.tsv").read_text().endswith("\t3\n")
    with Image.open(tmp_path / "log" / "samples.jpg") as picture:
        assert picture.size == (4 * 32, 4 * 32)
