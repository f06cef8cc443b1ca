from dataclasses import replace

import pytest
import torch
from evaluation_toys import SIDE, evaluation_data, mean_colours, network, noise

from portraitist.evaluate.data import BATCH_SIZE, map_batches, predict_masks
from portraitist.evaluate.registry import available_metrics
from portraitist.nets.unet import UNet


def test_map_batches_passes_every_image_once():
    sizes = []

    def mean(images, masks):
        sizes.append((len(images), len(masks)))
        return images.mean((1, 2, 3)).numpy()

    images = noise(2 * BATCH_SIZE + 3, 3, 4, 4, seed=1)
    means = map_batches(mean, images, images[:, :1])
    assert sizes == [(BATCH_SIZE, BATCH_SIZE), (BATCH_SIZE, BATCH_SIZE), (3, 3)]
    assert means == pytest.approx(images.mean((1, 2, 3)).numpy())


def test_features_of_a_set_are_computed_once():
    sizes = []

    def features(images):
        sizes.append(len(images))
        return mean_colours(images)

    data = evaluation_data(networks={"lite0": network(features)})
    for name in ("content_lite0", "foreground_kernel_lite0", "memorised_lite0"):
        available_metrics({"lite0"})[name].measure(data)
    assert sorted(sizes) == [2, 3, 3, 4]  # portraits, avatars, selfies, training portraits


def test_masks_are_predicted_in_evaluation_mode():
    net, images = UNet(4).train(), noise(18, 3, SIDE, SIDE, seed=1)
    running_mean = net.first[1].running_mean.clone()
    masks = predict_masks(net)(images)
    assert masks.shape == (18, 1, SIDE, SIDE)
    assert not masks.requires_grad
    assert torch.equal(net.first[1].running_mean, running_mean)
    assert torch.allclose(predict_masks(net)(images[17:]), masks[17:], atol=1e-6)


def test_evaluation_data_is_immutable():
    assert replace(evaluation_data(), seed=5).seed == 5
    with pytest.raises(AttributeError):
        evaluation_data().seed = 5
