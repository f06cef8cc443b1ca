"""Properties that all metrics share, and the estimators of their intervals."""

import json

import numpy as np
import pytest
import torch
from evaluation_toys import NETWORKS, PERSONS, PORTRAIT_PERSONS, SIDE, evaluation_data, measure, network, noise, value

from portraitist.evaluate.registry import (
    Metric,
    available_metrics,
    code_hash,
    library_versions,
    mean_over_faces,
    mean_relative_to_portraits,
    register,
)
from portraitist.stats.bootstrap import TooFewSamplesError

METRICS = available_metrics(NETWORKS)
SHARE = (
    "foreground_kernel_lite2_share"  # undefined for noise, whose distance from noise is about zero: test_distances.py
)
NAMES = [name for name in METRICS if name != SHARE]
DISTANCES = [name for name in NAMES if "frechet" in name or "kernel" in name or "fid" in name or "kid" in name]
COSTS = ["cost_gflop", "cost_megabytes"]
RATES = ["face_found", "painted_rate"]
USE_MASKS = ("foreground", "background", "content", "mask", "memorised", "sharpness", "lines")
FOREGROUND = [name for name in NAMES if name.startswith(("foreground", "content", "memorised")) or "lite2" in name]
RELATIVE_TO_PORTRAITS = ["background_bleed", "memorised_lite0", "sharpness", "lines"]


def names_except(*names):
    return [name for name in NAMES if name not in names]


def test_all_metrics_are_registered():
    assert list(METRICS) == [
        "background_bleed",
        "background_repainted",
        "background_sensitivity",
        "content_lite0",
        "cost_gflop",
        "cost_megabytes",
        "face_box_iou",
        "face_found",
        "face_landmark_error",
        "fid",
        "fid_limit",
        "foreground_fid",
        "foreground_fid_limit",
        "foreground_frechet_limit_lite0",
        "foreground_frechet_lite0",
        "foreground_kernel_lite0",
        "foreground_kernel_lite2",
        "foreground_kernel_lite2_share",
        "foreground_kid",
        "frechet_limit_lite0",
        "frechet_lite0",
        "identity",
        "kernel_lite0",
        "kid",
        "lines",
        "mask_iou_stylized",
        "memorised_lite0",
        "painted_rate",
        "sharpness",
    ]


def test_metric_name_can_be_registered_only_once():
    metric = METRICS["fid"]
    with pytest.raises(ValueError, match="'fid'"):
        register(Metric("fid", "Another.", 0.0, "", None, metric.measure))
    assert available_metrics(NETWORKS)["fid"] is metric


def test_fid_and_kid_need_inception():
    offline = available_metrics({"lite0": network(), "lite2": network()})
    missing = [name for name in NAMES if name not in offline]
    assert missing == [name for name in NAMES if "fid" in name or "kid" in name or name == "identity"]
    for metric in offline.values():
        assert "FID" not in metric.description or "not FID" in metric.description
        assert "KID" not in metric.description or "not KID" in metric.description


@pytest.mark.parametrize("name", NAMES)
def test_measurement_is_described(name):
    metric = METRICS[name]
    assert 30 < len(metric.description) < 200
    measurement = measure(name)
    assert measurement.n == (1 if name in COSTS else 3)
    assert measurement.low <= measurement.value <= measurement.high or name in DISTANCES
    assert measurement.low <= measurement.high
    assert json.loads(json.dumps(measurement.to_json()))["n"] == measurement.n
    if metric.network:
        assert measurement.details["network"] == "mean colours"
        assert measurement.details["resize"] == "none"
        assert measurement.details["version"] == "test"
        assert name.endswith(("lite0", "lite2", "fid", "kid", "fid_limit", "identity", "painted_rate"))


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith(USE_MASKS)])
def test_metric_uses_the_masks(name):
    cropped = PERSONS.clone()
    cropped[..., :14] = 0
    assert value(name, masks=cropped) != pytest.approx(value(name), rel=1e-3)


@pytest.mark.parametrize("name", names_except(*COSTS, *RATES, "background_sensitivity"))
def test_metric_uses_the_stylized_images(name):
    other = noise(3, 3, SIDE, SIDE, seed=30) * 0.9
    assert value(name, stylized=other) != pytest.approx(value(name), rel=1e-3)


@pytest.mark.parametrize("name", [*DISTANCES, *RELATIVE_TO_PORTRAITS])
def test_metric_uses_the_portraits(name):
    other = noise(2, 3, SIDE, SIDE, seed=33) * 0.5
    assert value(name, portraits=other) != pytest.approx(value(name), rel=0.01)


@pytest.mark.parametrize("name", names_except(*DISTANCES, *COSTS, *RATES, "background_sensitivity"))
def test_per_face_metric_pairs_each_avatar_with_its_selfie(name):
    order = torch.tensor([2, 0, 1])
    before, after = measure(name), measure(name, stylized=evaluation_data().stylized[order])
    assert not np.array_equal(before.per_face, after.per_face)


@pytest.mark.parametrize("name", names_except(*COSTS, *RATES))
def test_equal_seeds_give_equal_intervals(name):
    first, same, other = (measure(name, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.draws, same.draws)
    assert (first.low, first.high, first.value) == (same.low, same.high, same.value)
    assert not np.array_equal(first.draws, other.draws)
    assert first.value == other.value


@pytest.mark.parametrize("name", FOREGROUND)
def test_foreground_metric_ignores_the_background(name):
    other_background = torch.where(PERSONS > 0, evaluation_data().stylized, noise(3, 3, SIDE, SIDE, seed=9))
    assert value(name, stylized=other_background) == pytest.approx(value(name), rel=1e-6)


@pytest.mark.parametrize("name", ["fid", "kid", "frechet_lite0", "kernel_lite0"])
def test_whole_picture_metric_includes_the_background(name):
    white_background = torch.where(PERSONS > 0, evaluation_data().stylized, torch.ones(()))
    assert value(name, stylized=white_background) > value(name) + 1e-3


def test_json_has_six_significant_digits():
    content = mean_over_faces(np.array([1 / 3, 1234567.0]), evaluation_data(), network="a").to_json()
    assert content["value"] == 617284.0
    assert (content["n"], content["details"]) == (2, {"network": "a"})


def test_code_hash_depends_on_metrics_and_intervals(monkeypatch, tmp_path):
    changed = tmp_path / "bootstrap.py"
    changed.write_text("CONFIDENCE = 0.99\n")
    before = code_hash()
    monkeypatch.setattr("portraitist.stats.bootstrap.__file__", str(changed))
    assert code_hash() != before


def test_code_hash_and_versions():
    assert len(code_hash()) == 12
    assert code_hash() == code_hash()
    assert library_versions("torch").split()[1].count(".") == 2
    assert "+" not in library_versions("torch")


def test_interval_of_a_mean_has_the_theoretical_width():
    values = np.random.default_rng(7).normal(3, 2, 400)
    measurement = mean_over_faces(values, evaluation_data(bootstrap=2000))
    assert measurement.value == pytest.approx(values.mean())
    assert measurement.low < measurement.value < measurement.high
    assert measurement.high - measurement.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_interval_covers_faces_and_portraits():
    rng = np.random.default_rng(5)
    faces, portraits = rng.normal(1, 0.5, 100), rng.normal(3, 2, 400)
    data = evaluation_data(bootstrap=2000, ids=[str(face) for face in range(100)])
    measurement = mean_relative_to_portraits(lambda indices: faces + portraits[indices].mean(), 400, data, baseline=3)
    assert measurement.value == pytest.approx(faces.mean() + portraits.mean())
    deviation = (faces.var() / 100 + portraits.var() / 400) ** 0.5
    assert measurement.high - measurement.low == pytest.approx(2 * 1.96 * deviation, rel=0.1)
    assert measurement.details == {"n_portraits": 400, "baseline": 3}
    assert measurement.per_face == pytest.approx(faces + portraits.mean())


@pytest.mark.parametrize("name", RELATIVE_TO_PORTRAITS)
def test_interval_includes_variation_of_the_portraits(name):
    near_training = 0.8 * noise(4, 3, SIDE, SIDE, seed=4)[:1] + 0.2 * noise(1, 3, SIDE, SIDE, seed=9)
    same = near_training.expand(4, -1, -1, -1)
    measurement = measure(name, ids=list("abcd"), selfies=same, stylized=same, masks=torch.ones(4, 1, SIDE, SIDE))
    assert measurement.per_face.std() < 1e-12
    assert measurement.low < measurement.value < measurement.high


def test_interval_of_equal_values_has_no_width():
    measurement = mean_over_faces(np.full(5, 0.25), evaluation_data())
    assert (measurement.low, measurement.value, measurement.high) == (0.25, 0.25, 0.25)


def test_faces_without_value_are_left_out_of_mean_and_draws():
    values = np.array([2.0, np.nan, 4.0])
    data = evaluation_data(bootstrap=50)
    measurement = mean_over_faces(values, data)
    assert (measurement.value, measurement.n) == (3, 2)
    assert measurement.draws == pytest.approx(
        [np.nanmean(values[row]) if row.tolist() != [1, 1, 1] else 3 for row in data.resamples(3)]
    )
    with pytest.raises(TooFewSamplesError, match="0 of 2"):
        mean_over_faces(np.array([np.nan, np.nan]), data)


def test_resamples_are_the_same_for_all_methods():
    data, other = evaluation_data(), evaluation_data(stylized=evaluation_data().selfies)
    assert np.array_equal(data.resamples(9), other.resamples(9))
    assert not np.array_equal(data.resamples(9), data.resamples(9, "portraits"))


def test_portraits_compared_with_themselves_are_optimal():
    portraits = evaluation_data().portraits
    same = {"stylized": portraits, "masks": PORTRAIT_PERSONS, "selfies": portraits, "ids": ["a", "b"]}
    assert value("sharpness", **same) == pytest.approx(1)
    assert value("lines", **same) == pytest.approx(1)
    assert value("foreground_frechet_lite0", **same) == pytest.approx(0, abs=1e-9)
    assert value("foreground_frechet_lite0", **same | {"masks": PORTRAIT_PERSONS.flip(0)}) > 1e-6
