"""Loading networks and saving results. Inception-v3 has random weights here: the published file has 96 MB."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from evaluation_toys import CROP_PARAMS, evaluation_data, noise
from PIL import Image
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from portraitist.core.shards import ShardWriter
from portraitist.evaluate import run
from portraitist.evaluate.data import BATCH_SIZE
from portraitist.evaluate.inception import Inception
from portraitist.evaluate.params import EvaluateParams
from portraitist.evaluate.run import (
    COST_FILE,
    EXTREMES,
    TILE_PX,
    ModelPaths,
    load_data_or_exit,
    load_networks,
    measure_all,
    save_results,
    save_shared_results,
    stylized_by_method,
    unchanged_selfies,
)
from portraitist.learning.dataset import DatasetPaths
from portraitist.learning.features import Lite0
from portraitist.learning.tensors import to_pictures
from portraitist.stats.bootstrap import confidence_interval
from portraitist.weights import WeightsError

PARAMS = EvaluateParams(seed=1, features_px=64, inception=False, bootstrap=10, sheet_rows=2)
WITH_INCEPTION = PARAMS.model_copy(update={"inception": True})


@pytest.fixture(scope="module")
def inception_weights(tmp_path_factory):
    """Random weights of Inception-v3, scaled so that activations neither vanish nor overflow (He et al., 2015)."""
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    net = FeatureExtractorInceptionV3.__new__(FeatureExtractorInceptionV3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "load", lambda *_, **__: None)
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        net.__init__("random", ["2048"], feature_extractor_weights_path="none")
    generator = torch.Generator().manual_seed(0)
    for weight in net.state_dict().values():
        if weight.dim() == 4:
            weight.normal_(0, (2 / weight[0].numel()) ** 0.5, generator=generator)
    torch.save(net.state_dict(), path)
    return path


@pytest.mark.slow
def test_inception_features_equal_those_of_torch_fidelity(inception_weights):
    images = noise(2, 3, 40, 40, seed=3) * 1.2  # some values must be clipped
    reference = FeatureExtractorInceptionV3(
        "reference", ["2048"], feature_extractor_weights_path=str(inception_weights)
    )
    pictures = torch.from_numpy(np.stack(to_pictures(images))).permute(0, 3, 1, 2)
    with torch.no_grad():
        (expected,) = reference(pictures)
    features = Inception(inception_weights).pooled(images)
    assert torch.equal(features, expected)
    assert not torch.allclose(Inception(inception_weights).pooled(images.flip(2)), features, rtol=1e-3)
    assert not features.requires_grad


@pytest.mark.slow
def test_inception_metrics_with_cached_weights(inception_weights, pretrained, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    data = inception_weights.read_bytes()
    pinned = replace(run.INCEPTION, name="weights.pth", sha256=hashlib.sha256(data).hexdigest(), size=len(data))
    monkeypatch.setattr(run, "INCEPTION", pinned)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "weights.pth").write_bytes(data)
    networks = load_networks(WITH_INCEPTION, ModelPaths(tmp_path, pretrained, tmp_path))
    assert networks["inception"].details["network"].startswith("Inception-v3")
    assert "torch_fidelity 0.4" in networks["inception"].details["version"]
    assert networks["inception"].features(noise(2, 3, 32, 32, seed=1)).shape == (2, 2048)
    measurements = measure_all(evaluation_data(networks=networks, bootstrap=2))
    assert {"fid", "kid", "foreground_fid", "foreground_kid", "fid_limit", "foreground_fid_limit"} <= set(measurements)


def test_unavailable_inception_weights_are_an_error(pretrained, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(run, "INCEPTION", replace(run.INCEPTION, url="http://127.0.0.1:9/weights.pth"))
    with pytest.raises(WeightsError, match=str(tmp_path / "checkpoints")):
        load_networks(WITH_INCEPTION, ModelPaths(tmp_path, pretrained, tmp_path))


def test_missing_inception_names_the_key_that_skips_it(tmp_path, monkeypatch):
    def load_data(*_):
        raise WeightsError("no network")

    monkeypatch.setattr(run, "load_data", load_data)
    shards = tmp_path / "shards"
    with ShardWriter(shards, 1):
        pass
    paths = DatasetPaths(shards, shards, shards, shards)
    selfies, models = unchanged_selfies(paths, shards), ModelPaths(shards, shards, shards)
    with pytest.raises(SystemExit, match=r"^evaluate: no network.*evaluate\.inception: false"):
        load_data_or_exit("evaluate", PARAMS, CROP_PARAMS, selfies, paths, models)


def test_lite0_and_lite2_are_always_loaded(pretrained, tmp_path):
    networks = load_networks(PARAMS, ModelPaths(tmp_path, pretrained, tmp_path))
    assert list(networks) == ["lite0", "lite2"]
    assert [net.details["network"] for net in networks.values()] == ["EfficientNet-Lite0", "EfficientNet-Lite2"]
    assert networks["lite2"].details["resize"] == "224 px, bicubic, antialiased"
    assert networks["lite0"].details["resize"] == "64 px, bicubic, antialiased"
    images = noise(2, 3, 64, 64, seed=1)
    with torch.no_grad():
        expected = Lite0(pretrained / "efficientnet_lite0.pth").pooled(images).numpy()
    assert networks["lite0"].features(images) == pytest.approx(expected, abs=1e-4)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The data of twelve faces, and the folder with its saved results."""
    count, folder = 12, tmp_path_factory.mktemp("saved") / "ours"
    data = evaluation_data(
        ids=[f"{number:016x}" for number in range(count)],
        selfies=noise(count, 3, 32, 32, seed=1),
        training_selfies=noise(count, 3, 32, 32, seed=6),
        training_selfie_masks=(noise(count, 1, 32, 32, seed=7) > -0.8).float(),
        masks=(noise(count, 1, 32, 32, seed=5) > -0.8).float(),
        stylized=noise(count, 3, 32, 32, seed=2),
    )
    save_results(measure_all(data), data, 2, folder)
    sources = pd.DataFrame({"id": data.ids[::-1], "source": ["b"] * 6 + ["a"] * 6})
    save_shared_results(data, sources, folder)
    return data, folder


def test_json_describes_each_value(saved):
    _, folder = saved
    results = json.loads((folder / "metrics.json").read_text())
    for result in results.values():
        assert set(result) == {"value", "low", "high", "n", "optimum", "unit", "description", "details"}
        assert {"code", "seed", "bootstrap"} <= set(result["details"])
    assert results["kernel_lite0"]["details"]["network"] == "mean colours"
    assert results["background_bleed"]["n"] == 12
    assert results["background_sensitivity"]["unit"] == "ΔE"


def test_values_per_face_and_draws_are_saved(saved):
    data, folder = saved
    results = json.loads((folder / "metrics.json").read_text())
    faces, draws = pd.read_csv(folder / "faces.csv", dtype={"id": str}), pd.read_csv(folder / "draws.csv")
    assert list(faces["id"]) == data.ids
    assert "fid" not in faces
    assert len(draws) == data.bootstrap
    for metric in ("background_bleed", "memorised_lite0", "face_box_iou"):
        assert faces[metric].mean() == pytest.approx(results[metric]["value"], rel=1e-4)
    assert set(draws) == set(results) - {"cost_gflop", "cost_megabytes"}
    kid = results["kid"]
    low, high = confidence_interval(kid["value"], draws["kid"].to_numpy(), kid["details"]["n_portraits"])
    assert (kid["low"], kid["high"]) == (pytest.approx(low, rel=1e-3), pytest.approx(high, rel=1e-3))


def test_best_and_worst_faces_are_shown_for_each_metric(saved):
    _, folder = saved
    faces = pd.read_csv(folder / "faces.csv")
    for metric in [column for column in faces if column != "id"]:
        with Image.open(folder / f"{metric}.jpg") as sheet:
            assert sheet.width == EXTREMES * (TILE_PX + 4) + 4
            assert sheet.height == 2 * (2 * (TILE_PX + 4) + 4 + 16)


def test_shared_results_are_saved_separately(saved):
    data, folder = saved
    assert list(json.loads((folder / "held_out.json").read_text())) == ["mask_iou_held_out", "painted_rate_held_out"]
    groups = pd.read_csv(folder / "groups.csv", dtype={"id": str})
    assert list(groups.columns) == ["id", "tone", "light", "pose", "source"]
    assert list(groups["id"]) == data.ids
    assert list(groups["source"]) == ["a"] * 6 + ["b"] * 6


def test_saved_features_are_not_computed_again(saved, tmp_path):
    data, folder = saved
    computed = []

    def features(images):
        computed.append(len(images))
        return images.mean((2, 3)).numpy()

    with ShardWriter(tmp_path / "stylized", 1):
        pass
    (tmp_path / "stylized" / COST_FILE).write_text('{"gflop": 1.5, "megabytes": 2.25}')
    selfies = stylized_by_method(tmp_path / "stylized", folder)
    networks = {name: replace(network, features=features) for name, network in data.networks.items()}
    again = replace(data, networks=networks, cache=dict(selfies.known_features))
    measurements = measure_all(again)
    # Avatars, by four networks; Lite0 and Inception also see whole pictures. `identity` aligns avatars and selfies.
    assert computed == [12] * 7
    expected = json.loads((folder / "metrics.json").read_text())
    assert {name: result.to_json()["value"] for name, result in measurements.items()} == {
        name: pytest.approx(result["value"], rel=1e-4, abs=1e-6) for name, result in expected.items()
    }


def test_metric_without_faces_is_skipped_with_a_warning(capsys):
    measurements = measure_all(evaluation_data(find_face=lambda picture: None))
    assert "background_bleed" in measurements
    assert not [name for name in measurements if name.startswith("face_")]
    warnings = capsys.readouterr().err.splitlines()
    assert any("face_found" in line and "0 of 3" in line for line in warnings)


def test_images_are_loaded_in_batches():
    count, sizes = 40, []

    class Recorder:
        def __init__(self, tensor):
            self.tensor = tensor

        def __len__(self):
            return len(self.tensor)

        def __getitem__(self, part):
            sizes.append(len(self.tensor[part]))
            return self.tensor[part]

    selfies, stylized, portraits, training_selfies, training_portraits = (
        Recorder(noise(count, 3, 32, 32, seed=seed)) for seed in range(5)
    )
    masks = Recorder(torch.ones(count, 1, 32, 32).tril())
    data = evaluation_data(
        ids=[str(number) for number in range(count)],
        selfies=selfies,
        masks=masks,
        stylized=stylized,
        on_backgrounds=[stylized] * 8,
        portraits=portraits,
        portrait_masks=masks,
        training_selfies=training_selfies,
        training_selfie_masks=masks,
        training_portraits=training_portraits,
        training_portrait_masks=masks,
        bootstrap=2,
    )
    measure_all(data)
    assert max(sizes) == BATCH_SIZE
