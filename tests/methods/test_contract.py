"""Tests that every method must pass. Methods are found by their files, as in the stages."""

import importlib
from itertools import pairwise
from typing import Annotated

import pytest
import torch
import yaml
from torch.optim import Optimizer
from toys import (
    PAINTING_METHODS,
    ROOT,
    ToyFeatures,
    batch,
    boxes,
    make_trainable,
    noise,
    record_inputs,
    settings,
    upstream_models,
)

from portraitist.all_params import check_methods
from portraitist.core.params import OpenFraction, ParamsError, PositiveInt, Section
from portraitist.learning import method_names, registry
from portraitist.learning.ema import EMA
from portraitist.learning.losses import Scalar
from portraitist.learning.method import Method, Shared, Trainable, UpstreamModels
from portraitist.learning.optim import DivergedError, optimizer_step
from portraitist.learning.registry import build, method_settings, register
from portraitist.train.loop import seeded

ALL = method_names()
TRAINABLES = {name: make_trainable(name) for name in ALL}  # tests must not train these
ADVERSARIAL = [name for name, trainable in TRAINABLES.items() if hasattr(trainable, "discriminator")]
WITH_EMA = [name for name, trainable in TRAINABLES.items() if hasattr(trainable, "ema")]
OPTIMIZED = [
    name
    for name, trainable in TRAINABLES.items()
    if any(isinstance(value, Optimizer) for value in vars(trainable).values())
]


def missing_models(name, upstream):
    """Return the error of building a method for training with these models; empty if there is none."""
    try:
        build(name, settings(name), upstream)
    except ValueError as error:
        return str(error)
    return ""


NEEDS_UPSTREAM = [name for name in ALL if missing_models(name, UpstreamModels())]
NEEDS_GENERATOR = [
    name for name in PAINTING_METHODS if "'generator'" in missing_models(name, UpstreamModels(ToyFeatures()))
]


def after_one_step(name):
    trainable = make_trainable(name)
    trainable.step(batch())
    return trainable


def weights(module):
    return {name: value.detach().clone() for name, value in module.named_parameters()}


def changed_weights(before, module):
    return {name for name, value in module.named_parameters() if not torch.equal(before[name], value)}


def record_optimizer_steps(monkeypatch, name, observe=lambda: None):
    """Record each optimizer step of a method: the terms it returned, and the result of `observe` after it."""
    module, steps = importlib.import_module(f"portraitist.methods.{name}"), []

    def recorded(optimizer: torch.optim.Optimizer, **terms: Scalar) -> dict[str, float]:
        losses = optimizer_step(optimizer, **terms)
        steps.append((losses, observe()))
        return losses

    monkeypatch.setattr(module, "optimizer_step", recorded)
    return steps


# Registry and params


def test_methods_are_found_by_their_files():
    assert {"perceptual", "unet_mask", *PAINTING_METHODS} == set(ALL)
    assert NEEDS_GENERATOR == ["masked_cartoongan"]
    assert all(isinstance(TRAINABLES[name], Method) for name in PAINTING_METHODS)


def test_unknown_method_is_rejected_by_name():
    for call in (lambda: build("stylegan", {}), lambda: method_settings("stylegan", {}, {})):
        with pytest.raises(ParamsError, match=r"'stylegan'.*attention_gan, "):
            call()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    "wrong", [{"learning_rate": -0.1}, {"learning_rate": 1.5}, {"base_channels": 0}, {"color": "red"}]
)
def test_invalid_param_is_rejected_with_its_key(name, wrong):
    with pytest.raises(ParamsError, match=rf"methods\.{name}\.{next(iter(wrong))}: .*, found "):
        build(name, settings(name) | wrong)


@pytest.mark.parametrize("name", [name for name in ALL if "learning_rate" in settings(name)])
def test_missing_param_is_rejected_with_its_key(name):
    with pytest.raises(ParamsError, match=rf"methods\.{name}\.learning_rate: Field required"):
        build(name, {key: value for key, value in settings(name).items() if key != "learning_rate"})


@pytest.fixture
def toy_method(monkeypatch):
    class Params(Section):
        size_px: Annotated[PositiveInt, Shared("crop")]
        learning_rate: Annotated[OpenFraction, Shared("train")]
        strength: OpenFraction

    class Toy(Trainable):
        __module__ = "portraitist.methods.toy"

        def __init__(self, params: Params, upstream: UpstreamModels | None = None) -> None:
            super().__init__()
            self.params, self.upstream = params, upstream

    monkeypatch.setattr(registry, "_REGISTRY", {})
    monkeypatch.setattr(registry, "method_names", lambda: ["toy"])
    monkeypatch.setattr(registry.importlib, "import_module", lambda name: None)
    register(Params)(Toy)
    return Toy


SECTIONS = {"crop": {"size_px": 64, "strength": 0.9}, "train": {"size_px": 1, "learning_rate": 0.1, "epochs": 3}}


def test_registered_class_is_built_with_params_and_upstream(toy_method):
    upstream = upstream_models()
    toy = build("toy", {"size_px": 64, "learning_rate": 0.1, "strength": 0.5}, upstream)
    assert isinstance(toy, toy_method)
    assert (toy.params.strength, toy.upstream) == (0.5, upstream)


def test_shared_params_come_from_their_section_only(toy_method):
    found = method_settings("toy", SECTIONS, {"strength": 0.5})
    assert found == {"size_px": 64, "learning_rate": 0.1, "strength": 0.5}
    with pytest.raises(ParamsError, match=r"methods\.toy\.strength: Field required"):  # crop.strength is no source
        method_settings("toy", SECTIONS, {})


def test_missing_shared_param_is_rejected_with_its_key(toy_method):
    with pytest.raises(ParamsError, match=r"methods\.toy\.size_px: Field required"):
        method_settings("toy", SECTIONS | {"crop": {}}, {"strength": 0.5})


def test_own_section_overrides_shared_params(toy_method):
    assert method_settings("toy", SECTIONS, {"strength": 0.5, "learning_rate": 0.2})["learning_rate"] == 0.2


def test_all_methods_of_params_yaml_are_valid():
    check_methods(ROOT)


def test_invalid_method_section_is_rejected_before_training(tmp_path):
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["methods"]["cyclegan"]["lambda_cycle"] = -1
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    (tmp_path / "profiles").symlink_to(ROOT / "profiles")
    with pytest.raises(ParamsError, match=r"methods\.cyclegan\.lambda_cycle: .*0, found -1"):
        check_methods(tmp_path)


# Painting


@pytest.mark.parametrize("name", PAINTING_METHODS)
def test_stylized_images_have_the_selfies_shape_and_range(name):
    selfies, masks = noise(3, 3, 16, 32, seed=4), boxes((1, 9, 2, 20), (5, 15, 9, 31), (0, 16, 0, 32))
    stylized = after_one_step(name).paint(selfies, masks)
    assert stylized.shape == selfies.shape
    assert stylized.abs().max() <= 1
    assert not stylized.requires_grad
    assert (stylized - selfies).abs().mean() > 0.05


@pytest.mark.parametrize("name", PAINTING_METHODS)
def test_painting_does_not_depend_on_the_rest_of_the_batch(name):
    selfies, masks = noise(2, 3, 16, 32, seed=4), boxes((1, 9, 2, 20), (5, 15, 9, 31))
    method = after_one_step(name)
    alone = method.paint(selfies[:1], masks[:1])
    assert torch.allclose(method.paint(selfies, masks)[:1], alone, atol=1e-5)


# Optimizer steps


@pytest.mark.parametrize("name", OPTIMIZED)
def test_step_returns_all_optimized_terms(name, monkeypatch):
    trainable = make_trainable(name)
    steps = record_optimizer_steps(monkeypatch, name)
    losses = trainable.step(batch())
    assert losses == {key: value for terms, _ in steps for key, value in terms.items()}
    assert len(losses) == sum(len(terms) for terms, _ in steps)
    assert all(value > 0 for value in losses.values())


def test_optimizer_step_minimizes_the_sum_of_terms():
    weight = torch.nn.Parameter(torch.tensor(2.0))
    losses = optimizer_step(torch.optim.SGD([weight], lr=0.1), square=weight**2, line=3 * weight)
    assert losses == {"square": 4, "line": 6}
    assert weight.item() == pytest.approx(2 - 0.1 * (2 * 2 + 3))


def test_optimizer_step_clears_earlier_gradients():
    weight = torch.nn.Parameter(torch.tensor(2.0))
    weight.grad = torch.tensor(100.0)
    optimizer_step(torch.optim.SGD([weight], lr=0.1), line=3 * weight)
    assert weight.item() == pytest.approx(2 - 0.1 * 3)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_term_is_named_and_no_weight_changes(value):
    weight = torch.nn.Parameter(torch.tensor(2.0))
    with pytest.raises(DivergedError, match="g_adv is "):
        optimizer_step(torch.optim.SGD([weight], lr=0.1), g_content=weight**2, g_adv=weight * value)
    assert weight.item() == 2


@pytest.mark.parametrize("name", OPTIMIZED)
def test_weights_depend_on_the_seed_alone(name):
    first, same, other = make_trainable(name, seed=5), make_trainable(name, seed=5), make_trainable(name, seed=6)
    for trainable in (first, same, other):
        with seeded(1):  # draws within a step are seeded by the training loop
            trainable.step(batch())
    assert not changed_weights(weights(first), same)
    assert changed_weights(weights(first), other)


@pytest.mark.parametrize("name", OPTIMIZED)
def test_step_changes_the_saved_modules(name):
    trainable = make_trainable(name)
    before = {part: value.clone() for part, value in trainable.state_dict().items()}
    trainable.step(batch())
    changed = {part for part, value in trainable.state_dict().items() if not torch.equal(before[part], value)}
    assert {part.split(".")[0] for part in changed} >= set(trainable.saved_modules)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_each_optimizer_step_changes_one_side_only(name, monkeypatch):
    trainable = make_trainable(name)
    states = [weights(trainable)]
    record_optimizer_steps(monkeypatch, name, lambda: states.append(weights(trainable)))
    trainable.step(batch())
    trainable.step(batch(7))
    changed = [
        {part.split(".")[0] for part in before if not torch.equal(before[part], after[part])} - {"ema"}
        for before, after in pairwise(states)
    ]
    children = [part for part, _ in trainable.named_children()]
    discriminators = {part for part in children if part.startswith("discriminator")}
    generators = {part for part in children if part.startswith(("generator", "projector"))}
    assert changed in ([discriminators, generators] * 2, [generators, discriminators] * 2)


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_discriminator_loss_gives_the_generator_no_gradient(name, monkeypatch):
    trainable = make_trainable(name)

    def gradients():
        return [None if p.grad is None else p.grad.clone() for p in trainable.generator.parameters()]

    recorded = [gradients()]
    steps = record_optimizer_steps(monkeypatch, name, lambda: recorded.append(gradients()))
    trainable.step(batch())
    for (losses, _), before_and_after in zip(steps, pairwise(recorded), strict=True):
        pairs = zip(*before_and_after, strict=True)
        same = [old is new or (old is not None and torch.equal(old, new)) for old, new in pairs]
        assert all(same) if all(term.startswith("d_") for term in losses) else not any(same)


# Saved state and upstream models


@pytest.mark.parametrize("name", ALL)
def test_saved_state_restores_the_model(name):
    trained, fresh = make_trainable(name, seed=5), build(name, settings(name))
    trained.step(batch())
    state = trained.saved_state()
    assert set(state) == set(trained.saved_modules)
    fresh.load_saved_state(state)
    for module in trained.saved_modules:
        assert not changed_weights(weights(trained.get_submodule(module)), fresh.get_submodule(module))
    if name in PAINTING_METHODS:
        inputs = (batch().selfies, batch().selfie_masks)
        assert torch.equal(trained.paint(*inputs), fresh.paint(*inputs))


@pytest.mark.parametrize("name", ALL)
def test_without_upstream_only_saved_modules_are_built(name):
    trainable = build(name, settings(name))
    assert {part for part, _ in trainable.named_children()} == set(trainable.saved_modules)
    assert not any(isinstance(value, Optimizer) for value in vars(trainable).values())


@pytest.mark.parametrize("name", [name for name in ALL if "base_channels" in settings(name)])
def test_weights_of_another_size_are_rejected(name):
    with pytest.raises(RuntimeError, match="size mismatch"):
        build(name, settings(name, base_channels=16)).load_saved_state(TRAINABLES[name].saved_state())


@pytest.mark.parametrize("name", ALL)
def test_upstream_models_are_not_trained(name):
    trainable = make_trainable(name)
    frozen = [
        net
        for part, net in trainable.named_children()
        if part in ("features", "segmenter") and part not in trainable.saved_modules
    ]
    before = [{key: value.clone() for key, value in net.state_dict().items()} for net in frozen]
    trainable.step(batch())
    for net, values in zip(frozen, before, strict=True):
        assert all(torch.equal(values[key], value) for key, value in net.state_dict().items())
        assert not any(parameter.requires_grad or parameter.grad is not None for parameter in net.parameters())
        assert not any(module.training for module in net.modules())


@pytest.mark.parametrize("name", NEEDS_GENERATOR)
def test_training_starts_from_the_generator_of_stage_1(name):
    generator = make_trainable(name).generator
    assert not changed_weights(weights(upstream_models().generator), generator)
    assert not changed_weights(weights(make_trainable(name, seed=6).generator), generator)
    with seeded(5):
        untrained = build(name, settings(name)).ema.network
    assert changed_weights(weights(untrained), generator)


@pytest.mark.parametrize("name", NEEDS_UPSTREAM)
def test_missing_upstream_model_is_named(name):
    with pytest.raises(ValueError, match=r"UpstreamModels\((features|generator|segmenter|pretrained)="):
        build(name, settings(name), UpstreamModels())


# EMA


def linear(value):
    net = torch.nn.Linear(1, 1)
    torch.nn.init.constant_(net.weight, value)
    return net


def test_ema_decay_is_smaller_in_the_first_steps():
    ema = EMA(linear(5.0), decay=0.75)
    ema.update(linear(1.0))
    assert ema.network.weight.item() == pytest.approx(5 / 11 + 10 / 11)
    for _ in range(100):
        ema.update(linear(1.0))
    ema.update(linear(3.0))
    assert ema.network.weight.item() == pytest.approx(0.75 * 1 + 0.25 * 3)


@pytest.mark.parametrize("name", WITH_EMA)
def test_painting_uses_the_ema_of_the_generator(name):
    method = make_trainable(name, ema_decay=0.9)
    initial = weights(method.ema.network)
    method.step(batch())
    for part, current in method.generator.named_parameters():
        expected = initial[part] + 10 / 11 * (current - initial[part])
        assert torch.allclose(method.ema.network.get_parameter(part), expected, atol=1e-6)
    with record_inputs(method.generator) as to_generator, record_inputs(method.ema.network) as to_ema:
        method.paint(batch().selfies, batch().selfie_masks)
    assert (len(to_generator), len(to_ema)) == (0, 1)
