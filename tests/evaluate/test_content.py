import numpy as np
import pytest
from evaluation_toys import PERSONS, measure, network, uniform, value

from portraitist.evaluate.content import cosine_distances, nearest_cosine_distances


def test_content_is_the_mean_cosine_distance():
    features = iter([np.array([[0.0, 2.0], [6.0, 0.0]]), np.array([[1.0, 0.0], [3.0, 4.0]])])
    images = {"selfies": uniform(10, 20), "stylized": uniform(30, 40), "masks": PERSONS[:2]}
    result = value("content_lite0", networks={"lite0": network(lambda _: next(features))}, **images)
    assert result == pytest.approx((1 + (1 - 0.6)) / 2)


def test_distance_of_equal_features_is_exactly_zero():
    features = np.random.default_rng(0).normal(size=(50, 1280))
    assert cosine_distances(features, features * 3).tolist() == [0] * 50
    assert nearest_cosine_distances(features[:5], features).tolist() == [0] * 5


def test_memorised_is_1_for_copies_and_0_at_the_median_distance():
    def unit_vectors(*degrees):
        return np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], axis=1)

    def distance(degrees):
        return 1 - np.cos(np.radians(degrees))

    features = iter([unit_vectors(0, 10, 60), unit_vectors(20, 20), unit_vectors(0, 90)])  # avatars, test, training
    measurement = measure("memorised_lite0", networks={"lite0": network(lambda _: next(features))})
    assert measurement.per_face == pytest.approx([1, 1 - distance(10) / distance(20), 0], abs=1e-6)
    assert measurement.details["n_training_portraits"] == 2
