"""Features that no training loss uses, and the metrics that are computed with them."""

from itertools import product

import numpy as np
import pytest
import torch
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric
from toys import noise

from portraitist.learning.realism import (
    PortraitClassifier,
    foreground,
    kernel_distance,
    kernel_distances,
    lite2_features,
    pooled_features,
)


def two_clusters(selfies, portraits, seed=1, channels=40):
    """Return features of two classes that differ in one of many noisy channels, at three deviations."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(selfies + portraits, channels))
    features[selfies:, 7] += 6
    return features[:selfies], features[selfies:]


def test_foreground_thresholds_soft_edges():
    images = torch.full((2, 3, 8, 8), 0.5)
    masks = torch.full((2, 1, 8, 8), 0.5)
    masks[1] = 0.51
    persons = foreground(images, masks)
    assert persons[0].abs().max() == 0
    assert torch.equal(persons[1], images[1])


def test_pooled_features_are_those_of_resized_images():
    shapes = []

    def pooled(images):
        shapes.append(tuple(images.shape))
        return images.mean((2, 3))

    levels = torch.linspace(-1, 1, 18)
    features = pooled_features(pooled, 64)(levels.view(-1, 1, 1, 1).expand(-1, 3, 32, 32))
    assert shapes == [(18, 3, 64, 64)]
    assert features == pytest.approx(levels.numpy()[:, None].repeat(3, axis=1), abs=1e-6)


def test_kernel_agrees_with_torch_fidelity():
    rng = np.random.default_rng(11)
    a, b = rng.gamma(2, size=(60, 12)), rng.gamma(2.5, size=(60, 12))
    expected = kid_features_to_metric(
        torch.from_numpy(a), torch.from_numpy(b), kid_subsets=1, kid_subset_size=60, verbose=False
    )
    assert kernel_distance(a, b) == pytest.approx(expected[KEY_METRIC_KID_MEAN], rel=1e-3)


def test_kernel_matches_double_loop_over_distinct_pairs():
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(4, 3)), rng.normal(size=(6, 3)) + 0.4

    def kernel(x, y):
        return (sum(x[k] * y[k] for k in range(3)) / 3 + 1) ** 3

    def mean_within(features):
        pairs = [(i, j) for i in range(len(features)) for j in range(len(features)) if i != j]
        return sum(kernel(features[i], features[j]) for i, j in pairs) / len(pairs)

    between = sum(kernel(x, y) for x in a for y in b) / (4 * 6)
    assert kernel_distance(a, b) == pytest.approx(mean_within(a) + mean_within(b) - 2 * between)


def test_kernel_is_unbiased():
    rng = np.random.default_rng(5)
    distances = [kernel_distance(rng.normal(size=(6, 3)), rng.normal(size=(8, 3))) for _ in range(200)]
    assert abs(np.mean(distances)) < 3 * np.std(distances) / np.sqrt(200)
    assert min(distances) < 0


def test_kernel_of_a_single_image_is_an_error():
    with pytest.raises(ValueError, match="1 and 4 images"):
        kernel_distance(np.ones((1, 3)), np.ones((4, 3)))


def test_kernel_distances_skip_pairs_of_copies():
    rng = np.random.default_rng(5)
    a, b = rng.normal(size=(7, 3)), rng.normal(size=(5, 3)) + 0.4
    of_a, of_b = rng.integers(7, size=(3, 7)), rng.integers(5, size=(3, 5))

    def kernel(x, y):
        return (x @ y / 3 + 1) ** 3

    def mean_within(features, indices):
        return np.mean([kernel(features[i], features[j]) for i, j in product(indices, indices) if i != j])

    expected = [
        mean_within(a, some_a)
        + mean_within(b, some_b)
        - 2 * np.mean([kernel(a[i], b[j]) for i, j in product(some_a, some_b)])
        for some_a, some_b in zip(of_a, of_b, strict=True)
    ]
    assert kernel_distances(a, b, of_a, of_b) == pytest.approx(expected)


def test_resamples_have_the_distance_of_the_whole_sets_on_average():
    """Copies in a resample would make the distance larger, and a ratio of two distances too precise."""
    rng = np.random.default_rng(6)
    a, b = rng.normal(size=(12, 4)), rng.normal(size=(16, 4)) + 0.5
    draws = kernel_distances(a, b, rng.integers(12, size=(4000, 12)), rng.integers(16, size=(4000, 16)))
    assert abs(draws.mean() - kernel_distance(a, b)) < 4 * draws.std() / np.sqrt(4000)


def test_copies_count_in_a_resample_of_one_image():
    a, b = np.array([[0.0], [1.0]]), np.array([[0.0], [2.0]])
    draws = kernel_distances(a, b, np.array([[1, 1], [0, 1]]), np.array([[0, 1], [0, 1]]))
    of_one_image, whole = (1 + 1) ** 3 + 1 - (1 + (2 + 1) ** 3), 1 + 1 - 2 * (1 + 1 + 1 + (2 + 1) ** 3) / 4
    assert draws == pytest.approx([of_one_image, whole])


def test_classifier_separates_held_out_pictures():
    classifier = PortraitClassifier.fit(*two_clusters(60, 60))
    selfies, portraits = two_clusters(200, 200, seed=2)
    assert classifier.rate(selfies) < 0.05
    assert classifier.rate(portraits) > 0.95


def test_classifier_is_balanced_for_unequal_sets():
    """Without weights, ten times as many selfies move the threshold toward the portraits."""
    classifier = PortraitClassifier.fit(*two_clusters(600, 60))
    selfies, portraits = two_clusters(400, 400, seed=2)
    assert classifier.rate(selfies) < 0.05
    assert classifier.rate(portraits) > 0.95


def test_rating_is_the_share_of_portraits():
    selfies, portraits = two_clusters(60, 60)
    classifier = PortraitClassifier.fit(selfies, portraits)
    mixed = np.concatenate([selfies[:3], portraits[:1]])
    assert classifier.is_portrait(mixed).tolist() == [False, False, False, True]
    assert classifier.rate(mixed) == 0.25


def test_classifier_ignores_scale_and_features_without_variance():
    selfies, portraits = two_clusters(60, 60)
    scaled = [np.concatenate([1000 * features, np.zeros((60, 1))], axis=1) for features in (selfies, portraits)]
    expected = PortraitClassifier.fit(selfies, portraits).is_portrait(selfies)
    assert PortraitClassifier.fit(*scaled).is_portrait(scaled[0]).tolist() == expected.tolist()


def test_classifier_without_portraits_is_an_error():
    selfies, portraits = two_clusters(5, 1)
    with pytest.raises(ValueError, match="5 selfies and 1 portraits"):
        PortraitClassifier.fit(selfies, portraits)


@pytest.mark.slow
def test_lite2_features_depend_on_the_image_alone(pretrained):
    extract = lite2_features(pretrained)
    images = noise(3, 3, 64, 64, seed=1)
    features = extract(images)
    assert features.shape == (3, 1280)
    assert np.allclose(extract(images[1:2])[0], features[1], atol=1e-4)
    assert not np.allclose(features[0], features[1], atol=1e-2)
