import numpy as np
import pytest
import scipy.linalg
import torch
from evaluation_toys import NETWORKS, SIDE, evaluation_data, measure, noise, value
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from portraitist.evaluate.distances import METRICS, extrapolated_frechet_distance, frechet_distance
from portraitist.evaluate.registry import available_metrics
from portraitist.stats.bootstrap import TooFewSamplesError

NAMES = [name for name, *_ in METRICS]
WHOLE_PICTURE = ["fid", "fid_limit", "kid", "frechet_lite0", "frechet_limit_lite0", "kernel_lite0"]


def gaussian_features(means, deviations):
    """Return features with exactly these means and this diagonal covariance."""
    channels = len(means)
    offsets = np.diag(deviations) * np.sqrt((2 * channels - 1) / 2)
    return np.concatenate([offsets, -offsets]) + means


@pytest.mark.parametrize("name", NAMES)
def test_details_name_pixels_and_number_of_portraits(name):
    measurement = measure(name)
    assert measurement.details["n_portraits"] == 2
    assert measurement.details["pixels"] == ("whole picture" if name in WHOLE_PICTURE else "person on grey")


@pytest.mark.parametrize("name", NAMES)
def test_description_names_network_and_pixels(name):
    metric = available_metrics(NETWORKS)[name]
    published = "KID" if "kid" in name or "kernel" in name else "FID"
    assert f"{'not' if 'lite' in name else 'published:'} {published}." in metric.description
    assert ("grey instead of the background" in metric.description) == (name not in WHOLE_PICTURE)
    assert ("extrapolated" in metric.description) == ("limit" in name)


@pytest.mark.parametrize("name", NAMES)
def test_order_of_faces_is_irrelevant(name):
    order = torch.tensor([2, 0, 1])
    data = evaluation_data()
    if "limit" not in name:  # halves are drawn by index
        shuffled = {"stylized": data.stylized[order], "masks": data.masks[order]}
        assert value(name, **shuffled) == pytest.approx(value(name))
    assert value(name, stylized=data.selfies) != pytest.approx(value(name), rel=1e-3)


@pytest.mark.parametrize("name", ["foreground_frechet_lite0", "foreground_kernel_lite0", "fid_limit"])
def test_interval_contains_the_value(name):
    selfies, stylized, portraits = (noise(20, 3, SIDE, SIDE, seed=seed) for seed in (1, 2, 3))
    masks = torch.ones(20, 1, SIDE, SIDE)
    measurement = measure(
        name, selfies=selfies, stylized=stylized + 0.2, portraits=portraits, masks=masks, portrait_masks=masks
    )
    assert measurement.low < measurement.value < measurement.high
    assert measurement.details["n_portraits"] == 20
    assert len(measurement.draws) == 20


def test_large_sets_have_fewer_frechet_draws(monkeypatch):
    all_draws = measure("fid").draws
    monkeypatch.setattr("portraitist.evaluate.distances.LARGE_SET", 2)
    monkeypatch.setattr("portraitist.evaluate.distances.FEW_DRAWS", 5)
    measurement = measure("fid")
    assert measurement.draws[:5].tolist() == all_draws[:5].tolist()
    assert np.isnan(measurement.draws[5:]).all()
    assert len(measurement.draws) == 20
    assert measurement.low < measurement.high
    assert np.isfinite(measure("kid").draws).all()


def test_frechet_of_diagonal_gaussians_matches_formula():
    a = gaussian_features([1.0, -2.0, 0.5], [1.0, 0.5, 3.0])
    b = gaussian_features([0.0, 1.0, 0.5], [2.0, 0.25, 3.0])
    assert np.cov(a.T) == pytest.approx(np.diag([1.0, 0.25, 9.0]))
    assert frechet_distance(a, b) == pytest.approx(1 + 9 + 0 + (1 - 2) ** 2 + (0.5 - 0.25) ** 2 + 0)


@pytest.mark.parametrize(
    ("images", "channels", "jitter", "rel"),
    [((40, 25), 6, 0, 1e-6), ((5, 4), 30, 1e-9, 1e-3), ((400, 4), 5, 1e-12, 1e-4)],
)
def test_frechet_matches_matrix_square_root(images, channels, jitter, rel):
    rng = np.random.default_rng(3)
    a = rng.normal(size=(images[0], channels)) @ rng.normal(size=(channels, channels))
    b = rng.normal(size=(images[1], channels)) * 2 + 0.3
    cov_a, cov_b = (np.cov(features.T) + jitter * np.eye(channels) for features in (a, b))
    means, root = a.mean(0) - b.mean(0), scipy.linalg.sqrtm(cov_a @ cov_b).real
    assert frechet_distance(a, b) == pytest.approx(means @ means + np.trace(cov_a + cov_b - 2 * root), rel=rel)


def test_frechet_of_a_set_with_itself_is_zero():
    features = np.random.default_rng(3).normal(size=(12, 5))
    assert frechet_distance(features, features[::-1]) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("count_a", "count_b", "channels"), [(300, 200, 12), (20, 25, 48)])
def test_frechet_agrees_with_torch_fidelity(count_a, count_b, channels):
    rng = np.random.default_rng(11)
    a, b = rng.gamma(2, size=(count_a, channels)), rng.gamma(2.5, size=(count_b, channels))
    statistics = [fid_features_to_statistics(torch.from_numpy(features)) for features in (a, b)]
    expected = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-3)


def test_extrapolation_removes_most_of_the_bias():
    """Two Gaussians in eight dimensions with a known distance: 8 * 0.3^2 + 8 * (1.2 - 1)^2 = 1.04."""
    rng = np.random.default_rng(2)
    pairs = [(rng.normal(size=(60, 8)), rng.normal(0.3, 1.2, size=(60, 8))) for _ in range(60)]
    assert np.mean([frechet_distance(*pair) for pair in pairs]) > 1.15
    extrapolated = [extrapolated_frechet_distance(*pair) for pair in pairs]
    assert abs(np.mean(extrapolated) - 1.04) < 3 * np.std(extrapolated) / np.sqrt(60) + 0.02


@pytest.mark.parametrize("name", NAMES)
def test_single_portrait_is_too_few(name):
    with pytest.raises(TooFewSamplesError, match="3 avatars and 1 test portraits"):
        measure(name, portraits=noise(1, 3, SIDE, SIDE, seed=3), portrait_masks=torch.ones(1, 1, SIDE, SIDE))


def brighter(by, seed, count=20):
    return noise(count, 3, SIDE, SIDE, seed=seed) * 0.1 + by


def far_selfies(stylized):
    """Return twenty faces whose selfies are darker than the portraits."""
    masks = torch.ones(20, 1, SIDE, SIDE)
    images = {"selfies": brighter(-0.5, 1), "stylized": stylized, "portraits": brighter(0.5, 3)}
    return images | {"masks": masks, "portrait_masks": masks, "ids": [str(face) for face in range(20)]}


def test_share_of_unchanged_selfies_is_exactly_1():
    share = measure("foreground_kernel_lite2_share", **far_selfies(brighter(-0.5, 1)))
    assert (share.low, share.value, share.high) == (1, 1, 1)


def test_share_is_the_ratio_of_two_kernel_distances():
    images = far_selfies(brighter(0.2, 2))
    share = measure("foreground_kernel_lite2_share", **images)
    distance, unchanged = (
        measure("foreground_kernel_lite2", **images | {"stylized": images[name]}) for name in ("stylized", "selfies")
    )
    assert share.value == pytest.approx(distance.value / unchanged.value)
    assert 0 < share.value < 0.5
    assert share.draws == pytest.approx(distance.draws / unchanged.draws)


def test_share_of_a_distance_below_zero_is_skipped():
    images = far_selfies(brighter(0.2, 2))
    with pytest.raises(TooFewSamplesError, match="unchanged selfies is -"):
        measure("foreground_kernel_lite2_share", **images | {"portraits": images["selfies"]})
