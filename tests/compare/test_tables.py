import json

import numpy as np
import pandas as pd
import pytest

from portraitist.compare.tables import (
    MIN_GROUP_SIZE,
    comparison_sheet,
    coverage,
    differences,
    gains,
    intervals,
    summary,
    table,
    titles,
    wide,
)
from portraitist.core.image_io import encode_png
from portraitist.reporting.contact_sheet import LABEL_PX, contact_sheet


def found(value, low, high, goal=0.0, n=20, **about):
    return {"value": value, "low": low, "high": high, "n": n, "goal": goal, "says": "What it is.", "about": about}


MEASURED = {
    "ours": {"iou": found(0.9, 0.85, 0.95, goal=1.0), "bleed": found(-0.1, -0.2, 0.1), "fid": found(3, 2, 4)},
    "theirs": {"iou": found(0.7, 0.6, 0.8, goal=1.0), "bleed": found(0.5, 0.3, 0.7)},
}

NONE = {name: pd.DataFrame({"id": ["a", "b"]}) for name in MEASURED}  # no face has a value of its own


def draws(shift=0.0, times=200):
    rng = np.random.default_rng(1)
    return pd.DataFrame({"iou": rng.normal(0.8, 0.02, times) + shift, "bleed": rng.normal(0, 0.05, times)})


def test_the_summary_is_read_by_dvc_as_metric_and_method():
    frame = table(MEASURED)
    assert summary(frame) == {
        "bleed": {"ours": -0.1, "theirs": 0.5},
        "fid": {"ours": 3},
        "iou": {"ours": 0.9, "theirs": 0.7},
    }
    assert intervals(frame)["iou_low"] == {"ours": 0.85, "theirs": 0.6}
    assert intervals(frame)["bleed_high"] == {"ours": 0.1, "theirs": 0.7}
    assert json.loads(json.dumps(intervals(frame)))


def test_the_table_is_a_row_a_metric_and_leaves_out_who_is_not_asked_for():
    frame = wide(table(MEASURED | {"segmenter": {"held": found(0.8, 0.7, 0.9)}}), ["theirs", "ours"])
    assert list(frame.columns) == ["theirs", "ours"]
    assert list(frame.index) == ["bleed", "fid", "iou"]
    assert frame.loc["iou", "ours"] == "0.9 [0.85, 0.95]"
    assert frame.loc["fid", "theirs"] == ""


def test_a_number_without_an_interval_is_shown_without():
    assert table({"ours": {"cost": found(1.5, 1.5, 1.5)}})["shown"][0] == "1.5"


def test_a_difference_names_who_is_nearer_the_goal_and_only_if_zero_is_outside():
    frame = differences("ours", MEASURED, {"ours": draws(), "theirs": draws(0.1)}, NONE)
    assert list(frame["metric"]) == ["iou", "bleed"]  # fid was measured of one only
    assert set(frame["against"]) == {"theirs"}
    assert list(frame["nearer"]) == ["ours", "ours"]
    near = {"ours": MEASURED["ours"], "theirs": {"iou": found(0.905, 0.85, 0.95, goal=1.0)}}
    rng = np.random.default_rng(2)
    apart = {name: pd.DataFrame({"iou": rng.normal(0.9, 0.02, 200)}) for name in near}
    unsure = differences("ours", near, apart, NONE)
    assert list(unsure["nearer"]) == [""]
    assert float(unsure["chance"][0]) > 0.3


def test_the_nearer_one_may_be_the_other():
    swapped = {"ours": MEASURED["theirs"], "theirs": MEASURED["ours"]}
    frame = differences("ours", swapped, {"ours": draws(), "theirs": draws(0.1)}, NONE)
    assert list(frame["nearer"]) == ["theirs", "theirs"]


def test_draws_that_do_not_pair_are_refused():
    with pytest.raises(ValueError, match="ours has 200 draws, theirs 100"):
        differences("ours", MEASURED, {"ours": draws(), "theirs": draws(times=100)}, NONE)


def test_a_difference_is_of_the_faces_that_both_have():
    ids = [f"{number:02d}" for number in range(20)]
    hard = np.arange(20.0)  # the last ones are the hardest, and the other method has lost them
    lost = np.where(hard < 12, hard + 2, np.nan)
    faces = {
        "ours": pd.DataFrame({"id": ids, "iou": hard}),
        "theirs": pd.DataFrame({"id": ids[::-1], "iou": lost[::-1]}),
    }
    measured = {"ours": {"iou": found(9.5, 8, 11)}, "theirs": {"iou": found(7.5, 6, 9, n=12)}}
    (row,) = differences("ours", measured, {name: draws()[["iou"]] for name in measured}, faces).to_dict("records")
    assert row["difference"] == "-2"
    faces["theirs"]["iou"] = np.nan
    assert differences("ours", measured, {name: draws()[["iou"]] for name in measured}, faces).empty


def test_a_gain_is_against_having_done_nothing():
    measured = {"selfies": MEASURED["theirs"], **MEASURED}
    shifted = {"selfies": draws(0.1), "ours": draws(), "theirs": draws(0.1)}
    frame = gains("selfies", measured, shifted, NONE | {"selfies": NONE["ours"]})
    assert list(frame.columns) == ["ours", "theirs"]
    assert list(frame.index) == ["bleed", "iou"]
    assert frame.loc["iou", "ours"] == "0.2 nearer"
    assert frame.loc["iou", "theirs"] == "0"
    worse = gains(
        "selfies",
        {"selfies": MEASURED["ours"], "theirs": MEASURED["theirs"]},
        shifted,
        NONE | {"selfies": NONE["ours"]},
    )
    assert worse.loc["iou", "theirs"] == "-0.2 farther"


def test_every_group_is_counted_and_the_few_are_flagged():
    ids = [f"{number:02d}" for number in range(40)]
    groups = pd.DataFrame({"id": ids, "tone": ["light"] * 32 + ["dark"] * 8, "source": [np.nan] * 39 + ["drawn"]})
    values = pd.DataFrame({"id": ids[::-1], "bleed": np.arange(40.0)[::-1]})  # another order: ids join them
    frame = coverage(groups, {"ours": values}).set_index(["by", "group"])
    light, dark, drawn = (frame.loc[key] for key in (("tone", "light"), ("tone", "dark"), ("source", "drawn")))
    assert (light["n"], light["value"], light["few"]) == (32, 15.5, "")
    assert (dark["n"], dark["value"], dark["few"]) == (8, 35.5, "few")
    assert dark["low"] < 35.5 < dark["high"]
    assert (drawn["n"], drawn["value"]) == (1, 39)
    assert np.isnan(drawn["low"])
    assert 32 >= MIN_GROUP_SIZE > 8


def test_a_method_that_learned_from_pseudo_pairs_is_named_so_in_every_table():
    sections = {"cyclegan": {"pool": 50}, "pix2pix": {"pairs": "nearest"}}
    assert titles(sections) == {"cyclegan": "cyclegan", "pix2pix": "pix2pix (pseudo-pairs)"}
    assert titles({"pix2pix": {"pairs": "review"}}) == {"pix2pix": "pix2pix (pairs of reviews)"}


def test_the_sheet_has_a_column_for_each_method_between_what_all_share(tmp_path):
    for shade, name in ((90, "theirs"), (150, "ours")):
        (tmp_path / name).mkdir()
        for column, level in (("input", 10), ("portraits", 40), ("painted", shade), ("learned mask", shade + 50)):
            (tmp_path / name / f"{column}.png").write_bytes(encode_png(np.full((8, 130, 3), level, np.uint8)))
    told = comparison_sheet({"theirs (pseudo-pairs)": tmp_path / "theirs", "ours": tmp_path / "ours"})
    assert told[LABEL_PX + 4, 65::130, 0].tolist() == [10, 40, 90, 150, 200]
    blank = [[np.zeros((1, 1, 3), np.uint8)]]
    names = ["input", "portraits", "theirs (pseudo-pairs)", "ours", "learned mask"]
    wanted = [contact_sheet(blank, [name], 122)[:LABEL_PX] for name in names]
    assert np.array_equal(told[:LABEL_PX], np.concatenate(wanted, axis=1))
