from math import log

import pytest
import torch
from drawn import STILL
from PIL import Image
from test_batches import folders  # noqa: F401
from toys import PAINTERS, Few, batch, begun, given, schedule, settings

from portraitist.learning.optim import DivergedError, frozen_parameters
from portraitist.methods import method_names
from portraitist.methods.registry import build
from portraitist.train.checkpoint import load_checkpoint
from portraitist.train.loop import TrainingTask, seeded, step_seed, train, train_or_exit, write_log
from portraitist.train.resume import Checkpointer

TRAINED = [name for name in method_names() if not name.startswith("nst_")]
METHODS = ["perceptual", "unet_mask", *PAINTERS]


def trained(name, steps=3, **changed):
    return train(name, settings(name), Few(steps), given(), schedule(**changed))


def equal(one, other):
    return all(map(torch.equal, one.state_dict().values(), other.state_dict().values()))


@pytest.mark.parametrize("name", METHODS)
def test_training_twice_gives_equal_bits_whatever_was_drawn_before(name):
    torch.manual_seed(0)
    one, first_log = trained(name, epochs=1)
    torch.rand(7)
    two, second_log = trained(name, epochs=1)
    assert equal(one, two)
    assert first_log == second_log


@pytest.mark.parametrize("name", TRAINED)
def test_another_seed_gives_another_model(name):
    assert not equal(trained(name, epochs=1, seed=3)[0], trained(name, epochs=1, seed=4)[0])


def test_the_worlds_own_chance_goes_on_as_if_nothing_had_been_trained():
    torch.manual_seed(12)
    expected = torch.rand(3)
    torch.manual_seed(12)
    trained("cartoongan", epochs=1)
    assert torch.equal(torch.rand(3), expected)


def test_inside_seeded_equal_seeds_draw_equally():
    with seeded(1):
        one = torch.rand(3)
    with seeded(1):
        same = torch.rand(3)
    with seeded(2):
        other = torch.rand(3)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_every_epoch_is_a_row_of_the_mean_terms_of_its_steps():
    steps = Few(count=3)
    _, rows = train("unet_mask", settings("unet_mask"), steps, given(), schedule(epochs=4))
    assert [list(row) for row in rows] == [["m_mask"]] * 4
    assert rows[0]["m_mask"] == pytest.approx(log(2), abs=0.15)  # it knows nothing yet
    assert rows[-1]["m_mask"] < rows[0]["m_mask"]
    assert steps.epoch == 3


def test_a_row_is_the_mean_over_the_steps_that_a_learner_takes_by_itself():
    learner, rows = trained("perceptual", epochs=1)
    same = begun("perceptual", seed=3)
    alone = [same.step(batch(step))["g_content"] for step in range(3)]
    assert rows == [{"g_content": pytest.approx(sum(alone) / 3)}]
    assert equal(same, learner)


def test_the_log_is_a_csv_of_epochs_and_terms(tmp_path):
    write_log([{"g_fool": 0.5, "d_real": 2}, {"g_fool": 0.25, "d_real": 1 / 3}], tmp_path / "new" / "log.csv")
    text = (tmp_path / "new" / "log.csv").read_text(encoding="utf-8")
    assert text == "epoch,g_fool,d_real\n1,0.500000,2.000000\n2,0.250000,0.333333\n"


def test_a_training_that_diverges_ends_and_names_the_term():
    steps = Few()
    broken = steps[0]
    broken.portraits[0, 0, 5, 25] = float("nan")
    steps.__class__ = type("Broken", (Few,), {"__getitem__": lambda self, step: broken})
    with pytest.raises(DivergedError, match="d_real is nan; lower the learning rate"):
        train("cartoongan", settings("cartoongan"), steps, given(), schedule())


@pytest.mark.parametrize("name", METHODS)
def test_what_earlier_stages_made_is_not_trained_on(name):
    parts = given()
    before = {key: value.clone() for key, value in parts.segmenter.state_dict().items()}
    learner, _ = train(name, settings(name), Few(), parts, schedule(epochs=1))
    assert all(torch.equal(before[key], value) for key, value in parts.segmenter.state_dict().items())
    taken = [net for net in (parts.segmenter, parts.features) if any(net is child for child in learner.children())]
    assert not any(net.training for net in taken)
    assert all(
        learner.get_submodule(name).training for name in learner.saved_modules if name not in ("mean", "features")
    )


@pytest.mark.parametrize("name", TRAINED)
def test_in_bfloat16_networks_reckon_coarsely_and_weights_stay_exact(name):
    exact, exact_log = trained(name, steps=1, epochs=1)  # more steps drift apart
    coarse, log = trained(name, steps=1, epochs=1, precision="bfloat16")
    again, _ = trained(name, steps=1, epochs=1, precision="bfloat16")
    assert {weights.dtype for weights in coarse.parameters()} == {torch.float32}
    assert not equal(exact, coarse)
    assert equal(coarse, again)
    assert log[0] == pytest.approx(exact_log[0], rel=0.05, abs=0.02)


@pytest.mark.slow  # the compiler takes its time
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", ["perceptual", "unet_mask"])
def test_compiled_networks_learn_the_same(name, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    _, log = trained(name, epochs=1)
    learner, compiled_log = trained(name, epochs=1, compile=True)
    assert list(tmp_path.rglob("*.so"))
    assert compiled_log[0] == pytest.approx(log[0], rel=1e-3)
    fresh = build(name, settings(name))
    fresh.load_saved_state(learner.saved_state())


def test_a_network_that_was_held_still_moves_again_even_after_an_error():
    net = torch.nn.Linear(2, 1)
    with pytest.raises(ZeroDivisionError), frozen_parameters(net):
        assert not net.weight.requires_grad
        _ = 1 / 0
    assert net.weight.requires_grad


def test_every_step_draws_by_its_own_place_and_each_process_otherwise(monkeypatch):
    first = {(epoch, step): step_seed(3, epoch, step) for epoch in range(3) for step in range(3)}
    assert len(set(first.values())) == 9
    monkeypatch.setattr("portraitist.learning.distributed.rank", lambda: 1)
    assert not {step_seed(3, *place) for place in first} & set(first.values())


@pytest.fixture
def task(folders, tmp_path, monkeypatch):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    return TrainingTask(
        "cartoongan", settings("cartoongan"), schedule(), STILL, diverse=False, folders=folders, parts=()
    )


def test_a_training_leaves_a_model_its_log_and_what_it_painted(task, tmp_path):
    dest, log, shown = (tmp_path / name for name in ("cartoongan.pt", "logs/cartoongan.csv", "logs/cartoongan.jpg"))
    train_or_exit(task, given(), {"crop": {"size_px": 32}}, dest, log, shown)
    assert load_checkpoint(dest)[1] == {"crop": {"size_px": 32}, "epochs": 2, "seed": 3, "method": "cartoongan"}
    assert len(log.read_text().splitlines()) == 1 + 2
    assert len(log.with_suffix(".live.csv").read_text().splitlines()) == 1 + 2 * 2
    with Image.open(shown) as picture:
        assert picture.width > 3 * 32
    assert list((tmp_path / ".checkpoints").iterdir()) == []


def test_what_another_run_is_at_is_told_in_one_line_and_left_alone(task, tmp_path):
    told = r"cartoongan: another run is at the same work, in .*cartoongan-[0-9a-f]{16}; wait for it or end it"
    with Checkpointer("cartoongan", task.fingerprint()), pytest.raises(SystemExit, match=told):
        train_or_exit(task, given(), {}, tmp_path / "cartoongan.pt", tmp_path / "log.csv")
    assert not (tmp_path / "cartoongan.pt").exists()
