import json
from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import torch
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, kid_features_to_metric
from toys import FRAME, boxes, drawn

from portraitist.augment.render import TEST_BACKGROUNDS
from portraitist.crop.geometry import Face
from portraitist.evaluate._cosine import apart, nearest
from portraitist.evaluate._edges import lines, sharpness
from portraitist.evaluate._frechet import extrapolated, frechet
from portraitist.evaluate._groups import groups, light, pose, tone
from portraitist.evaluate._held import measure as measure_held
from portraitist.evaluate._kernel import kernel
from portraitist.evaluate._overlap import overlaps
from portraitist.evaluate._skin import background_colours, colours, skin_of, skins
from portraitist.evaluate.face_found import wilson
from portraitist.evaluate.registry import (
    AT_ONCE,
    Evidence,
    Network,
    by_parts,
    code,
    foreground,
    masks_by,
    mean_beside_portraits,
    mean_over_faces,
    metrics,
    pooled_features,
    versions,
)
from portraitist.learning.tensors import to_images
from portraitist.nets.unet import UNet

SIDE = 32
PERSONS = boxes((5, 30, 4, 24), (3, 32, 9, 29), (6, 28, 7, 27), height=SIDE, width=SIDE)
OTHERS = boxes((4, 31, 8, 30), (7, 29, 2, 23), height=SIDE, width=SIDE)
STUDIED = boxes((3, 30, 5, 28), (8, 31, 6, 20), (2, 27, 9, 31), (5, 25, 3, 22), height=SIDE, width=SIDE)
NETWORKS = ("lite0", "inception", "identity")
NAMES = sorted(metrics(NETWORKS))
OF_SETS = [name for name in NAMES if "frechet" in name or "kernel" in name or "fid" in name or "kid" in name]
COSTS = ["cost_gflop", "cost_megabytes"]
OWN = ("foreground", "background", "content", "mask", "memorised", "sharpness", "lines")
MASKED = [name for name in NAMES if name.startswith(OWN)]
FACES = ["face_box_iou", "face_found", "face_landmark_error"]


def mean_colours(images):
    """Features that can be reckoned by hand: each image's mean red, green and blue."""
    return images.mean((2, 3)).numpy()


def network(features=mean_colours):
    return Network(features, {"network": "mean colours", "resize": "none", "version": "of this test"})


def brightest(picture):
    """A face around a picture's brightest pixel, so that another picture has it elsewhere; none in a plain picture."""
    grey = picture.astype(int).sum(axis=-1)
    if grey.min() == grey.max():
        return None
    y, x = np.unravel_index(grey.argmax(), grey.shape)
    around = np.array([[-2, -1], [2, -1], [0, 1], [0, 3], [-4, 0], [4, 0]], np.float32)
    return Face(0.9, (x - 5.0, y - 4.0, x + 5.0, y + 6.0), around + np.array([x, y], np.float32))


def evidence(**changed):
    """Noise, whose every pixel counts: three selfies, two portraits, four that were trained on."""
    given = {
        "ids": ["a", "b", "c"],
        "selfies": drawn(3, 3, SIDE, SIDE, seed=1),
        "masks": PERSONS,
        "painted": drawn(3, 3, SIDE, SIDE, seed=2),
        "portraits": drawn(2, 3, SIDE, SIDE, seed=3),
        "portrait_masks": OTHERS,
        "studied": drawn(4, 3, SIDE, SIDE, seed=4),
        "studied_masks": STUDIED,
        "segmenter": lambda images: (images[:, :1] > 0).float(),
        "find": brightest,
        "frame": FRAME,
        "networks": dict.fromkeys(NETWORKS, network()),
        "cost": {"gflop": 1.5, "megabytes": 2.25},
        "bootstrap": 20,
        "seed": 1,
    }
    given |= changed
    count = len(given["painted"])
    turned = [drawn(count, 3, SIDE, SIDE, seed=20 + place) for place in range(len(TEST_BACKGROUNDS))]
    return Evidence(**{"turned": turned} | given)


def measured(name, **changed):
    return metrics(NETWORKS)[name].measure(evidence(**changed))


def value(name, **changed):
    return measured(name, **changed).value


def plain(*levels, masks=None, behind=0):
    """Pictures of one grey each, and behind the persons another."""
    pictures = [np.full((SIDE, SIDE, 3), level, np.uint8) for level in levels]
    if masks is not None:
        for picture, mask in zip(pictures, masks[:, 0].numpy(), strict=True):
            picture[mask == 0] = behind
    return to_images(pictures)


def lightness(level):
    """L of CIELAB of an sRGB grey, by the standard's formula."""
    share = level / 255
    linear = share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4
    return 116 * linear ** (1 / 3) - 16


# What all metrics promise


def test_the_metrics_are_the_files():
    assert NAMES == [
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
        "foreground_kid",
        "frechet_limit_lite0",
        "frechet_lite0",
        "identity",
        "kernel_lite0",
        "kid",
        "lines",
        "mask_iou_painted",
        "memorised_lite0",
        "sharpness",
    ]


def test_without_inception_nothing_is_called_fid_or_kid():
    offline = metrics({"lite0": network()})
    assert [name for name in NAMES if name not in offline] == [
        name for name in NAMES if "fid" in name or "kid" in name or name == "identity"
    ]
    assert not any(word in metric.says and "not" not in metric.says for metric in offline.values() for word in ("FID",))


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_says_what_it_is_and_on_how_many_faces(name):
    metric = metrics(NETWORKS)[name]
    assert 30 < len(metric.says) < 200
    found = measured(name)
    assert found.n == (1 if name in COSTS else 3)
    assert found.low <= found.value <= found.high or name in OF_SETS
    assert found.low <= found.high
    assert json.loads(json.dumps(found.rounded()))["n"] == found.n
    if metric.network:
        assert found.about["network"] == "mean colours"
        assert found.about["resize"] == "none"
        assert found.about["version"] == "of this test"
        assert name.endswith(("lite0", "fid", "kid", "fid_limit", "identity"))


@pytest.mark.parametrize("name", OF_SETS)
def test_a_distance_says_which_pixels_it_saw_and_of_how_many_portraits(name):
    assert measured(name).about["n_portraits"] == 2
    assert measured(name).about["seen"] == ("person on grey" if "foreground" in name else "whole picture")


@pytest.mark.parametrize("name", MASKED)
def test_the_wrong_masks_turn_the_number(name):
    cut = PERSONS.clone()
    cut[..., :14] = 0
    assert value(name, masks=cut) != pytest.approx(value(name), rel=1e-3)


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name not in (*COSTS, "background_sensitivity", "face_found")]
)
def test_another_painting_turns_the_number(name):
    assert value(name, painted=drawn(3, 3, SIDE, SIDE, seed=30) * 0.9) != pytest.approx(value(name), rel=1e-3)


@pytest.mark.parametrize("name", [*OF_SETS, "background_bleed", "memorised_lite0", "sharpness", "lines"])
def test_other_portraits_turn_the_number(name):
    assert value(name, portraits=drawn(2, 3, SIDE, SIDE, seed=33) * 0.5) != pytest.approx(value(name), rel=0.01)


@pytest.mark.parametrize("name", OF_SETS)
def test_swapped_faces_turn_no_distance_of_sets_and_swapped_sets_do(name):
    order = torch.tensor([2, 0, 1])
    swapped = evidence().painted[order], evidence().masks[order]
    if "limit" not in name:  # its halves are drawn by place
        assert value(name, painted=swapped[0], masks=swapped[1]) == pytest.approx(value(name))
    assert value(name, painted=evidence().selfies) != pytest.approx(value(name), rel=1e-3)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OF_SETS + COSTS])
def test_swapped_faces_are_not_the_pairs_they_were(name):
    """A metric of pairs must join each avatar with its own selfie; what looks at one set only keeps its mean."""
    order = torch.tensor([2, 0, 1])
    before, after = measured(name), measured(name, painted=evidence().painted[order])
    assert not np.array_equal(before.each, after.each) or name in ("background_sensitivity", "face_found")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in (*COSTS, "face_found")])
def test_equal_seeds_give_equal_intervals(name):
    one, same, other = (measured(name, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(one.draws, same.draws)
    assert (one.low, one.high, one.value) == (same.low, same.high, same.value)
    assert not np.array_equal(one.draws, other.draws)
    assert one.value == other.value


@pytest.mark.parametrize(
    "name", [name for name in NAMES if "foreground" in name or name in ("content_lite0", "memorised_lite0")]
)
def test_a_metric_of_the_foreground_sees_no_background(name):
    moved = torch.where(PERSONS > 0, evidence().painted, drawn(3, 3, SIDE, SIDE, seed=9))
    assert value(name, painted=moved) == pytest.approx(value(name), rel=1e-6)


@pytest.mark.parametrize("name", ["fid", "kid", "frechet_lite0", "kernel_lite0"])
def test_a_metric_of_the_whole_picture_counts_the_background_as_style(name):
    moved = torch.where(PERSONS > 0, evidence().painted, torch.ones(()))
    assert value(name, painted=moved) > value(name) + 1e-3


def test_a_soft_edge_belongs_to_the_foreground_wholly_or_not_at_all():
    images, masks = plain(200, 200), torch.full((2, 1, SIDE, SIDE), 0.5)
    masks[1] = 0.51
    seen = foreground(images, masks)
    assert seen[0].abs().max() == 0
    assert torch.equal(seen[1], images[1])


def test_a_number_is_rounded_to_six_digits_and_a_count_is_not():
    told = mean_over_faces(np.array([1 / 3, 1234567.0]), evidence(), network="a").rounded()
    assert told["value"] == 617284.0
    assert (told["n"], told["about"]) == (2, {"network": "a"})


def test_the_code_of_a_number_is_told_without_a_commit():
    assert len(code()) == 12
    assert code() == code()
    assert versions("torch").split()[1].count(".") == 2
    assert "+" not in versions("torch")


def test_a_function_sees_every_picture_once_in_parts():
    seen = []

    def mean(images, masks):
        seen.append((len(images), len(masks)))
        return images.mean((1, 2, 3)).numpy()

    images = drawn(2 * AT_ONCE + 3, 3, 4, 4, seed=1)
    found = by_parts(mean, images, images[:, :1])
    assert seen == [(AT_ONCE, AT_ONCE), (AT_ONCE, AT_ONCE), (3, 3)]
    assert found == pytest.approx(images.mean((1, 2, 3)).numpy())


def test_features_of_one_set_are_made_once():
    asked = []

    def see(images):
        asked.append(len(images))
        return mean_colours(images)

    given = evidence(networks={"lite0": network(see)})
    for name in ("content_lite0", "foreground_kernel_lite0", "memorised_lite0"):
        metrics({"lite0": 0})[name].measure(given)
    assert sorted(asked) == [2, 3, 3, 4]  # portraits, painted, selfies, studied


# The interval


def test_the_interval_of_a_mean_is_as_wide_as_theory_says():
    values = np.random.default_rng(7).normal(3, 2, 400)
    measured = mean_over_faces(values, evidence(bootstrap=2000))
    assert measured.value == pytest.approx(values.mean())
    assert measured.low < measured.value < measured.high
    assert measured.high - measured.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_the_interval_of_what_is_held_against_portraits_is_over_both():
    rng = np.random.default_rng(5)
    faces, portraits = rng.normal(1, 0.5, 100), rng.normal(3, 2, 400)
    given = evidence(bootstrap=2000, ids=[str(face) for face in range(100)])
    found = mean_beside_portraits(lambda chosen: faces + portraits[chosen].mean(), 400, given, usual=3)
    assert found.value == pytest.approx(faces.mean() + portraits.mean())
    spread = (faces.var() / 100 + portraits.var() / 400) ** 0.5
    assert found.high - found.low == pytest.approx(2 * 1.96 * spread, rel=0.1)
    assert found.about == {"n_portraits": 400, "usual": 3}
    assert found.each == pytest.approx(faces + portraits.mean())


@pytest.mark.parametrize("name", ["background_bleed", "sharpness", "lines", "memorised_lite0"])
def test_other_portraits_would_give_another_number_and_the_interval_knows(name):
    near = 0.8 * drawn(4, 3, SIDE, SIDE, seed=4)[:1] + 0.2 * drawn(1, 3, SIDE, SIDE, seed=9)  # to one trained on
    same = near.expand(4, -1, -1, -1)
    found = measured(name, ids=list("abcd"), selfies=same, painted=same, masks=torch.ones(4, 1, SIDE, SIDE))
    assert found.each.std() < 1e-12
    assert found.low < found.value < found.high


def test_where_all_faces_agree_the_interval_has_no_width():
    measured = mean_over_faces(np.full(5, 0.25), evidence())
    assert (measured.low, measured.value, measured.high) == (0.25, 0.25, 0.25)


@pytest.mark.parametrize("name", ["foreground_frechet_lite0", "foreground_kernel_lite0", "fid_limit"])
def test_the_interval_of_a_distance_of_sets_holds_it(name):
    some = [drawn(20, 3, SIDE, SIDE, seed=seed) for seed in (1, 2, 3)]
    masks = torch.ones(20, 1, SIDE, SIDE)
    found = measured(name, selfies=some[0], painted=some[1] + 0.2, portraits=some[2], masks=masks, portrait_masks=masks)
    assert found.low < found.value < found.high
    assert found.about["n_portraits"] == 20
    assert len(found.draws) == 20


def test_of_many_pictures_fewer_frechet_draws_are_made_and_they_stay_in_step(monkeypatch):
    all_of_them = measured("fid")
    monkeypatch.setattr("portraitist.evaluate._frechet.MANY", 2)
    monkeypatch.setattr("portraitist.evaluate._frechet.FEW_DRAWS", 5)
    some = measured("fid")
    assert some.draws[:5].tolist() == all_of_them.draws[:5].tolist()
    assert np.isnan(some.draws[5:]).all()
    assert len(some.draws) == 20
    assert some.low < some.high
    assert np.isfinite(measured("kid").draws).all()


def test_faces_without_a_value_count_in_no_mean_and_no_draw():
    values = np.array([2.0, np.nan, 4.0])
    found = mean_over_faces(values, evidence(bootstrap=50))
    assert (found.value, found.n) == (3, 2)
    drawn_rows = evidence(bootstrap=50).draws(3)
    assert found.draws == pytest.approx(
        [np.nanmean(values[row]) if row.tolist() != [1, 1, 1] else 3 for row in drawn_rows]
    )
    with pytest.raises(ValueError, match="0 of 2 faces have a value"):
        mean_over_faces(np.array([np.nan, np.nan]), evidence())


def test_faces_and_portraits_are_drawn_apart_and_for_every_method_alike():
    assert np.array_equal(evidence().draws(9), evidence(painted=evidence().selfies).draws(9))
    assert not np.array_equal(evidence().draws(9), evidence().draws(9, "portraits"))


# Distances of sets


def spread(means, deviations):
    """Features with just these means and just this diagonal covariance."""
    width = len(means)
    arms = np.diag(deviations) * np.sqrt((2 * width - 1) / 2)
    return np.concatenate([arms, -arms]) + means


def test_frechet_of_diagonal_gaussians_is_the_formula():
    one, other = spread([1.0, -2.0, 0.5], [1.0, 0.5, 3.0]), spread([0.0, 1.0, 0.5], [2.0, 0.25, 3.0])
    assert np.cov(one.T) == pytest.approx(np.diag([1.0, 0.25, 9.0]))
    assert frechet(one, other) == pytest.approx(1 + 9 + 0 + (1 - 2) ** 2 + (0.5 - 0.25) ** 2 + 0)


def test_frechet_is_the_one_with_the_root_of_a_matrix():
    rng = np.random.default_rng(3)
    one, other = rng.normal(size=(40, 6)) @ rng.normal(size=(6, 6)), rng.normal(size=(25, 6)) + 0.3
    first, second = np.cov(one.T), np.cov(other.T)
    means = one.mean(0) - other.mean(0)
    root = scipy.linalg.sqrtm(first @ second).real
    assert frechet(one, other) == pytest.approx(means @ means + np.trace(first + second - 2 * root))


def test_frechet_holds_where_pictures_are_fewer_than_features():
    rng = np.random.default_rng(3)
    one, other = rng.normal(size=(5, 30)), rng.normal(size=(4, 30))
    first, second = np.cov(one.T) + 1e-9 * np.eye(30), np.cov(other.T) + 1e-9 * np.eye(30)
    means, root = one.mean(0) - other.mean(0), scipy.linalg.sqrtm(first @ second).real
    assert frechet(one, other) == pytest.approx(means @ means + np.trace(first + second - 2 * root), rel=1e-3)


def test_a_set_has_no_frechet_distance_from_itself_in_any_order():
    features = np.random.default_rng(3).normal(size=(12, 5))
    assert frechet(features, features[::-1]) == pytest.approx(0, abs=1e-9)


def test_painted_portraits_have_no_frechet_distance_from_portraits():
    same = {"painted": evidence().portraits, "masks": OTHERS, "selfies": evidence().portraits, "ids": ["a", "b"]}
    assert value("foreground_frechet_lite0", **same) == pytest.approx(0, abs=1e-9)
    assert value("foreground_frechet_lite0", **same | {"masks": OTHERS.flip(0)}) > 1e-6


def test_frechet_of_more_pictures_than_features_is_that_of_their_covariances():
    rng = np.random.default_rng(3)
    many, few = rng.normal(size=(400, 5)), rng.normal(size=(4, 5)) * 2
    first, second = np.cov(many.T), np.cov(few.T) + 1e-12 * np.eye(5)
    means, root = many.mean(0) - few.mean(0), scipy.linalg.sqrtm(first @ second).real
    assert frechet(many, few) == pytest.approx(means @ means + np.trace(first + second - 2 * root), rel=1e-4)


@pytest.mark.parametrize(("count", "others", "width"), [(300, 200, 12), (20, 25, 48)])
def test_frechet_is_torch_fidelitys_on_the_same_features(count, others, width):
    rng = np.random.default_rng(11)
    one, other = rng.gamma(2, size=(count, width)), rng.gamma(2.5, size=(others, width))
    theirs = fid_statistics_to_metric(
        *(fid_features_to_statistics(torch.from_numpy(some)) for some in (one, other)), verbose=False
    )
    assert frechet(one, other) == pytest.approx(theirs["frechet_inception_distance"], rel=1e-3)


def test_kernel_is_torch_fidelitys_on_the_same_features():
    rng = np.random.default_rng(11)
    one, other = rng.gamma(2, size=(60, 12)), rng.gamma(2.5, size=(60, 12))
    theirs = kid_features_to_metric(
        torch.from_numpy(one), torch.from_numpy(other), kid_subsets=1, kid_subset_size=60, verbose=False
    )
    assert kernel(one, other) == pytest.approx(theirs[KEY_METRIC_KID_MEAN], rel=1e-3)


def test_the_extrapolation_takes_the_bias_of_few_pictures_out():
    """Two Gaussians in eight dimensions whose distance is known: 8 * .3^2 + 8 * (1.2 - 1)^2 = 1.04."""
    rng = np.random.default_rng(2)
    pairs = [(rng.normal(size=(60, 8)), rng.normal(0.3, 1.2, size=(60, 8))) for _ in range(60)]
    raw = np.mean([frechet(*pair) for pair in pairs])
    without_end = [extrapolated(*pair) for pair in pairs]
    assert raw > 1.15
    assert abs(np.mean(without_end) - 1.04) < 3 * np.std(without_end) / np.sqrt(60) + 0.02


def test_kernel_is_the_double_loop_without_pairs_of_the_same_picture():
    rng = np.random.default_rng(5)
    one, other = rng.normal(size=(4, 3)), rng.normal(size=(6, 3)) + 0.4

    def similar(a, b):
        return (sum(a[k] * b[k] for k in range(3)) / 3 + 1) ** 3

    def among(some):
        pairs = [(i, j) for i in range(len(some)) for j in range(len(some)) if i != j]
        return sum(similar(some[i], some[j]) for i, j in pairs) / len(pairs)

    between = sum(similar(a, b) for a in one for b in other) / (4 * 6)
    assert kernel(one, other) == pytest.approx(among(one) + among(other) - 2 * between)


def test_kernel_is_zero_on_average_between_sets_of_one_kind():
    rng = np.random.default_rng(5)
    found = [kernel(rng.normal(size=(6, 3)), rng.normal(size=(8, 3))) for _ in range(200)]
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(200)
    assert min(found) < 0


def test_kernel_of_one_picture_is_refused():
    with pytest.raises(ValueError, match="1 and 4 pictures; two of each are needed"):
        kernel(np.ones((1, 3)), np.ones((4, 3)))


def test_content_is_one_minus_the_cosine_averaged_over_faces():
    answers = iter([np.array([[0.0, 2.0], [6.0, 0.0]]), np.array([[1.0, 0.0], [3.0, 4.0]])])
    two = {"selfies": plain(10, 20), "painted": plain(30, 40), "masks": PERSONS[:2]}
    found = value("content_lite0", networks={"lite0": network(lambda _: next(answers))}, **two)
    assert found == pytest.approx((1 + (1 - 0.6)) / 2)


def test_equal_features_are_no_rounding_error_apart():
    features = np.random.default_rng(0).normal(size=(50, 1280))
    assert apart(features, features * 3).tolist() == [0] * 50
    assert nearest(features[:5], features).tolist() == [0] * 5


def test_a_copy_of_a_trained_portrait_is_memorised_and_what_is_as_far_as_others_is_not():
    unit = lambda *degrees: np.stack([np.cos(np.radians(degrees)), np.sin(np.radians(degrees))], axis=1)
    away = lambda degrees: 1 - np.cos(np.radians(degrees))
    answers = iter([unit(0, 10, 60), unit(20, 20), unit(0, 90)])  # painted, portraits, studied
    networks = {"lite0": network(lambda _: next(answers))}
    found = measured("memorised_lite0", networks=networks)
    assert found.each == pytest.approx([1, 1 - away(10) / away(20), 0], abs=1e-6)
    assert found.about["n_studied"] == 2


# Backgrounds


def bled(level):
    """Persons of grey 60 before grey 200 in the portraits; of one grey in what was painted."""
    portraits = plain(60, 60, masks=OTHERS, behind=200)
    return value("background_bleed", portraits=portraits, painted=plain(level, level, level))


def test_bleed_is_0_at_the_portraits_skin_and_1_at_their_background():
    assert bled(60) == pytest.approx(0, abs=1e-6)
    assert bled(200) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("level", [100, 20, 230])
def test_bleed_between_and_beyond_is_the_share_of_the_way_in_lightness(level):
    share = (lightness(level) - lightness(60)) / (lightness(200) - lightness(60))
    assert bled(level) == pytest.approx(share, abs=0.01)


def test_bleed_is_measured_on_the_painted_skin_only():
    painted = plain(60, 60, 60, masks=PERSONS, behind=200)
    portraits = plain(60, 60, masks=OTHERS, behind=200)
    assert value("background_bleed", portraits=portraits, painted=painted) == pytest.approx(0, abs=1e-6)


def test_bleed_is_measured_where_the_selfie_has_its_skin():
    painted = plain(60, 60, 60)
    for image, skin in zip(painted, skins(evidence().selfies, PERSONS, FRAME), strict=True):
        image[:, torch.from_numpy(skin)] = 200 / 127.5 - 1
    portraits = plain(60, 60, masks=OTHERS, behind=200)
    assert value("background_bleed", portraits=portraits, painted=painted) == pytest.approx(1, abs=1e-6)


def test_repainted_is_the_mean_change_outside_the_person():
    selfies = plain(100, 100, 100)
    painted = plain(250, 30, 100, masks=PERSONS, behind=100)
    assert value("background_repainted", selfies=selfies, painted=painted) == pytest.approx(0, abs=1e-4)
    painted = plain(100, 112, 97)
    assert value("background_repainted", selfies=selfies, painted=painted) == pytest.approx((0 + 12 + 3) / 3, abs=1e-3)


def test_repainted_counts_a_soft_edge_by_its_share():
    masks = torch.ones(2, 1, SIDE, SIDE)
    masks[..., :8, :] = 0
    masks[..., 8:16, :] = 0.75
    selfies, painted = plain(100, 100), plain(100, 100)
    painted[..., :8, :] += 4 / 127.5
    painted[..., 8:16, :] += 14 / 127.5
    changed = value("background_repainted", selfies=selfies, painted=painted, masks=masks)
    assert changed == pytest.approx((4 * 1 + 14 * 0.25) / 1.25, abs=1e-3)


def test_sensitivity_of_a_painting_that_stays_is_0():
    assert value("background_sensitivity", turned=[evidence().painted] * 8) == pytest.approx(0, abs=1e-9)


def test_sensitivity_to_two_backgrounds_in_turn_is_half_their_distance():
    turned = [plain(60, 120, 90), plain(100, 120, 90)] * 4
    wanted = (lightness(100) - lightness(60)) / 2 / 3
    assert value("background_sensitivity", turned=turned) == pytest.approx(wanted, abs=0.02)


def test_skin_is_the_half_of_the_face_that_is_nearest_its_median():
    picture = np.full((SIDE, SIDE, 3), (200, 150, 120), np.uint8)
    picture[13:16, 10:20] = 10  # glasses
    person = np.ones((SIDE, SIDE), bool)
    skin = skin_of(picture, person, FRAME)
    assert 10 < skin.sum() < 200
    assert not skin[13:16, 10:20].any()
    rows, columns = np.nonzero(skin)
    assert abs(columns.mean() - 15.5) < 1
    assert 0.44 * SIDE < rows.mean() < 0.70 * SIDE


def test_skin_lies_on_the_person():
    mask = boxes((0, SIDE, 16, SIDE), height=SIDE, width=SIDE)
    (skin,) = skins(drawn(1, 3, SIDE, SIDE, seed=1), mask, FRAME)
    assert skin.any()
    assert not skin[:, :16].any()


def test_colours_are_those_of_the_skin_and_of_all_that_is_surely_background():
    images = plain(60, 120, masks=OTHERS, behind=200)
    people = [mask > 0 for mask in OTHERS[:, 0].numpy()]
    assert colours(images, people)[:, 0].tolist() == pytest.approx(
        [lightness(60), lightness(120)], abs=0.3
    )  # OpenCV interpolates
    assert background_colours(images, OTHERS)[:, 0] == pytest.approx([lightness(200)] * 2, abs=0.3)
    assert np.isnan(background_colours(images, torch.ones_like(OTHERS))).all()


# Masks


def test_overlap_is_the_shared_part_of_both():
    one, other = boxes((0, 4, 0, 6), (0, 4, 0, 6), (2, 5, 2, 5)), boxes((2, 8, 0, 6), (0, 4, 0, 6), (9, 9, 9, 9))
    assert overlaps(one, other).tolist() == pytest.approx([12 / (24 + 36 - 12), 1, 0])


def test_overlap_cuts_both_masks_at_one_half():
    assert overlaps(0.6 * boxes((0, 4, 0, 6)), 0.9 * boxes((0, 4, 0, 6))).tolist() == [1]
    assert overlaps(0.4 * boxes((0, 4, 0, 6)), 0.9 * boxes((0, 4, 0, 6))).tolist() == [0]


def test_masks_of_what_was_painted_are_held_against_the_selfies():
    shown = plain(255, 255, 255, masks=PERSONS)
    assert value("mask_iou_painted", painted=shown) == 1
    half = shown.clone()
    half[0, :, :, 14:] = -1  # ten of the person's twenty columns
    assert value("mask_iou_painted", painted=half) == pytest.approx((0.5 + 1 + 1) / 3)


def test_masks_of_what_the_masker_never_saw_count_both_kinds():
    selfies, portraits = plain(255, 255, 255, masks=PERSONS), plain(255, 255, masks=OTHERS)
    portraits[1] = -1
    found = measure_held(evidence(selfies=selfies, portraits=portraits))
    assert (found.value, found.n) == (pytest.approx(4 / 5), 5)
    assert found.about == {"selfies": 1.0, "portraits": 0.5}
    assert found.low < found.value < found.high


# Faces


def test_faces_are_held_against_those_of_their_own_selfies():
    selfies, painted = plain(10, 10, 10), plain(10, 10, 10)
    selfies[0, :, 12, 14] = selfies[1, :, 12, 14] = 1
    painted[0, :, 12, 14] = 1
    painted[1, :, 12, 17] = 1  # three pixels to the right: 7 of 13 columns shared; eyes are 4 apart
    given = {"selfies": selfies, "painted": painted}
    assert measured("face_box_iou", **given).each == pytest.approx([1, 7 / 13, np.nan], nan_ok=True)
    assert measured("face_landmark_error", **given).each == pytest.approx([0, 100 * 3 / 4, np.nan], nan_ok=True)
    assert measured("face_found", **given).n == 2


def test_a_face_that_is_lost_counts_against_the_rate_and_the_box_and_has_no_landmarks():
    selfies, painted = plain(10, 10, 10), plain(10, 10, 10)
    selfies[:, :, 12, 14] = 1
    painted[0, :, 12, 14] = painted[1, :, 12, 14] = 1
    given = {"selfies": selfies, "painted": painted}
    assert value("face_found", **given) == pytest.approx(2 / 3)
    assert value("face_box_iou", **given) == pytest.approx(2 / 3)
    assert measured("face_landmark_error", **given).n == 2


def test_a_rate_of_all_or_none_is_not_certain():
    low, high = wilson(1.0, 34)
    assert (low, high) == (pytest.approx(34 / 37.8415, abs=1e-4), pytest.approx(1))  # 34 / (34 + 1.96^2)
    low, high = wilson(0.5, 100)
    assert (round(low, 4), round(high, 4)) == (0.4038, 0.5962)
    assert measured("face_found").low == pytest.approx(3 / (3 + 1.959964**2))


# Sharpness and cost


def test_sharpness_is_the_laplacian_inside_the_person():
    images = plain(100)
    images[0, :, :, ::2] += 20 / 127.5  # stripes: the Laplacian is 2 * 20 everywhere
    masks = torch.ones(1, 1, SIDE, SIDE)
    masks[..., :10, :] = 0
    images[:, :, :9] = -1
    assert sharpness(images, masks) == pytest.approx([40], abs=0.5)
    assert sharpness(plain(100), masks) == pytest.approx([0], abs=1e-6)


def test_lines_are_the_share_of_edges_inside_the_person():
    images = plain(20)
    images[..., 16:] = 1
    whole = torch.ones(1, 1, SIDE, SIDE)
    (found,) = lines(images, whole)
    inner = SIDE - 2  # OpenCV's erosion does not count the frame as edge; one column of edges
    assert found == pytest.approx(1 / SIDE, abs=1 / SIDE / inner)
    elsewhere = boxes((0, SIDE, 0, 12), height=SIDE, width=SIDE)
    assert lines(images, elsewhere) == [0]


def test_portraits_are_as_sharp_as_themselves():
    same = {"painted": evidence().portraits, "masks": OTHERS, "selfies": evidence().portraits, "ids": ["a", "b"]}
    assert value("sharpness", **same) == pytest.approx(1)
    assert value("lines", **same) == pytest.approx(1)


def test_cost_is_what_was_counted():
    assert value("cost_gflop") == 1.5
    assert value("cost_megabytes") == 2.25


# Groups


@pytest.mark.parametrize(
    ("colour", "name"),
    [
        ((80, 5, 10), "very light"),  # atan(30 / 10) = 71.6 degrees
        ((70, 5, 20), "light"),  # 45
        ((65, 5, 20), "intermediate"),  # 36.9
        ((60, 5, 20), "tan"),  # 26.6
        ((50, 5, 20), "brown"),  # 0
        ((30, 5, 20), "dark"),  # -45
    ],
)
def test_tone_is_the_typology_angle(colour, name):
    assert tone(np.array(colour, float)) == name


def test_pose_is_where_the_nose_points():
    points = np.array([[10, 10], [20, 10], [15, 14], [15, 20], [5, 12], [25, 12]], np.float32)

    def at(x):
        moved = np.concatenate([points[:2], [[x, 14]], points[3:]]).astype(np.float32)
        return Face(0.9, (0.0, 0.0, 30.0, 30.0), moved)

    assert [pose(face) for face in (at(15), at(16.4), at(17), at(13), None)] == [
        "front", "front", "to the right", "to the left", "no face found",
    ]  # fmt: skip


def test_light_is_dim_even_bright_or_from_a_side():
    face = np.zeros((SIDE, SIDE), bool)
    face[8:24, 8:24] = True

    def picture(left, right):
        row = np.where(np.arange(SIDE) < SIDE // 2, left, right).astype(np.uint8)
        return np.tile(row[None, :, None], (SIDE, 1, 3))

    lit = [light(picture(*levels), face) for levels in ((30, 30), (110, 110), (220, 220), (80, 160), (160, 80))]
    assert lit == ["dim", "even", "bright", "from a side", "from a side"]


def test_every_selfie_has_its_groups_in_order():
    selfies = plain(20, 235, 120)
    found = groups(evidence(selfies=selfies))
    assert found["light"] == ["dim", "bright", "even"]
    assert {name: len(values) for name, values in found.items()} == {"tone": 3, "light": 3, "pose": 3}


# What the networks are shown


def test_features_are_those_of_resized_images():
    shown = []

    def pooled(images):
        shown.append(tuple(images.shape))
        return images.mean((2, 3))

    images = plain(*range(0, 180, 10))
    found = pooled_features(pooled, 64)(images)
    assert shown == [(18, 3, 64, 64)]
    assert found == pytest.approx(mean_colours(images), abs=1e-6)


def test_masks_are_made_in_evaluation_mode_without_gradients():
    net, images = UNet(4).train(), drawn(18, 3, SIDE, SIDE, seed=1)
    before = net.first[1].running_mean.clone()
    masks = masks_by(net)(images)
    assert masks.shape == (18, 1, SIDE, SIDE)
    assert not masks.requires_grad
    assert torch.equal(net.first[1].running_mean, before)
    assert torch.allclose(masks_by(net)(images[17:]), masks[17:], atol=1e-6)


def test_evidence_cannot_be_changed_once_it_is_gathered():
    assert replace(evidence(), seed=5).seed == 5
    with pytest.raises(AttributeError):
        evidence().seed = 5
