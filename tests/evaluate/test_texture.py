import numpy as np
import pytest
import torch
from evaluation_toys import SIDE, boxes, evaluation_data, noise, uniform, value

from portraitist.evaluate.registry import available_metrics
from portraitist.evaluate.texture import edge_density, mean_laplacian
from portraitist.stats.bootstrap import TooFewSamplesError


def test_laplacian_is_measured_inside_the_person():
    images = uniform(100)
    images[0, :, :, ::2] += 20 / 127.5  # stripes: the Laplacian is 2 * 20 everywhere
    masks = torch.ones(1, 1, SIDE, SIDE)
    masks[..., :10, :] = 0
    images[:, :, :9] = -1
    assert mean_laplacian(images, masks) == pytest.approx([40], abs=0.5)
    assert mean_laplacian(uniform(100), masks) == pytest.approx([0], abs=1e-6)


def test_edge_density_is_measured_inside_the_person():
    images = uniform(20)
    images[..., 16:] = 1
    (density,) = edge_density(images, torch.ones(1, 1, SIDE, SIDE))
    interior = SIDE - 2  # OpenCV's erosion ignores the border of the image; the edge is one column wide
    assert density == pytest.approx(1 / SIDE, abs=1 / SIDE / interior)
    elsewhere = boxes((0, SIDE, 0, 12), height=SIDE, width=SIDE)
    assert edge_density(images, elsewhere) == [0]


def test_resamples_of_portraits_without_edges_are_left_out():
    portraits = uniform(*[100] * 5)
    portraits[:3] = noise(3, 3, SIDE, SIDE, seed=3)
    masks = torch.ones(5, 1, SIDE, SIDE)
    data = evaluation_data(portraits=portraits, portrait_masks=masks, bootstrap=500)
    lines = available_metrics(())["lines"].measure(data)
    assert np.isnan(lines.draws).any()
    assert lines.low <= lines.value <= lines.high < 100


def test_portraits_without_edges_cannot_be_compared_with():
    with pytest.raises(TooFewSamplesError, match="no test portrait has any edges"):
        value("lines", portraits=uniform(100, 100))


def test_cost_is_that_of_the_data():
    assert value("cost_gflop") == 1.5
    assert value("cost_megabytes") == 2.25
