"""The pretrained style network in torch paints what the distributed int8 graph paints."""

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from toys import noise, write_style_networks

from portraitist.learning import distributed
from portraitist.learning.tensors import to_images
from portraitist.nets.arbitrary_style import (
    PREDICTOR_FILE,
    STYLE_LENGTH,
    TRANSFORMER_FILE,
    MeanStyle,
    StylePredictor,
    StyleTransformer,
    load_style_transformer,
    named_layers,
)


@pytest.fixture(scope="module")
def selfies(sample):
    pictures = (Image.open(sample / "selfies" / name).convert("RGB") for name in ("0006.jpg", "0010.jpg"))
    return [np.array(picture.resize((384, 384))) for picture in pictures]  # the one size of the distributed graph


@pytest.fixture(scope="module")
def portraits(sample):
    portrait = np.array(Image.open(sample / "portraits" / "0007.jpg").convert("RGB"))
    return to_images([portrait, np.full_like(portrait, 128)])


@pytest.fixture(scope="module")
def styles(portraits, pretrained):
    return StylePredictor(pretrained)(portraits)


@pytest.fixture(scope="module")
def network(pretrained):
    return load_style_transformer(pretrained)


def test_torch_agrees_with_onnxruntime(pretrained, network, selfies, styles):
    session = onnxruntime.InferenceSession(pretrained / TRANSFORMER_FILE, providers=["CPUExecutionProvider"])
    content, style = (entry.name for entry in session.get_inputs())
    for selfie, vector in zip(selfies, styles, strict=True):
        inputs = {content: selfie[None].astype(np.float32) / 255, style: vector.numpy().reshape(1, 1, 1, -1)}
        theirs = torch.from_numpy(session.run(None, inputs)[0][0]).permute(2, 0, 1)
        with torch.no_grad():
            ours = (network(to_images([selfie]), vector[None])[0] + 1) / 2
        assert (ours - theirs).abs().mean() < 0.03  # the rest is int8 activations
        assert (theirs - to_images([selfie])[0] / 2 - 0.5).abs().mean() > 0.06  # the selfie is changed


def test_predictor_gives_the_same_vectors_on_all_processors(pretrained):
    images = noise(1, 3, 256, 256, seed=1)
    picture = ((images + 1) / 2).permute(0, 2, 3, 1).numpy()
    predictor = StylePredictor(pretrained)
    vectors = predictor(images).numpy()

    def theirs(options):
        session = onnxruntime.InferenceSession(pretrained / PREDICTOR_FILE, options, providers=["CPUExecutionProvider"])
        return session.run(None, {session.get_inputs()[0].name: picture})[0].reshape(1, STYLE_LENGTH)

    in_float32, unoptimized = onnxruntime.SessionOptions(), onnxruntime.SessionOptions()
    in_float32.add_session_config_entry("session.disable_quant_qdq", "1")
    assert np.allclose(vectors, theirs(in_float32), atol=1e-4)
    unoptimized.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    errors = np.abs(vectors - theirs(unoptimized))  # each node as the file defines it; activations have steps of .02
    assert errors.max() < 0.05
    assert errors.mean() < 0.01
    used = predictor._session.get_session_options()
    assert used.get_session_config_entry("session.disable_quant_qdq") == "1"  # some processors need it, others do not


def test_predictor_is_deterministic_and_reads_each_image_alone(pretrained, portraits, styles):
    assert styles.shape == (2, STYLE_LENGTH)
    assert torch.equal(StylePredictor(pretrained)(portraits[:1])[0], styles[0])
    assert (styles[0] - styles[1]).abs().mean() > 0.01


def test_predictor_passes_no_gradient_and_has_no_weights(tmp_path):
    predictor = StylePredictor(write_style_networks(tmp_path))
    assert not predictor(noise(1, 3, 16, 32, seed=1).requires_grad_()).requires_grad
    assert predictor.state_dict() == {}


def test_each_image_has_its_own_style(network, selfies, styles):
    same = to_images([selfies[0], selfies[0]])
    with torch.no_grad():
        first, second = network(same, styles)
        again = network(same, styles.flip(0))
    assert (first - second).abs().mean() > 0.05
    assert torch.allclose(again[1], first, atol=1e-5)


def test_any_multiple_of_four_keeps_its_size():
    images = noise(2, 3, 36, 52, seed=1)
    stylized = StyleTransformer()(images, torch.zeros(2, STYLE_LENGTH))
    assert stylized.shape == images.shape
    assert stylized.abs().max() < 1


def test_transformer_has_the_papers_layers():
    layers = dict(named_layers(StyleTransformer()))
    assert len(layers) == 3 + 3 * (2 * 5 + 3)
    convolutions = [layer for layer in layers.values() if isinstance(layer, torch.nn.Conv2d)]
    assert sum(layer.weight.numel() for layer in convolutions) == 107_568
    assert sum(weight.numel() for weight in StyleTransformer().parameters()) == 178_065


def test_loaded_weights_are_those_of_the_file(tmp_path):
    source = StyleTransformer()
    loaded = load_style_transformer(write_style_networks(tmp_path, source)).state_dict()
    assert all(torch.equal(loaded[name], value) for name, value in source.state_dict().items())


def test_file_of_another_network_is_rejected(tmp_path):
    write_style_networks(tmp_path)
    model = onnx.load(tmp_path / TRANSFORMER_FILE)
    del model.graph.node[0]
    onnx.save(model, tmp_path / TRANSFORMER_FILE)
    with pytest.raises(ValueError, match=r"arbitrary_transform\.onnx does not contain the style network's 42 layers"):
        load_style_transformer(tmp_path)


# The mean style


def mean_of(*batches):
    mean = MeanStyle()
    for styles in batches:
        mean.add(styles)
    return mean.mean()


def test_mean_style_is_the_mean_of_all_vectors():
    styles = noise(5, STYLE_LENGTH, seed=1)
    assert torch.allclose(mean_of(styles[:2], styles[2:]), styles.mean(0), atol=1e-6)
    assert torch.equal(mean_of(styles[:1]), styles[0])


def test_mean_style_does_not_depend_on_order():
    styles = noise(6, STYLE_LENGTH, seed=1)
    assert torch.equal(mean_of(*styles.split(2)), mean_of(*styles.flip(0).split(3)))


def test_mean_style_resumes_from_its_state():
    styles, first, second = noise(6, STYLE_LENGTH, seed=1), MeanStyle(), MeanStyle()
    first.add(styles[:4])
    second.load_state_dict(first.state_dict())
    second.add(styles[4:])
    first.add(styles[4:])
    assert torch.equal(second.mean(), first.mean())


def test_mean_style_is_repeated_for_each_image():
    mean, images = MeanStyle(), noise(3, 3, 4, 4, seed=1)
    assert torch.equal(mean.expand(images), torch.zeros(3, STYLE_LENGTH))
    mean.add(noise(2, STYLE_LENGTH, seed=1))
    assert torch.equal(mean.expand(images), mean.mean().repeat(3, 1))


def test_mean_style_counts_the_vectors_of_all_processes(monkeypatch):
    own, others, mean = noise(2, STYLE_LENGTH, seed=1), noise(2, STYLE_LENGTH, seed=2), MeanStyle()
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    average = lambda tensors: tensors[0].add_(others.double().mean(0)).div_(2)  # noqa: E731
    monkeypatch.setattr(distributed, "all_reduce_mean", average)
    mean.add(own)
    assert mean.count == 4
    assert torch.allclose(mean.mean(), torch.cat([own, others]).mean(0), atol=1e-6)
