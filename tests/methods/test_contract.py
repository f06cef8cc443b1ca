"""What every method promises, whatever it is: this file finds them by their files, as the stages do."""

import importlib
from itertools import pairwise

import pytest
import torch
from torch.optim import Optimizer
from toys import PAINTERS, Bands, batch, begun, boxes, drawn, seen_by, settings

from portraitist.core.params import ParamsError
from portraitist.learning.ema import EMA
from portraitist.learning.losses import Scalar
from portraitist.learning.optim import DivergedError, optimizer_step
from portraitist.methods import method_names
from portraitist.methods.base import Method, UpstreamModels
from portraitist.methods.registry import build
from portraitist.train.loop import seeded

ALL = method_names()
ADVERSARIAL = [name for name in ALL if hasattr(build(name, settings(name)), "discriminator")]
AVERAGED = [name for name in ALL if hasattr(build(name, settings(name)), "mean")]


def stepped(name):
    """A learner after its first step: one that trains nothing has then seen what it needs."""
    learner = begun(name)
    learner.step(batch())
    return learner


def cannot_begin_with(name, given):
    """What a method says that it needs beside what it is given; nothing, if it can begin."""
    try:
        build(name, settings(name)).setup(given)
    except ValueError as error:
        return str(error)
    return ""


NEEDY = [name for name in ALL if cannot_begin_with(name, UpstreamModels())]
TRAINED = [
    name for name in ALL if any(isinstance(own, Optimizer) for own in vars(build(name, settings(name))).values())
]
AT_STAGE_1 = [name for name in PAINTERS if "a generator" in cannot_begin_with(name, UpstreamModels(Bands()))]


def weights(module):
    return {name: value.detach().clone() for name, value in module.named_parameters()}


def changed(before, module):
    return {name for name, value in module.named_parameters() if not torch.equal(before[name], value)}


def recorded(monkeypatch, name, look=lambda: None):
    """Each update that a method makes: what it logged, and what `look` saw right after it."""
    module, updates = importlib.import_module(f"portraitist.methods.{name}"), []

    def recording(optimizer: torch.optim.Optimizer, **terms: Scalar) -> dict[str, float]:
        logged = optimizer_step(optimizer, **terms)
        updates.append((logged, look()))
        return logged

    monkeypatch.setattr(module, "descend", recording)
    return updates


def test_the_methods_are_the_files():
    assert {"perceptual", "unet_mask", *PAINTERS} == set(ALL)
    assert AT_STAGE_1 == ["masked_cartoongan"]
    assert all(isinstance(build(name, settings(name)), Method) for name in PAINTERS)


def test_a_method_that_has_no_file_is_refused_by_name():
    with pytest.raises(ParamsError, match="no method 'stylegan'; there are attention_gan, "):
        build("stylegan", {})


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("wrong", [{"learning_rate": -0.1}, {"learning_rate": 1.5}, {"width": 0}, {"colour": "red"}])
def test_params_that_cannot_be_are_refused_with_their_key(name, wrong):
    with pytest.raises(ParamsError, match=rf"methods\.{name}\.{next(iter(wrong))}: .*, found "):
        build(name, settings(name) | wrong)


@pytest.mark.parametrize("name", ALL)
def test_params_that_are_missing_are_refused_with_their_key(name):
    with pytest.raises(ParamsError, match=rf"methods\.{name}\.learning_rate: Field required"):
        build(name, {key: value for key, value in settings(name).items() if key != "learning_rate"})


@pytest.mark.parametrize("name", PAINTERS)
def test_what_is_painted_has_the_selfies_shape_and_range_and_no_gradient(name):
    selfies, masks = drawn(3, 3, 16, 32, seed=4), boxes((1, 9, 2, 20), (5, 15, 9, 31), (0, 16, 0, 32))
    painted = stepped(name).paint(selfies, masks)
    assert painted.shape == selfies.shape
    assert painted.abs().max() <= 1
    assert not painted.requires_grad
    assert (painted - selfies).abs().mean() > 0.05


@pytest.mark.parametrize("name", PAINTERS)
def test_what_is_painted_does_not_depend_on_who_is_painted_beside(name):
    selfies, masks = drawn(2, 3, 16, 32, seed=4), boxes((1, 9, 2, 20), (5, 15, 9, 31))
    painter = stepped(name)
    alone = painter.paint(selfies[:1], masks[:1])
    assert torch.allclose(painter.paint(selfies, masks)[:1], alone, atol=1e-5)


@pytest.mark.parametrize("name", TRAINED)
def test_the_terms_of_a_step_are_those_that_were_descended(name, monkeypatch):
    learner = begun(name)
    updates = recorded(monkeypatch, name)
    terms = learner.step(batch())
    assert terms == {key: value for logged, _ in updates for key, value in logged.items()}
    assert len(terms) == sum(len(logged) for logged, _ in updates)
    assert all(value > 0 for value in terms.values())


def test_a_descent_is_down_the_sum_of_the_terms_it_logs():
    weight = torch.nn.Parameter(torch.tensor(2.0))
    terms = optimizer_step(torch.optim.SGD([weight], lr=0.1), square=weight**2, line=3 * weight)
    assert terms == {"square": 4, "line": 6}
    assert weight.item() == pytest.approx(2 - 0.1 * (2 * 2 + 3))


def test_a_descent_forgets_the_gradient_of_the_last():
    weight = torch.nn.Parameter(torch.tensor(2.0))
    weight.grad = torch.tensor(100.0)
    optimizer_step(torch.optim.SGD([weight], lr=0.1), line=3 * weight)
    assert weight.item() == pytest.approx(2 - 0.1 * 3)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_term_that_is_no_number_is_named_and_moves_nothing(value):
    weight = torch.nn.Parameter(torch.tensor(2.0))
    with pytest.raises(DivergedError, match="g_fool is "):
        optimizer_step(torch.optim.SGD([weight], lr=0.1), g_content=weight**2, g_fool=weight * value)
    assert weight.item() == 2


@pytest.mark.parametrize("name", TRAINED)
def test_equal_seeds_give_equal_weights_and_another_seed_gives_others(name):
    one, same, other = begun(name, seed=5), begun(name, seed=5), begun(name, seed=6)
    for learner in (one, same, other):
        with seeded(1):  # what a step draws is the loop's to seed
            learner.step(batch())
    assert not changed(weights(one), same)
    assert changed(weights(one), other)


@pytest.mark.parametrize("name", ALL)
def test_what_is_kept_is_all_that_is_needed_to_go_on(name):
    learned, fresh = begun(name, seed=5), begun(name, seed=6)
    learned.step(batch())
    result = learned.saved_state()
    assert set(result) == set(learned.saved_modules)
    fresh.load_saved_state(result)
    for kept in learned.saved_modules:
        assert not changed(weights(learned.get_submodule(kept)), fresh.get_submodule(kept))
    if name in PAINTERS:
        asked = (batch().selfies, batch().selfie_masks)
        assert torch.equal(learned.paint(*asked), fresh.paint(*asked))


@pytest.mark.parametrize("name", [name for name in ALL if "width" in settings(name)])
def test_weights_of_another_width_are_refused(name):
    with pytest.raises(RuntimeError, match="size mismatch"):
        build(name, settings(name, width=16)).load_saved_state(begun(name).saved_state())


@pytest.mark.parametrize("name", TRAINED)
def test_a_step_changes_what_is_kept(name):
    learner = begun(name)
    before = weights(learner)
    learner.step(batch())
    assert {part.split(".")[0] for part in changed(before, learner)} >= set(learner.saved_modules)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_each_update_moves_one_network_only(name, monkeypatch):
    learner = begun(name)
    states = [weights(learner)]
    recorded(monkeypatch, name, lambda: states.append(weights(learner)))
    learner.step(batch())
    learner.step(batch(7))
    moved = [
        {part.split(".")[0] for part in then if not torch.equal(then[part], now[part])} - {"mean"}
        for then, now in pairwise(states)
    ]
    judges = {part for part, _ in learner.named_children() if part.startswith("discriminator")}
    painters = {part for part, _ in learner.named_children() if part.startswith(("generator", "projector"))}
    assert moved in ([judges, painters] * 2, [painters, judges] * 2)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_the_discriminators_loss_gives_the_generator_no_gradient(name, monkeypatch):
    learner = begun(name)
    grads = lambda: [None if p.grad is None else p.grad.clone() for p in learner.generator.parameters()]
    seen = [grads()]
    updates = recorded(monkeypatch, name, lambda: seen.append(grads()))
    learner.step(batch())
    for (logged, _), grads_there in zip(updates, pairwise(seen), strict=True):
        pairs = zip(*grads_there, strict=True)
        same = [then is now or (then is not None and torch.equal(then, now)) for then, now in pairs]
        assert all(same) if all(term.startswith("d_") for term in logged) else not any(same)


@pytest.mark.parametrize("name", ALL)
def test_what_earlier_stages_made_stays_as_it_is(name):
    learner = begun(name)
    frozen = [
        net
        for part, net in learner.named_children()
        if part in ("features", "segmenter") and part not in learner.saved_modules
    ]
    before = [{key: value.clone() for key, value in part.state_dict().items()} for part in frozen]
    learner.step(batch())
    for part, values in zip(frozen, before, strict=True):
        assert all(torch.equal(values[key], value) for key, value in part.state_dict().items())
        assert not any(parameter.requires_grad or parameter.grad is not None for parameter in part.parameters())
        assert not any(module.training for module in part.modules())


def at(value):
    net = torch.nn.Linear(1, 1)
    torch.nn.init.constant_(net.weight, value)
    return net


def test_a_running_mean_forgets_the_beginning_and_then_follows_by_its_decay():
    mean = EMA(at(5.0), decay=0.75)
    mean.update(at(1.0))
    assert mean.network.weight.item() == pytest.approx(5 / 11 + 10 / 11)
    for _ in range(100):
        mean.update(at(1.0))
    mean.update(at(3.0))
    assert mean.network.weight.item() == pytest.approx(0.75 * 1 + 0.25 * 3)


@pytest.mark.parametrize("name", AVERAGED)
def test_what_paints_is_the_running_mean_of_the_generator(name):
    learner = begun(name, average=0.9)
    started = weights(learner.ema.network)
    learner.step(batch())
    share = 10 / 11
    for part, now in learner.generator.named_parameters():
        wanted = started[part] + share * (now - started[part])
        assert torch.allclose(learner.ema.network.get_parameter(part), wanted, atol=1e-6)
    with seen_by(learner.generator) as asked, seen_by(learner.ema.network) as painted:
        learner.paint(batch().selfies, batch().selfie_masks)
    assert (len(asked), len(painted)) == (0, 1)


@pytest.mark.parametrize("name", AT_STAGE_1)
def test_a_painter_that_asks_for_it_begins_at_the_generator_of_stage_1(name):
    learner = begun(name)
    drawn_anew = weights(build(name, settings(name)).generator)
    assert changed(drawn_anew, learner.generator)
    assert not changed(weights(begun(name, seed=6).generator), learner.generator)


@pytest.mark.parametrize("name", NEEDY)
def test_what_a_method_cannot_begin_without_is_named(name):
    with pytest.raises(ValueError, match="this method needs a features, and was given none"):
        build(name, settings(name)).setup(UpstreamModels())
