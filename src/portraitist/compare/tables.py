"""Compare methods: tables of all metrics, differences on the same faces, means by group, and a sheet of avatars."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from portraitist.compare.preferences import read_answers
from portraitist.core.image_io import decode_png
from portraitist.core.params import ParamsError
from portraitist.core.types import Picture
from portraitist.reporting.contact_sheet import add_column_labels
from portraitist.stats.bootstrap import (
    Difference,
    confidence_interval,
    paired_difference,
    paired_rate_difference,
    wilson_interval,
)
from portraitist.stats.headline import HEADLINES
from portraitist.stats.rounding import rounded, shown
from portraitist.stats.win_rates import win_rates

MetricResults = dict[str, dict[str, Any]]  # content of one metrics.json: value, low, high, n, ... of each metric

UNCHANGED = "selfies"  # key of the unchanged selfies, which serve as the baseline of all methods
UNCHANGED_LABEL = "unchanged selfies"
HELD_OUT = "held_out"  # key of the segmenter's and the classifier's results on test pictures, equal for all methods
SEGMENTER_METRIC, CLASSIFIER_METRIC = "mask_iou_held_out", "painted_rate_held_out"
PORTRAITS_LABEL = "held-out portraits"
PAIR_KINDS = {"nearest": "pseudo-pairs", "review": "pairs of reviews", "folder": "pairs of the folder"}
MIN_GROUP_SIZE = 30  # groups of fewer faces are marked in the report
RESAMPLES = 1000  # bootstrap resamples for the interval of the mean over a group of faces


@dataclass(frozen=True)
class Comparison:
    """The results of all methods, and the tables computed from them."""

    ours: str  # title of the method that is compared with each other method
    results: dict[str, MetricResults]  # by the method's title; results of the unchanged selfies: key UNCHANGED
    held_out: MetricResults  # results of the segmenter and of the classifier on test pictures, equal for all methods
    table: pd.DataFrame  # result of `long_table`
    differences: pd.DataFrame  # result of `differences` for `ours`
    differences_from_unchanged: pd.DataFrame  # result of the function `differences_from_unchanged`
    coverage: pd.DataFrame  # result of `coverage`
    preferences: pd.DataFrame  # result of `win_rates`


def compare(ours: str, folders: dict[str, Path], answers: Path) -> Comparison:
    """Read the results of all methods, and compute all tables.

    Args:
        ours: title of the method that is compared with each other method.
        folders: for each method's title (see `titles`), the output folder of stage `evaluate`. For the key UNCHANGED,
            the output folder of stage `evaluate_selfies`, which evaluates the unchanged selfies.
        answers: the CSV of people's preferences.
    """
    results = {name: _read_json(folder / "metrics.json") for name, folder in folders.items()}
    draws = {name: pd.read_csv(folder / "draws.csv") for name, folder in folders.items()}
    faces = {name: pd.read_csv(folder / "faces.csv", dtype={"id": str}) for name, folder in folders.items()}
    held_out = _read_json(folders[UNCHANGED] / "held_out.json")
    groups = pd.read_csv(folders[UNCHANGED] / "groups.csv", dtype=str)
    shares = {metric for found in results.values() for metric, result in found.items() if _is_share(result)}
    return Comparison(
        ours,
        results,
        held_out,
        long_table(results | {HELD_OUT: held_out}),
        differences(ours, results, draws, faces),
        differences_from_unchanged(results, draws, faces),
        coverage(groups, faces, shares),
        win_rates(read_answers(answers)),
    )


def as_files(comparison: Comparison) -> dict[str, bytes]:
    """Return the contents of the files methods.json, compare.csv and coverage.csv, by file name."""
    methods = json.dumps(values_by_method(comparison.table), indent=2) + "\n"
    table = comparison.table.to_csv(index=False, lineterminator="\n")
    groups = comparison.coverage.to_csv(index=False, lineterminator="\n", float_format="%.5g")
    return {"methods.json": methods.encode(), "compare.csv": table.encode(), "coverage.csv": groups.encode()}


def _read_json(path: Path) -> MetricResults:
    return json.loads(path.read_text(encoding="utf-8"))


def result_folders(results: Path, sections: dict[str, dict[str, Any]], ours: str) -> dict[str, Path]:
    """Return the folders with the results of the unchanged selfies (key UNCHANGED) and of each evaluated method.

    The keys of the methods are their titles (see `titles`).

    Args:
        results: folder that contains the output folders of the stages `evaluate_selfies` and `evaluate`.
        sections: each method's own section of params.yaml, by the method's name.
        ours: name of the exported method.

    Raises:
        ParamsError: the exported method was not evaluated.
    """
    evaluated = [name for name in sections if (results / name / "metrics.json").exists()]
    if ours not in evaluated:
        raise ParamsError(
            f"export.method: {ours!r} has no results in {results}; methods with results: "
            f"{', '.join(evaluated) or 'none'}; run `dvc repro evaluate@{ours}`, or change export.method"
        )
    names = {name: title for name, title in titles(sections).items() if name in evaluated}
    return {UNCHANGED: results / UNCHANGED} | {title: results / name for name, title in names.items()}


def titles(sections: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return the title of each method, such as "cyclegan" or "pix2pix (pseudo-pairs)", by the method's name.

    Args:
        sections: each method's own section of params.yaml, by the method's name. If the section contains `pairs`, the
            kind of pairs is appended to the name; otherwise, the title is the name.
    """
    return {
        name: f"{name} ({PAIR_KINDS[section['pairs']]})" if "pairs" in section else name
        for name, section in sections.items()
    }


def label(method: str) -> str:
    """Return the text that reports show for a method: its title or, for the key UNCHANGED, "unchanged selfies".

    Args:
        method: the title of a method (see `titles`), or UNCHANGED.
    """
    return UNCHANGED_LABEL if method == UNCHANGED else method


def interval_text(result: dict[str, Any]) -> str:
    """Return a metric's value and interval as text, such as "0.95 [0.92, 0.98]", rounded as the interval justifies."""
    return shown(result["value"], result["low"], result["high"])


def long_table(results: dict[str, MetricResults]) -> pd.DataFrame:
    """Return a table with a row for each metric and method.

    Columns: `metric`, `method`, `value`, `low`, `high`, `n`, and `shown`, the value and its interval as text.
    """
    rows = [
        {"metric": metric, "method": method, **{key: result[key] for key in ("value", "low", "high", "n")}}
        for method, metrics in results.items()
        for metric, result in metrics.items()
    ]
    frame = pd.DataFrame(rows)
    frame["shown"] = [shown(row.value, row.low, row.high) for row in frame.itertuples()]
    return frame


def wide_table(frame: pd.DataFrame, methods: list[str]) -> pd.DataFrame:
    """Return values and intervals as text, with a row per metric and a column per method.

    Args:
        frame: result of `long_table`.
        methods: the columns. Metrics that none of these methods has are left out.
    """
    rows = frame[frame["method"].isin(methods)]
    return rows.pivot_table("shown", "metric", "method", aggfunc="first").reindex(columns=methods).fillna("")


def values_by_method(frame: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Return {metric: {method: value}}, the content of methods.json."""
    return {
        str(metric): dict(zip(rows["method"], rows["value"], strict=True)) for metric, rows in frame.groupby("metric")
    }


def headline_table(comparison: Comparison, methods: list[str]) -> pd.DataFrame:
    """Return the headline metrics as text, with a row per method and a column per metric.

    One of the metrics is the painted rate: the share of images that a classifier recognizes as portraits. The last row
    shows this rate for the test portraits themselves, if it was measured.
    """
    columns = {
        headline.title: {
            label(method): interval_text(comparison.results[method][headline.metric])
            for method in methods
            if headline.metric in comparison.results[method]
        }
        for headline in HEADLINES.values()
    }
    rows = [*map(label, methods)]
    if held_out := comparison.held_out.get(CLASSIFIER_METRIC):
        columns[HEADLINES["painted_rate"].title][PORTRAITS_LABEL] = interval_text(held_out)
        rows.append(PORTRAITS_LABEL)
    return pd.DataFrame({title: [texts.get(row, "") for row in rows] for title, texts in columns.items()}, index=rows)


def best_methods(results: dict[str, MetricResults]) -> dict[str, list[str]]:
    """Return the methods with the best value of each headline metric, by the metric's title.

    A value is better if its distance from the metric's optimum is smaller. The distances are rounded before they are
    compared, so several methods can be equally good. The wider the confidence interval of the best value, the fewer
    significant digits are kept; without an interval, three are kept. The unchanged selfies are left out.
    """
    best = {}
    for headline in HEADLINES.values():
        measured = {
            method: metrics[headline.metric]
            for method, metrics in results.items()
            if method != UNCHANGED and headline.metric in metrics
        }
        if not measured:
            continue
        distances = {method: abs(result["value"] - result["optimum"]) for method, result in measured.items()}
        nearest = measured[min(distances, key=lambda method: distances[method])]
        half = (nearest["high"] - nearest["low"]) / 2

        def precise(distance: float, half: float = half) -> float:
            return rounded(distance, distance - half, distance + half)

        smallest = precise(min(distances.values()))
        best[headline.title] = [method for method in measured if precise(distances[method]) == smallest]
    return best


def conclusion(comparison: Comparison) -> str:
    """Return a sentence that lists, for each headline metric, the methods that are best in it.

    Methods that are best in the same metrics are named together; `comparison.ours` comes first.
    """
    titles_of: dict[tuple[str, ...], list[str]] = {}
    for title, methods in best_methods(comparison.results).items():
        titles_of.setdefault(tuple(methods), []).append(title)
    order = sorted(titles_of, key=lambda methods: (comparison.ours not in methods, len(methods)))
    count = len(comparison.results) - (UNCHANGED in comparison.results)
    clauses = [f"{_subject(methods)} by {_listed(titles_of[methods])}" for methods in order]
    return f"Best of {count} methods: {'; '.join(clauses)}."


def _subject(methods: tuple[str, ...]) -> str:
    return methods[0] if len(methods) == 1 else f"equally {_listed(methods)}"


def _listed(words: Sequence[str]) -> str:
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last


def differences(
    method: str, results: dict[str, MetricResults], draws: dict[str, pd.DataFrame], faces: dict[str, pd.DataFrame]
) -> pd.DataFrame:
    """Return the difference between one method and each other method, for each metric, on the same faces.

    Columns of the result: `metric`; `against`, the other method; `difference`, the value of `method` minus that of the
    other, with its 95 % interval, as text; `p_value`; and `nearer`, the method that is nearer to the metric's optimum.
    `nearer` is "" if the interval includes 0, or if that of the difference of the two distances from the optimum does.
    A face that lacks a value for one of the two methods is left out for both.

    Args:
        method: the method that is compared with all others.
        results: the results of each method.
        draws: for each method, the value of each bootstrap resample (row) and metric (column).
        faces: for each method, the value of each face (row) and metric (column), and a column `id`.

    Raises:
        ValueError: two methods have different numbers of draws.
    """
    rows = []
    for other in results:
        if other == method:
            continue
        if len(draws[other]) != len(draws[method]):
            raise ValueError(
                f"{method} has {len(draws[method])} bootstrap resamples, but {other} has {len(draws[other])}; run "
                "`dvc repro` to evaluate both methods with the number in evaluate.bootstrap"
            )
        for metric in map(str, draws[method]):
            if metric not in draws[other]:
                continue
            names = (method, other)
            values = [faces[name].set_index("id")[metric] for name in names if metric in faces[name]]
            compared = _compared(
                [results[name][metric] for name in names],
                [draws[name][metric].to_numpy(float) for name in names],
                pd.concat(values, axis=1) if values else None,
            )
            if compared is None:
                continue
            difference, farther = compared
            nearer = ""
            if not (difference.low <= 0 <= difference.high or farther.low <= 0 <= farther.high):
                nearer = method if farther.value < 0 else other
            text = shown(difference.value, difference.low, difference.high)
            row = {"metric": metric, "against": other, "difference": text}
            rows.append(row | {"p_value": f"{difference.p_value:.2g}", "nearer": nearer})
    return pd.DataFrame(rows, columns=["metric", "against", "difference", "p_value", "nearer"])


def _compared(
    results: list[dict[str, Any]], draws: list[np.ndarray], per_face: pd.DataFrame | None
) -> tuple[Difference, Difference] | None:
    """Return the difference of a metric between two methods, and that of its distances from the optimum.

    None is returned if fewer than two faces have a value for both methods.

    Args:
        results: the metric's result for each of the two methods.
        draws: the metric's bootstrap draws for each method.
        per_face: the metric's value for each face (row) and method (column); None if it is not a mean over faces.
    """
    optimum = results[0]["optimum"]
    count = min(*(result["n"] for result in results), results[0]["details"].get("n_portraits", results[0]["n"]))
    estimates = list(zip([result["value"] for result in results], draws, strict=True))
    if per_face is not None:
        common = per_face.dropna().to_numpy(float)
        if len(common) < 2:
            return None
        if all(map(_is_share, results)):  # the optimum is 0 or 1
            difference = paired_rate_difference(*(common.T > 0.5))
            return difference, difference if optimum == 0 else difference.negated()
        if len(common) < len(per_face):
            count = len(common)
            estimates = list(zip(common.mean(axis=0), common[_resamples(count)].mean(axis=1).T, strict=True))
    distances = [_distances(*estimate, optimum) for estimate in estimates]
    difference = paired_difference(*estimates[0], *estimates[1], count)
    return difference, paired_difference(*distances[0], *distances[1], count)


def _distances(value: float, draws: np.ndarray, optimum: float) -> tuple[float, np.ndarray]:
    """Return the distance of an estimate from the optimum, and that of each draw, shifted as for an interval."""
    return abs(value - optimum), np.abs(draws - np.nanmean(draws) + value - optimum)


def differences_from_unchanged(
    results: dict[str, MetricResults], draws: dict[str, pd.DataFrame], faces: dict[str, pd.DataFrame]
) -> pd.DataFrame:
    """Return the difference between each method and the unchanged selfies, as text.

    The table has a row per metric and a column per method. If the interval of a difference excludes 0, " nearer" or
    " farther" is appended to the text: the method is nearer to the metric's optimum than the selfies are, or farther.
    """
    columns = {}
    for name in (name for name in results if name != UNCHANGED):
        pair = {key: results[key] for key in (name, UNCHANGED)}
        rows = differences(name, pair, draws, faces).set_index("metric")
        marks = {"": "", name: " nearer", UNCHANGED: " farther"}
        columns[name] = rows["difference"] + rows["nearer"].map(marks)
    return pd.DataFrame(columns).sort_index().fillna("")


def coverage(groups: pd.DataFrame, faces: dict[str, pd.DataFrame], shares: Collection[str]) -> pd.DataFrame:
    """Return the mean of each metric over each group of faces, such as the faces of one skin tone.

    The result has a row for each combination of group, metric and method. Column `by` contains the name of the
    grouping, such as "tone". Only metrics that are means of a value per face are included.

    Args:
        groups: table with a column `id`, and a column per grouping, such as `tone`.
        faces: for each method, the value of each face (row) and metric (column), and a column `id`.
        shares: the metrics whose values are 0 or 1 for each face; they get Wilson intervals.
    """
    rows = []
    for by in [str(column) for column in groups if column != "id"]:
        for name, ids in groups.groupby(by, dropna=True)["id"]:
            for method, values in faces.items():
                members = values[values["id"].isin(ids)]
                for metric in [column for column in values if column != "id"]:
                    row = {"by": by, "group": name, "metric": metric, "method": method}
                    rows.append(row | _group_mean(members[metric].dropna().to_numpy(float), metric in shares))
    columns = ["by", "group", "metric", "method", "n", "value", "low", "high", "note"]
    return pd.DataFrame(rows, columns=columns)


def _is_share(result: dict[str, Any]) -> bool:
    return bool(result["details"].get("interval") == "Wilson")


def _group_mean(values: np.ndarray, is_share: bool) -> dict[str, Any]:
    row: dict[str, Any] = {"n": len(values), "note": "few faces" if len(values) < MIN_GROUP_SIZE else ""}
    if len(values) < 2:
        return row | {"value": values.mean() if len(values) else np.nan, "low": np.nan, "high": np.nan}
    if is_share:  # its bootstrap interval would have no width if all values were equal
        low, high = wilson_interval(float(values.mean()), len(values))
    else:
        draws = values[_resamples(len(values))].mean(axis=1)
        low, high = confidence_interval(float(values.mean()), draws, len(values))
    return row | {"value": values.mean(), "low": low, "high": high}


def _resamples(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(count, size=(RESAMPLES, count))


def comparison_sheet(folders: dict[str, Path]) -> Picture:
    """Return a sheet of pictures with labelled columns, to compare all methods.

    The columns are: test selfies, test portraits, the avatars of each method, and person masks. The masks belong to the
    avatars of the last method; the U-Net of stage `train_mask` predicts them. In each row, all columns except for the
    portraits belong to the same selfie.

    Args:
        folders: output of stage `evaluate` for each method.
    """
    *_, last = folders.values()
    columns = {"selfies": last / "selfies.png", "portraits": last / "portraits.png"}
    columns |= {name: folder / "stylized.png" for name, folder in folders.items()}
    columns["learned mask"] = last / "learned_mask.png"
    strips = [decode_png(path.read_bytes()) for path in columns.values()]
    height = max(map(len, strips))  # there may be fewer test portraits than test selfies
    padded = [np.pad(strip, ((0, height - len(strip)), (0, 0), (0, 0)), constant_values=255) for strip in strips]
    return add_column_labels(np.concatenate(padded, axis=1), list(columns), strips[0].shape[1])
