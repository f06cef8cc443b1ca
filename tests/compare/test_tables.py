import numpy as np
import pandas as pd
import pytest
from comparison_toys import RESULTS, draws, result

from portraitist.compare.tables import (
    MIN_GROUP_SIZE,
    Comparison,
    best_methods,
    comparison_sheet,
    conclusion,
    coverage,
    differences,
    differences_from_unchanged,
    headline_table,
    label,
    long_table,
    result_folders,
    titles,
    values_by_method,
    wide_table,
)
from portraitist.core.image_io import encode_png
from portraitist.core.params import ParamsError
from portraitist.reporting.contact_sheet import LABEL_PX, contact_sheet

NO_FACES = {name: pd.DataFrame({"id": ["a", "b"]}) for name in RESULTS}  # without values per face


def test_values_are_nested_by_metric_and_method():
    assert values_by_method(long_table(RESULTS)) == {
        "bleed": {"ours": -0.1, "theirs": 0.5},
        "fid": {"ours": 3},
        "iou": {"ours": 0.9, "theirs": 0.7},
    }


def test_wide_table_has_the_requested_methods_as_columns():
    results = RESULTS | {"held_out": {"mask_iou_held_out": result(0.8, 0.7, 0.9)}}
    frame = wide_table(long_table(results), ["theirs", "ours"])
    assert list(frame.columns) == ["theirs", "ours"]
    assert list(frame.index) == ["bleed", "fid", "iou"]
    assert frame.loc["iou", "ours"] == "0.90 [0.85, 0.95]"
    assert frame.loc["fid", "theirs"] == ""


def test_interval_without_width_is_not_shown():
    assert long_table({"ours": {"cost": result(1.5, 1.5, 1.5)}})["shown"][0] == "1.5"


def test_nearer_method_is_named_if_interval_excludes_0():
    frame = differences("ours", RESULTS, {"ours": draws(), "theirs": draws(0.1)}, NO_FACES)
    assert list(frame["metric"]) == ["iou", "bleed"]  # only one of the methods has fid
    assert set(frame["against"]) == {"theirs"}
    assert list(frame["nearer"]) == ["ours", "ours"]
    similar = {"ours": RESULTS["ours"], "theirs": {"iou": result(0.905, 0.85, 0.95, optimum=1.0)}}
    rng = np.random.default_rng(2)
    independent = {name: pd.DataFrame({"iou": rng.normal(0.9, 0.02, 200)}) for name in similar}
    frame = differences("ours", similar, independent, NO_FACES)
    assert list(frame["nearer"]) == [""]
    assert float(frame["p_value"][0]) > 0.3


def test_the_other_method_may_be_nearer():
    swapped = {"ours": RESULTS["theirs"], "theirs": RESULTS["ours"]}
    frame = differences("ours", swapped, {"ours": draws(), "theirs": draws(0.1)}, NO_FACES)
    assert list(frame["nearer"]) == ["theirs", "theirs"]


def test_different_numbers_of_draws_are_an_error():
    with pytest.raises(ValueError, match=r"ours has 200 bootstrap resamples, but theirs has 100.*evaluate\.bootstrap"):
        differences("ours", RESULTS, {"ours": draws(), "theirs": draws(count=100)}, NO_FACES)


def test_difference_is_over_faces_that_both_methods_have():
    ids = [f"{number:02d}" for number in range(20)]
    values = np.arange(20.0)  # the last faces have the largest values, and the other method lacks them
    other_values = np.where(values < 12, values + 2, np.nan)
    faces = {
        "ours": pd.DataFrame({"id": ids, "iou": values}),
        "theirs": pd.DataFrame({"id": ids[::-1], "iou": other_values[::-1]}),
    }
    results = {"ours": {"iou": result(9.5, 8, 11)}, "theirs": {"iou": result(7.5, 6, 9, n=12)}}
    iou_draws = {name: draws()[["iou"]] for name in results}
    (row,) = differences("ours", results, iou_draws, faces).to_dict("records")
    assert float(row["difference"].split()[0]) == pytest.approx(-2)
    faces["theirs"]["iou"] = np.nan
    assert differences("ours", results, iou_draws, faces).empty


def test_neither_is_nearer_if_both_are_equally_far_on_opposite_sides_of_the_optimum():
    noise = np.random.default_rng(5).normal(0, 0.01, (2000, 2))
    results = {"ours": {"bleed": result(0.1, 0.08, 0.12)}, "theirs": {"bleed": result(-0.101, -0.12, -0.08)}}
    shifted = {
        name: pd.DataFrame({"bleed": value + noise[:, at]})
        for at, (name, value) in enumerate((("ours", 0.1), ("theirs", -0.101)))
    }
    (row,) = differences("ours", results, shifted, {"ours": pd.DataFrame({"id": []})} | NO_FACES).to_dict("records")
    assert float(row["p_value"]) < 0.01
    assert row["nearer"] == ""


def test_nearer_is_decided_over_faces_that_both_methods_have():
    ids = [f"{number:02d}" for number in range(20)]
    values = np.arange(20.0)  # over all faces, ours is farther from the optimum 0; over the common ones, it is nearer
    faces = {
        "ours": pd.DataFrame({"id": ids, "iou": values}),
        "theirs": pd.DataFrame({"id": ids, "iou": np.where(values < 12, values + 2, np.nan)}),
    }
    results = {"ours": {"iou": result(9.5, 8, 11)}, "theirs": {"iou": result(7.5, 6, 9, n=12)}}
    (row,) = differences("ours", results, {name: draws()[["iou"]] for name in results}, faces).to_dict("records")
    assert row["nearer"] == "ours"


def test_differences_of_rates_have_intervals_of_paired_rates():
    ids = [f"{number:02d}" for number in range(34)]
    found = {"ours": np.ones(34), "theirs": np.where(np.arange(34) < 33, 1.0, 0.0)}
    faces = {name: pd.DataFrame({"id": ids, "found": values}) for name, values in found.items()}
    results = {name: {"found": result(values.mean(), 0.8, 1, n=34, optimum=1.0)} for name, values in found.items()}
    for each in results.values():
        each["found"]["details"]["interval"] = "Wilson"
    found_draws = {name: draws()[["iou"]].set_axis(["found"], axis=1) for name in found}
    (row,) = differences("ours", results, found_draws, faces).to_dict("records")
    assert row["difference"] == "0.03 [-0.07, 0.15]"
    assert (row["p_value"], row["nearer"]) == ("0.5", "")
    faces["theirs"]["found"] = np.where(np.arange(34) < 20, 1.0, 0.0)
    (row,) = differences("ours", results, found_draws, faces).to_dict("records")
    assert row["nearer"] == "ours"


def test_differences_from_unchanged_are_nearer_or_farther():
    shifted = {"selfies": draws(0.1), "ours": draws(), "theirs": draws(0.1)}
    faces = NO_FACES | {"selfies": NO_FACES["ours"]}
    frame = differences_from_unchanged({"selfies": RESULTS["theirs"], **RESULTS}, shifted, faces)
    assert list(frame.columns) == ["ours", "theirs"]
    assert list(frame.index) == ["bleed", "iou"]
    assert frame.loc["iou", "ours"] == "0.2 nearer"
    assert frame.loc["iou", "theirs"] == "0"
    worse = {"selfies": RESULTS["ours"], "theirs": RESULTS["theirs"]}
    assert differences_from_unchanged(worse, shifted, faces).loc["iou", "theirs"] == "-0.2 farther"


def test_coverage_flags_small_groups():
    ids = [f"{number:02d}" for number in range(40)]
    groups = pd.DataFrame({"id": ids, "tone": ["light"] * 32 + ["dark"] * 8, "source": [np.nan] * 39 + ["drawn"]})
    values = pd.DataFrame({"id": ids[::-1], "bleed": np.arange(40.0)[::-1]})  # joined by id, not by order
    frame = coverage(groups, {"ours": values}, ()).set_index(["by", "group"])
    light, dark, drawn = (frame.loc[key] for key in (("tone", "light"), ("tone", "dark"), ("source", "drawn")))
    assert (light["n"], light["value"], light["note"]) == (32, 15.5, "")
    assert (dark["n"], dark["value"], dark["note"]) == (8, 35.5, "few faces")
    assert dark["low"] < 35.5 < dark["high"]
    assert (drawn["n"], drawn["value"]) == (1, 39)
    assert np.isnan(drawn["low"])
    assert 32 >= MIN_GROUP_SIZE > 8


def test_coverage_has_wilson_intervals_for_rates():
    ids = [f"{number:02d}" for number in range(34)]
    values = pd.DataFrame({"id": ids, "face_found": np.ones(34), "background_repainted": np.zeros(34)})
    groups = pd.DataFrame({"id": ids, "tone": "dark"})
    found, repainted = coverage(groups, {"ours": values}, {"face_found"}).to_dict("records")
    assert (found["value"], found["low"], found["high"]) == (1, pytest.approx(34 / 37.8415, abs=1e-4), pytest.approx(1))
    assert (repainted["value"], repainted["low"], repainted["high"]) == (0, 0, 0)


def headline_results(painted, landmarks, megabytes):
    return {
        "painted_rate": result(painted, painted - 0.03, painted + 0.03, optimum=1.0),
        "face_landmark_error": result(landmarks, landmarks - 0.4, landmarks + 0.4),
        "cost_megabytes": result(megabytes, megabytes, megabytes),
    }


HEADLINE_RESULTS = {
    "selfies": headline_results(0.0, 0.0, 0.0),
    "theirs": headline_results(0.41, 7.9, 1.5),
    "ours": headline_results(0.95, 8.1, 0.4),
    "others": headline_results(0.952, 12.0, 2.0),
}
EMPTY = pd.DataFrame()


def comparison_of(results, held_out):
    return Comparison("ours", results, held_out, long_table(results), EMPTY, EMPTY, EMPTY, EMPTY)


def test_best_methods_are_equal_within_the_precision():
    assert best_methods(HEADLINE_RESULTS) == {
        "painted rate": ["ours", "others"],
        "landmark error": ["theirs"],
        "size": ["ours"],
    }


def test_conclusion_names_the_best_methods_in_words():
    assert conclusion(comparison_of(HEADLINE_RESULTS, {})) == (
        "Best of 3 methods: ours by size; equally ours and others by painted rate; theirs by landmark error."
    )


def test_headlines_end_with_the_held_out_portraits():
    held_out = {"painted_rate_held_out": result(0.98, 0.95, 1.0)}
    frame = headline_table(comparison_of(HEADLINE_RESULTS, held_out), ["ours", "selfies"])
    assert list(frame.index) == ["ours", "unchanged selfies", "held-out portraits"]
    assert frame["painted rate"].tolist() == ["0.95 [0.92, 0.98]", "0.00 [-0.03, 0.03]", "0.98 [0.95, 1.00]"]
    assert frame["landmark error"].tolist() == ["8.1 [7.7, 8.5]", "0.0 [-0.4, 0.4]", ""]
    assert frame["faces found"].tolist() == ["", "", ""]


def test_title_names_the_kind_of_training_pairs():
    sections = {"cyclegan": {"pool": 50}, "pix2pix": {"pairs": "nearest"}}
    assert titles(sections) == {"cyclegan": "cyclegan", "pix2pix": "pix2pix (pseudo-pairs)"}
    assert titles({"pix2pix": {"pairs": "review"}}) == {"pix2pix": "pix2pix (pairs of reviews)"}


def test_baseline_is_labelled_as_unchanged_selfies():
    assert [label(name) for name in ("selfies", "ours")] == ["unchanged selfies", "ours"]


def test_sheet_has_shared_columns_and_a_column_per_method(tmp_path):
    for level, name in ((90, "theirs"), (150, "ours")):
        (tmp_path / name).mkdir()
        levels = {"selfies": 10, "portraits": 40, "stylized": level, "learned_mask": level + 50}
        for column, grey in levels.items():
            (tmp_path / name / f"{column}.png").write_bytes(encode_png(np.full((8, 130, 3), grey, np.uint8)))
    sheet = comparison_sheet({"theirs (pseudo-pairs)": tmp_path / "theirs", "ours": tmp_path / "ours"})
    assert sheet[LABEL_PX + 4, 65::130, 0].tolist() == [10, 40, 90, 150, 200]
    blank = [[np.zeros((1, 1, 3), np.uint8)]]
    labels = ["selfies", "portraits", "theirs (pseudo-pairs)", "ours", "learned mask"]
    expected = [contact_sheet(blank, [name], 122)[:LABEL_PX] for name in labels]
    assert np.array_equal(sheet[:LABEL_PX], np.concatenate(expected, axis=1))


def test_columns_of_a_sheet_may_have_different_numbers_of_pictures(tmp_path):
    for column, pictures in (("selfies", 3), ("portraits", 2), ("stylized", 3), ("learned_mask", 3)):
        (tmp_path / f"{column}.png").write_bytes(encode_png(np.full((8 * pictures, 130, 3), 90, np.uint8)))
    sheet = comparison_sheet({"ours": tmp_path})
    assert sheet.shape == (LABEL_PX + 24, 4 * 130, 3)
    assert sheet[LABEL_PX + 20, 65::130, 0].tolist() == [90, 255, 90, 90]


def test_result_folders_are_those_of_evaluated_methods(tmp_path):
    sections = {"pix2pix": {"pairs": "nearest"}, "cut": {}, "ours": {}}
    for name in ("pix2pix", "ours", "selfies"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text("{}")
    assert result_folders(tmp_path, sections, "ours") == {
        "selfies": tmp_path / "selfies", "pix2pix (pseudo-pairs)": tmp_path / "pix2pix", "ours": tmp_path / "ours"
    }  # fmt: skip
    with pytest.raises(ParamsError, match=r"export\.method: 'cut' has no results.*pix2pix, ours.*evaluate@cut"):
        result_folders(tmp_path, sections, "cut")
