import pytest
import torch
from evaluation_toys import SIDE, boxes, uniform, value

from portraitist.evaluate.texture import edge_density, mean_laplacian


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


def test_cost_is_that_of_the_data():
    assert value("cost_gflop") == 1.5
    assert value("cost_megabytes") == 2.25
