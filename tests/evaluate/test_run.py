"""What is kept of evidence, and the feature networks: Inception-v3 with drawn weights, for the published are 96 MB."""

import hashlib
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from test_metrics import evidence
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from toys import FRAME, drawn

from portraitist.core.shards import ShardWriter
from portraitist.evaluate import run
from portraitist.evaluate.params import EvaluateParams
from portraitist.evaluate.registry import AT_ONCE
from portraitist.evaluate.run import (
    SHOWN,
    TILE_PX,
    Nets,
    gather_or_exit,
    keep,
    keep_once,
    measured,
    networks,
    not_painted,
)
from portraitist.learning.tensors import to_pictures
from portraitist.nets.features import Lite0
from portraitist.nets.identity import IdentityError
from portraitist.nets.inception import Inception
from portraitist.stats.bootstrap import confidence_interval
from portraitist.train.batches import DatasetPaths
from portraitist.weights import WeightsError

PARAMS = EvaluateParams(seed=1, features_px=64, inception=False, bootstrap=10, sheet_rows=2)


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    """Inception-v3's weights, drawn so that what it sees neither fades nor overflows (He et al. 2015)."""
    path = tmp_path_factory.mktemp("inception") / "weights.pth"
    net = FeatureExtractorInceptionV3.__new__(FeatureExtractorInceptionV3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "load", lambda *_, **__: None)
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        net.__init__("drawn", ["2048"], feature_extractor_weights_path="none")
    draw = torch.Generator().manual_seed(0)
    for weight in net.state_dict().values():
        if weight.dim() == 4:
            weight.normal_(0, (2 / weight[0].numel()) ** 0.5, generator=draw)
    torch.save(net.state_dict(), path)
    return path


@pytest.mark.slow
def test_inception_sees_the_bytes_of_pictures_as_torch_fidelity_does(state):
    images = drawn(2, 3, 40, 40, seed=3) * 1.2  # some of it must be clipped
    theirs = FeatureExtractorInceptionV3("theirs", ["2048"], feature_extractor_weights_path=str(state))
    pictures = torch.from_numpy(np.stack(to_pictures(images))).permute(0, 3, 1, 2)
    with torch.no_grad():
        (wanted,) = theirs(pictures)
    found = Inception(state).pooled(images)
    assert torch.equal(found, wanted)
    assert not torch.allclose(Inception(state).pooled(images.flip(2)), found, rtol=1e-3)
    assert not found.requires_grad


@pytest.mark.slow
def test_inceptions_metrics_are_there_where_its_weights_are(state, pretrained, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    data = state.read_bytes()
    pinned = replace(run.INCEPTION, name="weights.pth", sha256=hashlib.sha256(data).hexdigest(), size=len(data))
    monkeypatch.setattr(run, "INCEPTION", pinned)
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "weights.pth").write_bytes(data)
    found = networks(PARAMS.model_copy(update={"inception": True}), FRAME, Nets(tmp_path, pretrained, tmp_path))
    assert found["inception"].about["network"].startswith("Inception-v3")
    assert "torch_fidelity 0.4" in found["inception"].about["version"]
    assert found["inception"].features(drawn(2, 3, 32, 32, seed=1)).shape == (2, 2048)
    told = measured(evidence(networks=found, bootstrap=2))
    assert {"fid", "kid", "foreground_fid", "foreground_kid", "fid_limit", "foreground_fid_limit"} <= set(told)


def test_without_inceptions_weights_the_message_says_what_to_do(pretrained, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    nowhere = replace(run.INCEPTION, url="http://127.0.0.1:9/weights.pth")
    monkeypatch.setattr(run, "INCEPTION", nowhere)
    with pytest.raises(WeightsError, match="may also be put at"):
        networks(PARAMS.model_copy(update={"inception": True}), FRAME, Nets(tmp_path, pretrained, tmp_path))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (WeightsError("no net"), r"^evaluate: no net; or `evaluate\.inception: false` in the profile leaves"),
        (IdentityError("two nets"), "^evaluate: two nets$"),
    ],
)
def test_a_stage_whose_networks_cannot_be_had_ends_with_one_line(tmp_path, monkeypatch, error, told):
    def gather(*_):
        raise error

    monkeypatch.setattr(run, "gather", gather)
    shards = tmp_path / "shards"
    with ShardWriter(shards, 1):
        pass  # none is enough here
    folders = DatasetPaths(shards, shards, shards, shards)
    with pytest.raises(SystemExit, match=told):
        gather_or_exit("evaluate", PARAMS, FRAME, not_painted(folders, shards), folders, Nets(shards, shards, shards))


def test_lite0_alone_is_enough(pretrained, tmp_path):
    found = networks(PARAMS, FRAME, Nets(tmp_path, pretrained, tmp_path))
    assert list(found) == ["lite0"]
    assert found["lite0"].about["resize"] == "64 px, bicubic, antialiased"
    images = drawn(2, 3, 64, 64, seed=1)
    with torch.no_grad():
        wanted = Lite0(pretrained / "efficientnet_lite0.pth").pooled(images).numpy()
    assert found["lite0"].features(images) == pytest.approx(wanted, abs=1e-4)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """What is kept of twelve faces that were painted."""
    count, dest = 12, tmp_path_factory.mktemp("kept") / "ours"
    given = evidence(
        ids=[f"{number:016x}" for number in range(count)],
        selfies=drawn(count, 3, 32, 32, seed=1),
        masks=(drawn(count, 1, 32, 32, seed=5) > -0.8).float(),
        painted=drawn(count, 3, 32, 32, seed=2),
    )
    keep(measured(given), given, 2, dest)
    named = pd.DataFrame({"id": given.ids[::-1], "source": ["b"] * 6 + ["a"] * 6})
    keep_once(given, named, dest)
    return given, dest


def test_every_number_travels_with_what_it_is(kept):
    _, dest = kept
    told = json.loads((dest / "metrics.json").read_text())
    for found in told.values():
        assert {"value", "low", "high", "n", "about", "goal", "says"} == set(found)
        assert {"code", "seed", "bootstrap"} <= set(found["about"])
    assert told["kernel_lite0"]["about"]["network"] == "mean colours"
    assert told["background_bleed"]["n"] == 12


def test_each_faces_own_values_and_every_draw_are_kept(kept):
    given, dest = kept
    told = json.loads((dest / "metrics.json").read_text())
    faces, draws = pd.read_csv(dest / "faces.csv", dtype={"id": str}), pd.read_csv(dest / "draws.csv")
    assert list(faces["id"]) == given.ids
    assert "fid" not in faces
    assert len(draws) == given.bootstrap
    for metric in ("background_bleed", "memorised_lite0", "face_box_iou"):
        assert faces[metric].mean() == pytest.approx(told[metric]["value"], rel=1e-4)
    assert set(draws) == set(told) - {"cost_gflop", "cost_megabytes"}
    low, high = confidence_interval(told["kid"]["value"], draws["kid"].to_numpy(), told["kid"]["about"]["n_portraits"])
    assert (told["kid"]["low"], told["kid"]["high"]) == (pytest.approx(low, rel=1e-3), pytest.approx(high, rel=1e-3))


def test_the_best_and_the_worst_faces_are_shown_by_each_metric(kept):
    _, dest = kept
    faces = pd.read_csv(dest / "faces.csv")
    for metric in [column for column in faces if column != "id"]:
        with Image.open(dest / f"{metric}.jpg") as shown:
            assert shown.width == SHOWN * (TILE_PX + 4) + 4
            assert shown.height == 2 * (2 * (TILE_PX + 4) + 4 + 16)


def test_what_no_method_changes_is_told_apart_from_the_methods(kept):
    given, dest = kept
    assert list(json.loads((dest / "segmenter.json").read_text())) == ["mask_iou_held"]
    groups = pd.read_csv(dest / "groups.csv", dtype={"id": str})
    assert list(groups.columns) == ["id", "tone", "light", "pose", "source"]
    assert list(groups["id"]) == given.ids
    assert list(groups["source"]) == ["a"] * 6 + ["b"] * 6


def test_a_metric_of_no_faces_is_left_out_and_said_so(capsys):
    found = measured(evidence(find=lambda picture: None))
    assert "background_bleed" in found
    assert not [name for name in found if name.startswith("face_")]
    assert "face_found is left out: 0 of 3 faces have a value" in capsys.readouterr().err


def test_no_more_pictures_are_in_memory_than_one_part(pretrained):
    """Every stack is asked for parts; one that was asked for all at once would be seen here."""
    count, asked = 40, []

    class Watched:
        def __init__(self, tensor):
            self.tensor = tensor

        def __len__(self):
            return len(self.tensor)

        def __getitem__(self, part):
            asked.append(len(self.tensor[part]))
            return self.tensor[part]

    images = [Watched(drawn(count, 3, 32, 32, seed=seed)) for seed in range(4)]
    masks = Watched(torch.ones(count, 1, 32, 32).tril())
    given = evidence(
        ids=[str(number) for number in range(count)],
        selfies=images[0],
        masks=masks,
        painted=images[1],
        turned=[images[1]] * 8,
        portraits=images[2],
        portrait_masks=masks,
        studied=images[3],
        studied_masks=masks,
        bootstrap=2,
    )
    measured(given)
    assert max(asked) == AT_ONCE
