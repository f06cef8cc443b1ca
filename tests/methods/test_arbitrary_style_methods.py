import pytest
import torch
from toys import NoiseBatches, batch, make_trainable, on_other_background, train_logged, upstream_models

from portraitist.learning.tensors import on_grey
from portraitist.nets.arbitrary_style import load_style_transformer

WITH, WITHOUT = "arbitrary_style_with_background", "arbitrary_style_without_background"


def after_one_step(name, images):
    method = make_trainable(name)
    assert method.step(images) == {}
    return method


def test_style_is_read_from_whole_portraits_or_from_persons_on_grey():
    images, predictor = batch(), make_trainable(WITH).predictor
    persons = on_grey(images.portraits, images.portrait_masks)
    for name, pictures in ((WITH, images.portraits), (WITHOUT, persons)):
        style = after_one_step(name, images).style.mean()
        assert torch.allclose(style, predictor(pictures).mean(0))
    assert not torch.allclose(predictor(persons), predictor(images.portraits), atol=0.01)


def test_without_background_neither_background_takes_part():
    images, other = batch(), on_other_background(batch())
    first, second = after_one_step(WITHOUT, images), after_one_step(WITHOUT, other)
    assert torch.equal(first.style.total, second.style.total)
    painted, on_other = (first.paint(each.selfies, each.selfie_masks) for each in (images, other))
    person = (images.selfie_masks == 1).expand_as(painted)
    assert torch.equal(painted[person], on_other[person])
    assert torch.equal(painted[~person], images.selfies[~person])


def test_with_background_both_backgrounds_take_part():
    images, other = batch(), on_other_background(batch())
    first, second = after_one_step(WITH, images), after_one_step(WITH, other)
    assert not torch.equal(first.style.total, second.style.total)
    painted, on_other = (first.paint(each.selfies, each.selfie_masks) for each in (images, other))
    background = (images.selfie_masks == 0).expand_as(painted)
    assert (painted[background] - images.selfies[background]).abs().mean() > 0.05
    assert (painted - on_other)[~background].abs().max() > 0.001  # by instance norm


@pytest.mark.parametrize("name", [WITH, WITHOUT])
def test_training_changes_the_mean_style_alone(name):
    method, rows = train_logged(name, NoiseBatches(3))
    assert rows == {}
    assert method.style.count == 2 * 3 * 2
    expected = load_style_transformer(upstream_models().require_pretrained()).state_dict()
    assert all(torch.equal(method.transformer.state_dict()[key], value) for key, value in expected.items())
