import json
import sys
from dataclasses import replace

import numpy as np
import pytest
import scipy.linalg
import torch
from toys import FRAME, boxes, drawn

from portraitist.augment import TEST_BACKGROUNDS
from portraitist.evaluate import Evidence, foreground, masks_by, mean_with_interval, metrics, pooled_features
from portraitist.evaluate._overlap import overlaps
from portraitist.evaluate._skin import background_colour, colours, skin_of, skins
from portraitist.evaluate.foreground_frechet_lite0 import frechet
from portraitist.evaluate.foreground_kernel_lite0 import kernel
from portraitist.images import to_images
from portraitist.nets.unet import UNet

SIDE = 32
PERSONS = boxes((5, 30, 4, 24), (3, 32, 9, 29), (6, 28, 7, 27), height=SIDE, width=SIDE)
OTHERS = boxes((4, 31, 8, 30), (7, 29, 2, 23), height=SIDE, width=SIDE)
NAMES = sorted(metrics())


def mean_colours(images):
    """Features that can be reckoned by hand: each image's mean red, green and blue."""
    return images.mean((2, 3)).double().numpy()


def evidence(**changed):
    """Noise, whose every pixel counts: three selfies, two portraits."""
    given = {
        "selfies": drawn(3, 3, SIDE, SIDE, seed=1),
        "masks": PERSONS,
        "painted": drawn(3, 3, SIDE, SIDE, seed=2),
        "portraits": drawn(2, 3, SIDE, SIDE, seed=3),
        "portrait_masks": OTHERS,
        "masker": lambda images: (images[:, :1] > 0).float(),
        "frame": FRAME,
        "features": mean_colours,
        "features_name": "mean colours",
        "bootstrap": 20,
        "seed": 1,
    }
    given |= changed
    count = len(given["painted"])
    turned = [drawn(count, 3, SIDE, SIDE, seed=20 + place) for place in range(len(TEST_BACKGROUNDS))]
    return Evidence(**{"turned": turned} | given)


def value(name, **changed):
    return metrics()[name](evidence(**changed)).value


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
        "foreground_frechet_lite0",
        "foreground_kernel_lite0",
        "mask_iou_held",
        "mask_iou_painted",
    ]


@pytest.mark.parametrize("name", NAMES)
def test_a_metric_says_what_it_is_and_on_how_many_faces(name):
    assert len(sys.modules[metrics()[name].__module__].__doc__) > 60
    measured = metrics()[name](evidence())
    assert measured.n == (5 if name == "mask_iou_held" else 3)
    assert measured.low <= measured.high
    assert json.loads(json.dumps(measured.rounded()))["n"] == measured.n
    if name.endswith("lite0"):
        assert measured.about["network"] == "mean colours"


@pytest.mark.parametrize("name", NAMES)
def test_the_wrong_masks_turn_the_number(name):
    cut = PERSONS.clone()
    cut[..., :14] = 0
    assert value(name, masks=cut) != pytest.approx(value(name), rel=1e-3)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("background_sensitivity", "mask_iou_held")])
def test_another_painting_turns_the_number(name):
    assert value(name, painted=evidence().painted.flip(3)) != pytest.approx(value(name), rel=1e-3)


@pytest.mark.parametrize("name", ["background_bleed", "foreground_frechet_lite0", "foreground_kernel_lite0"])
def test_other_portraits_turn_the_number(name):
    assert value(name, portraits=evidence().portraits * 0.5) != pytest.approx(value(name), rel=0.01)


@pytest.mark.parametrize("name", NAMES)
def test_equal_seeds_give_equal_intervals(name):
    one, same, other = (metrics()[name](evidence(seed=seed)) for seed in (1, 1, 2))
    assert one == same
    assert (one.low, one.high) != (other.low, other.high)
    assert one.value == other.value


@pytest.mark.parametrize("name", ["foreground_frechet_lite0", "foreground_kernel_lite0", "content_lite0"])
def test_a_metric_of_the_foreground_sees_no_background(name):
    moved = torch.where(PERSONS > 0, evidence().painted, drawn(3, 3, SIDE, SIDE, seed=9))
    assert value(name, painted=moved) == pytest.approx(value(name), rel=1e-6)


def test_a_soft_edge_belongs_to_the_foreground_wholly_or_not_at_all():
    images, masks = plain(200, 200), torch.full((2, 1, SIDE, SIDE), 0.5)
    masks[1] = 0.51
    seen = foreground(images, masks)
    assert seen[0].abs().max() == 0
    assert torch.equal(seen[1], images[1])


def test_a_number_is_rounded_to_six_digits_and_a_count_is_not():
    measured = mean_with_interval(np.array([1 / 3, 1234567.0]), evidence(), network="a")
    assert measured.rounded()["value"] == 617284.0
    assert measured.rounded()["about"] == {"network": "a"}


# The interval


def test_the_interval_of_a_mean_is_as_wide_as_theory_says():
    values = np.random.default_rng(7).normal(3, 2, 400)
    measured = mean_with_interval(values, evidence(bootstrap=2000))
    assert measured.value == pytest.approx(values.mean())
    assert measured.low < measured.value < measured.high
    assert measured.high - measured.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_where_all_faces_agree_the_interval_has_no_width():
    measured = mean_with_interval(np.full(5, 0.25), evidence())
    assert (measured.low, measured.value, measured.high) == (0.25, 0.25, 0.25)


@pytest.mark.parametrize("name", ["foreground_frechet_lite0", "foreground_kernel_lite0"])
def test_the_interval_of_a_distance_of_sets_holds_it(name):
    some = [drawn(20, 3, SIDE, SIDE, seed=seed) for seed in (1, 2, 3)]
    masks = torch.ones(20, 1, SIDE, SIDE)
    measured = metrics()[name](
        evidence(selfies=some[0], painted=some[1] + 0.2, portraits=some[2], masks=masks, portrait_masks=masks)
    )
    assert measured.low < measured.value < measured.high
    assert measured.about["n_portraits"] == 20


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
    same = {"painted": evidence().portraits, "masks": OTHERS, "selfies": evidence().portraits}
    assert value("foreground_frechet_lite0", **same) == pytest.approx(0, abs=1e-9)
    assert value("foreground_frechet_lite0", **same | {"masks": OTHERS.flip(0)}) > 1e-6


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
    given = {"selfies": [[1.0, 0.0], [3.0, 4.0]], "painted": [[0.0, 2.0], [6.0, 0.0]]}
    answers = iter([np.array(given["painted"]), np.array(given["selfies"])])
    two = {"selfies": plain(10, 20), "painted": plain(30, 40), "masks": PERSONS[:2]}
    assert value("content_lite0", features=lambda _: next(answers), **two) == pytest.approx((1 + (1 - 0.6)) / 2)


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


def test_repainted_is_the_mean_change_outside_the_person():
    selfies = plain(100, 100, 100)
    painted = plain(250, 30, 100, masks=PERSONS, behind=100)
    assert value("background_repainted", selfies=selfies, painted=painted) == pytest.approx(0, abs=1e-4)
    painted = plain(100, 112, 97)
    assert value("background_repainted", selfies=selfies, painted=painted) == pytest.approx((0 + 12 + 3) / 3, abs=1e-3)


def test_repainted_counts_a_soft_edge_by_its_share():
    masks = torch.ones(1, 1, SIDE, SIDE)
    masks[..., :8, :] = 0
    masks[..., 8:16, :] = 0.75
    selfies, painted = plain(100), plain(100)
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
    assert background_colour(images, OTHERS)[0] == pytest.approx(lightness(200), abs=0.3)


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
    measured = metrics()["mask_iou_held"](evidence(selfies=selfies, portraits=portraits))
    assert measured.value == pytest.approx(4 / 5)
    assert measured.about == {"selfies": 1.0, "portraits": 0.5}


# What the networks are shown


def test_features_are_those_of_resized_images_in_their_order_however_many():
    shown = []

    def pooled(images):
        shown.append(tuple(images.shape))
        return images.mean((2, 3))

    images = plain(*range(0, 180, 10))
    found = pooled_features(pooled, 64)(images)
    assert shown == [(16, 3, 64, 64), (2, 3, 64, 64)]
    assert found.dtype == np.float64
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
