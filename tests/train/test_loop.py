import re
from math import log

import pytest
import torch
from drawn import NO_AUGMENTATION
from PIL import Image
from toys import (
    PAINTING_METHODS,
    NoiseBatches,
    batch,
    make_trainable,
    schedule,
    settings,
    train_logged,
    upstream_models,
)

from portraitist.learning import method_names
from portraitist.learning.checkpoint import load_checkpoint
from portraitist.learning.optim import DivergedError, frozen_parameters
from portraitist.learning.registry import build
from portraitist.train.loop import TrainingTask, seeded, step_seed, train, train_or_exit
from portraitist.train.resume import Checkpointer

TRAINED = [name for name in method_names() if not name.startswith(("nst_", "arbitrary_style_"))]
METHODS = ["perceptual", "unet_mask", *PAINTING_METHODS]


def trained(name, steps=3, **changes):
    return train_logged(name, NoiseBatches(steps), **changes)


def first_losses(rows):
    return {term: values[0][1] for term, values in rows.items()}


def equal(first, second):
    return all(map(torch.equal, first.state_dict().values(), second.state_dict().values()))


@pytest.mark.parametrize("name", METHODS)
def test_equal_seeds_give_equal_bits(name):
    torch.manual_seed(0)
    first, first_rows = trained(name, epochs=1)
    torch.rand(7)
    second, second_rows = trained(name, epochs=1)
    assert equal(first, second)
    assert first_rows == second_rows


@pytest.mark.parametrize("name", TRAINED)
def test_another_seed_gives_another_model(name):
    assert not equal(trained(name, epochs=1, seed=3)[0], trained(name, epochs=1, seed=4)[0])


def test_training_restores_the_global_generator():
    torch.manual_seed(12)
    expected = torch.rand(3)
    torch.manual_seed(12)
    trained("cartoongan", epochs=1)
    assert torch.equal(torch.rand(3), expected)


def test_seeded_draws_depend_on_the_seed_only():
    with seeded(1):
        first = torch.rand(3)
    with seeded(1):
        same = torch.rand(3)
    with seeded(2):
        other = torch.rand(3)
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


def test_loss_of_each_step_is_logged_and_decreases():
    batches = NoiseBatches(count=3)
    _, rows = train_logged("unet_mask", batches, epochs=4)
    assert list(rows) == ["m_mask"]
    assert [step for step, _ in rows["m_mask"]] == list(range(1, 13))
    losses = [loss for _, loss in rows["m_mask"]]
    assert losses[0] == pytest.approx(log(2), abs=0.15)  # untrained: every probability is about 1/2
    assert sum(losses[9:]) < sum(losses[:3])
    assert batches.epoch == 3


@pytest.mark.parametrize("name", ["perceptual", "masked_cartoongan", "cut"])
def test_loop_equals_repeated_steps(name):
    """The log must not change what a training computes; validation is off."""
    trainable, rows = trained(name, epochs=2)
    same, losses = make_trainable(name, seed=3), []
    for epoch in range(2):
        same.start_epoch(epoch, 2)
        for step in range(3):
            torch.manual_seed(step_seed(3, epoch, step))
            losses.append(same.step(batch(100 * epoch + step)))
    assert rows == {term: [(step + 1, losses[step][term]) for step in range(6)] for term in losses[0]}
    assert equal(same, trainable)


def test_diverging_training_stops_and_names_the_term():
    batches = NoiseBatches()
    invalid = batches[0]
    invalid.portraits[0, 0, 5, 25] = float("nan")
    batches.__class__ = type("Invalid", (NoiseBatches,), {"__getitem__": lambda self, step: invalid})
    with pytest.raises(DivergedError, match="d_real is nan"):
        train("cartoongan", settings("cartoongan"), batches, upstream_models(), schedule())


@pytest.mark.parametrize("name", METHODS)
def test_upstream_networks_are_not_trained(name):
    upstream = upstream_models()
    before = {key: value.clone() for key, value in upstream.segmenter.state_dict().items()}
    trainable = train(name, settings(name), NoiseBatches(), upstream, schedule(epochs=1))
    assert all(torch.equal(before[key], value) for key, value in upstream.segmenter.state_dict().items())
    fixed = [
        network
        for network in (upstream.segmenter, upstream.features)
        if any(network is child for child in trainable.children())
    ]
    assert not any(network.training for network in fixed)
    saved = [trainable.get_submodule(name) for name in trainable.saved_modules if name != "ema"]
    trained = [module for module in saved if any(weight.requires_grad for weight in module.parameters())]
    assert all(module.training for module in trained)


@pytest.mark.parametrize("name", TRAINED)
def test_bfloat16_is_coarse_but_weights_stay_float32(name):
    exact, exact_rows = trained(name, steps=1, epochs=1)  # after more steps, the weights would differ too much
    coarse, rows = trained(name, steps=1, epochs=1, precision="bfloat16")
    again, _ = trained(name, steps=1, epochs=1, precision="bfloat16")
    assert {weights.dtype for weights in coarse.parameters()} == {torch.float32}
    assert not equal(exact, coarse)
    assert equal(coarse, again)
    assert first_losses(rows) == pytest.approx(first_losses(exact_rows), rel=0.05, abs=0.02)


def test_draws_of_a_step_depend_on_its_seed_only():
    """A step's own random draws (CUT draws patches) must not depend on what was drawn before it."""

    class DrawingBatches(NoiseBatches):
        def __getitem__(self, step):
            torch.rand(7 + step)
            return super().__getitem__(step)

    runs = [
        train("cut", settings("cut"), batches, upstream_models(), schedule(epochs=1))
        for batches in (NoiseBatches(), DrawingBatches())
    ]
    assert equal(*runs)


@pytest.mark.slow  # torch.compile takes long
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", ["perceptual", "unet_mask"])
def test_compiled_networks_give_the_same_losses(name, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    _, rows = trained(name, epochs=1)
    trainable, compiled_rows = trained(name, epochs=1, compile=True)
    assert list(tmp_path.rglob("*.so"))
    assert first_losses(compiled_rows) == pytest.approx(first_losses(rows), rel=1e-3)
    fresh = build(name, settings(name))
    fresh.load_saved_state(trainable.saved_state())


def test_frozen_parameters_are_trainable_again_after_an_error():
    network = torch.nn.Linear(2, 1)
    with pytest.raises(ZeroDivisionError), frozen_parameters(network):
        assert not network.weight.requires_grad
        _ = 1 / 0
    assert network.weight.requires_grad


def test_step_seeds_differ_by_step_epoch_and_process(monkeypatch):
    first = {(epoch, step): step_seed(3, epoch, step) for epoch in range(3) for step in range(3)}
    assert len(set(first.values())) == 9
    monkeypatch.setattr("portraitist.learning.distributed.rank", lambda: 1)
    assert not {step_seed(3, *position) for position in first} & set(first.values())


@pytest.fixture
def task(paths, tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return TrainingTask(
        "cartoongan",
        settings("cartoongan"),
        schedule(),
        NO_AUGMENTATION,
        diverse=False,
        paths=paths,
        upstream=upstream_models(),
        upstream_files=(),
    )


def test_training_writes_model_log_and_sample_strip(task, tmp_path, capsys):
    dest, log = tmp_path / "cartoongan.pt", tmp_path / "logs" / "cartoongan"
    train_or_exit(task, {"crop": {"size_px": 32}}, dest, log)
    assert load_checkpoint(dest)[1] == {"crop": {"size_px": 32}, "epochs": 2, "seed": 3, "method": "cartoongan"}
    assert (log / "plots" / "metrics" / "g_adv.tsv").read_text().count("\n") == 1 + 2 * 2
    with Image.open(log / "samples.jpg") as picture:
        assert picture.size == (3 * 32, 32)
    assert re.fullmatch(r"cartoongan: 4 steps in \d+ s, .* images/s, peak memory \d+ MB\n", capsys.readouterr().out)
    assert list((tmp_path / ".checkpoints").iterdir()) == []


def test_a_second_run_of_the_same_training_exits(task, tmp_path):
    expected = r"cartoongan: .*cartoongan-[0-9a-f]{16} is in use by another run"
    with Checkpointer("cartoongan", task.fingerprint()), pytest.raises(SystemExit, match=expected):
        train_or_exit(task, {}, tmp_path / "cartoongan.pt", tmp_path / "log")
    assert not (tmp_path / "cartoongan.pt").exists()
