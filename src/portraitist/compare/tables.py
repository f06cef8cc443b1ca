"""Methods beside each other: numbers as one table, differences with their intervals, groups, avatars as one sheet."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from portraitist.core.image_io import decode_png
from portraitist.core.types import Picture
from portraitist.reporting.contact_sheet import add_column_labels
from portraitist.stats.bootstrap import confidence_interval, paired_difference

MetricResults = dict[str, dict[str, Any]]  # metric: what evaluate said of it

MIN_GROUP_SIZE = 30  # faces below which a group's mean is flagged
RESAMPLINGS = 1000  # behind the interval of some of the faces


def titles(sections: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Each method by its name in tables and on the sheet: one that learned from pairs says of which kind they were."""
    kinds = {"nearest": "pseudo-pairs", "review": "pairs of reviews", "folder": "pairs of the folder"}
    return {
        name: f"{name} ({kinds[section['pairs']]})" if "pairs" in section else name
        for name, section in sections.items()
    }


def table(measured: dict[str, MetricResults]) -> pd.DataFrame:
    """A row for each metric and method: value, low, high, n, and `shown`, all three in words."""
    rows = [
        {"metric": metric, "method": method, **{key: found[key] for key in ("value", "low", "high", "n")}}
        for method, metrics in measured.items()
        for metric, found in metrics.items()
    ]
    frame = pd.DataFrame(rows)
    frame["shown"] = [_shown(row.value, row.low, row.high) for row in frame.itertuples()]
    return frame


def _shown(value: float, low: float, high: float) -> str:
    return f"{value:.3g}" if low == value == high else f"{value:.3g} [{low:.3g}, {high:.3g}]"


def wide(frame: pd.DataFrame, methods: list[str]) -> pd.DataFrame:
    """The table as people read it: a row a metric, a column a method."""
    of = frame[frame["method"].isin(methods)]
    return of.pivot_table("shown", "metric", "method", aggfunc="first").reindex(columns=methods).fillna("")


def summary(frame: pd.DataFrame) -> dict[str, dict[str, float]]:
    """{metric: {method: value}}: what `dvc metrics diff` reads as a row for each metric.method."""
    return {
        str(metric): dict(zip(rows["method"], rows["value"], strict=True)) for metric, rows in frame.groupby("metric")
    }


def intervals(frame: pd.DataFrame) -> dict[str, dict[str, float]]:
    """{metric_low: {method: bound}, metric_high: ...}, in a file of its own: else a diff has thrice the rows."""
    ends = {}
    for metric, rows in frame.groupby("metric"):
        for end in ("low", "high"):
            ends[f"{metric}_{end}"] = dict(zip(rows["method"], rows[end], strict=True))
    return ends


def differences(
    one: str, measured: dict[str, MetricResults], draws: dict[str, pd.DataFrame], faces: dict[str, pd.DataFrame]
) -> pd.DataFrame:
    """One method minus each other, on the same faces: a row for each metric and method, with interval and chance.

    `draws` are the resampled values by metric, `faces` the faces' own values by id and metric: a face that has none of
    one of the two counts in neither. `nearer` names the method that is nearer the metric's goal, where the interval
    leaves out zero.

    Raises:
        ValueError: Two methods were measured on different numbers of draws; they do not pair.
    """
    rows = []
    for other in measured:
        if other == one:
            continue
        if len(draws[other]) != len(draws[one]):
            raise ValueError(f"{one} has {len(draws[one])} draws, {other} {len(draws[other])}; they do not pair")
        for metric in map(str, draws[one]):
            if metric not in draws[other]:
                continue
            first, second = measured[one][metric], measured[other][metric]
            own = [faces[name].set_index("id")[metric] for name in (one, other) if metric in faces[name]]
            apart = own[0] - own[1] if own else pd.Series(dtype=float)
            if apart.hasnans:
                some = apart.dropna().to_numpy(float)
                if len(some) < 2:
                    continue
                drawn = some[_drawn(len(some))].mean(axis=1)
                value, low, high, chance = paired_difference(some.mean(), drawn, 0.0, np.zeros_like(drawn), len(some))
            else:
                value, low, high, chance = paired_difference(
                    first["value"],
                    draws[one][metric].to_numpy(float),
                    second["value"],
                    draws[other][metric].to_numpy(float),
                    min(first["n"], second["n"], first["about"].get("n_portraits", first["n"])),
                )
            nearer = ""
            if not low <= 0 <= high:
                pairs = ((one, first), (other, second))
                nearer = min(pairs, key=lambda pair: abs(pair[1]["value"] - pair[1]["goal"]))[0]
            rows.append({"metric": metric, "against": other, "difference": _shown(value, low, high)})
            rows[-1] |= {"chance": f"{chance:.2g}", "nearer": nearer}
    return pd.DataFrame(rows, columns=["metric", "against", "difference", "chance", "nearer"])


def gains(
    nothing: str, measured: dict[str, MetricResults], draws: dict[str, pd.DataFrame], faces: dict[str, pd.DataFrame]
) -> pd.DataFrame:
    """Each method minus having done nothing, as `differences`: a row a metric, a column a method.

    A difference whose interval leaves out zero says whether the method is nearer the goal than nothing, or farther.
    """
    columns = {}
    for name in (name for name in measured if name != nothing):
        pair = {key: measured[key] for key in (name, nothing)}
        rows = differences(name, pair, draws, faces).set_index("metric")
        words = {"": "", name: " nearer", nothing: " farther"}
        columns[name] = rows["difference"] + rows["nearer"].map(words)
    return pd.DataFrame(columns).sort_index().fillna("")


def coverage(groups: pd.DataFrame, faces: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """Each per-face metric's mean by group: a row for each group, metric and method; few faces are flagged."""
    rows = []
    for by in [str(column) for column in groups if column != "id"]:
        for name, ids in groups.groupby(by, dropna=True)["id"]:
            for method, values in faces.items():
                some = values[values["id"].isin(ids)]
                for metric in [column for column in values if column != "id"]:
                    row = {"by": by, "group": name, "metric": metric, "method": method}
                    rows.append(row | _mean(some[metric].dropna().to_numpy(float)))
    columns = ["by", "group", "metric", "method", "n", "value", "low", "high", "few"]
    return pd.DataFrame(rows, columns=columns)


def _mean(values: np.ndarray) -> dict[str, Any]:
    told: dict[str, Any] = {"n": len(values), "few": "few" if len(values) < MIN_GROUP_SIZE else ""}
    if len(values) < 2:
        return told | {"value": values.mean() if len(values) else np.nan, "low": np.nan, "high": np.nan}
    low, high = confidence_interval(float(values.mean()), values[_drawn(len(values))].mean(axis=1), len(values))
    return told | {"value": values.mean(), "low": low, "high": high}


def _drawn(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(count, size=(RESAMPLINGS, count))


def comparison_sheet(models: dict[str, Path]) -> Picture:
    """Input, portraits, each method's avatars by its title, and the mask that was learned, of the last method's."""
    *_, last = models.values()
    painted = {title: model / "painted.png" for title, model in models.items()}
    columns = {name: last / f"{name}.png" for name in ("input", "portraits")} | painted
    columns["learned mask"] = last / "learned mask.png"
    strips = [decode_png(path.read_bytes()) for path in columns.values()]
    return add_column_labels(np.concatenate(strips, axis=1), list(columns), strips[0].shape[1])
