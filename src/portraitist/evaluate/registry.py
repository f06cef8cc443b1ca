"""The registry of metrics, and functions that compute values with 95 % confidence intervals.

A metric is a function from `EvaluationData` to `Measurement`, registered with the decorator `metric`. To add metrics in
a new file, add the file's name to `METRIC_MODULES`.
"""

import hashlib
import importlib
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from portraitist.evaluate.data import EvaluationData
from portraitist.learning import realism
from portraitist.stats import bootstrap
from portraitist.stats.bootstrap import TooFewSamplesError, confidence_interval, wilson_interval

METRIC_MODULES = ("background", "content", "cost", "distances", "faces", "masks", "painted", "texture")

Values = Float[np.ndarray, "_"]  # one value per face; NaN if the metric is undefined for that face
Indices = Int[np.ndarray, "_"]  # indices of portraits
Measure = Callable[[EvaluationData], "Measurement"]


@dataclass(frozen=True)
class Measurement:
    """A metric's value with its 95 % confidence interval.

    Attributes:
        value: the value for all test images.
        low: lower end of the interval.
        high: upper end of the interval.
        n: number of images from which the value is computed.
        details: how the value was computed, such as the name of the feature network.
        per_face: the value of each face, if `value` is a mean over faces; NaN for faces without a value.
        draws: the value of each bootstrap resample, if there is an interval.
    """

    value: float
    low: float
    high: float
    n: int
    details: dict[str, Any]
    per_face: Values | None = None
    draws: Values | None = None

    def to_json(self) -> dict[str, Any]:
        """Return `value`, `low`, `high`, `n` and `details`; numbers have six significant digits."""
        numbers = {name: float(f"{getattr(self, name):.6g}") for name in ("value", "low", "high")}
        return numbers | {"n": self.n, "details": self.details}


@dataclass(frozen=True)
class Metric:
    """A metric in the registry.

    Attributes:
        name: key of the metric in metrics.json.
        description: one or two sentences for the report.
        optimum: the value of a perfect method.
        unit: unit of the value; empty for shares, ratios and distances of features.
        network: name of the feature network that the metric needs, or None.
        measure: function that computes the metric.
    """

    name: str
    description: str
    optimum: float
    unit: str
    network: str | None
    measure: Measure


_METRICS: dict[str, Metric] = {}


def register(metric: Metric) -> None:
    """Add a metric to the registry.

    Raises:
        ValueError: a metric of this name is already registered.
    """
    if metric.name in _METRICS:
        raise ValueError(f"metric {metric.name!r} is registered twice; give one of the two another name")
    _METRICS[metric.name] = metric


def metric(
    *, name: str, description: str, optimum: float, unit: str = "", network: str | None = None
) -> Callable[[Measure], Measure]:
    """Return a decorator that registers a function as a metric; the arguments are the attributes of `Metric`."""

    def decorator(measure: Measure) -> Measure:
        register(Metric(name, description, optimum, unit, network, measure))
        return measure

    return decorator


def available_metrics(networks: Collection[str]) -> dict[str, Metric]:
    """Return the metrics that can be computed with the given feature networks, by name, sorted by name."""
    for module in METRIC_MODULES:
        importlib.import_module(f"portraitist.evaluate.{module}")
    return {
        name: entry for name, entry in sorted(_METRICS.items()) if entry.network is None or entry.network in networks
    }


def code_hash() -> str:
    """Return the first 12 hex digits of the SHA-256 of the source code of metrics and intervals.

    Unlike a commit hash, these digits also identify code that is not committed.
    """
    digest = hashlib.sha256()
    for path in [*sorted(Path(__file__).parent.glob("*.py")), Path(realism.__file__), Path(bootstrap.__file__)]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def library_versions(*modules: str) -> str:
    """Return the versions of imported libraries as text, such as "torch 2.14.1, timm 1.0.31", without build tags."""
    return ", ".join(f"{name} {str(sys.modules[name].__version__).partition('+')[0]}" for name in modules)


def mean_over_faces(values: Values, data: EvaluationData, **details: Any) -> Measurement:
    """Return the mean of a value over faces, with its 95 % bootstrap interval. For the interval, faces are resampled.

    Args:
        values: one value per face; faces with NaN are left out.
        data: source of the resamples.
        details: details to store with the measurement, such as the name of the feature network.

    Raises:
        TooFewSamplesError: fewer than two faces have a value.
    """
    finite = np.isfinite(values)
    if finite.sum() < 2:
        raise TooFewSamplesError(
            f"only {finite.sum()} of {len(values)} test faces have a value of this metric; at least 2 are needed. A "
            "face may have no value because the face detector does not find it in the selfie or in the avatar. Add "
            "test selfies"
        )
    resamples = data.resamples(len(values))
    counts = finite[resamples].sum(axis=1)
    sums = np.where(finite, values, 0)[resamples].sum(axis=1)
    value = float(values[finite].mean())
    draws = np.where(counts > 0, sums / np.maximum(counts, 1), value)
    n = int(finite.sum())
    return Measurement(value, *confidence_interval(value, draws, n), n, details, values, draws)


def rate_over_faces(values: Values, data: EvaluationData, **details: Any) -> Measurement:
    """Return the share of faces with value 1, with its 95 % Wilson interval.

    Args:
        values: 0 or 1 per face; faces with NaN are left out.
        data: source of the resamples for `Measurement.draws`.
        details: details to store with the measurement.

    Raises:
        TooFewSamplesError: fewer than two faces have a value.
    """
    rate = mean_over_faces(values, data, interval="Wilson", **details)
    low, high = wilson_interval(rate.value, rate.n)
    return replace(rate, low=low, high=high)


def mean_relative_to_portraits(
    values: Callable[[Indices], Values], portraits: int, data: EvaluationData, /, **details: Any
) -> Measurement:
    """Return the mean over faces of a value that also depends on the test portraits, with its 95 % bootstrap interval.

    For the interval, both faces and portraits are resampled.

    Args:
        values: function that takes the indices of some portraits, and returns the value of each face when compared
            with these portraits.
        portraits: number of test portraits.
        data: source of the resamples.
        details: details to store with the measurement.

    Raises:
        TooFewSamplesError: fewer than two faces have a value, or there are fewer than two portraits.
    """
    measurement = mean_over_faces(values(np.arange(portraits)), data, n_portraits=portraits, **details)
    pairs = zip(data.resamples(len(data.ids)), data.resamples(portraits, "portraits"), strict=True)
    draws = np.array([_finite_mean(values(some_portraits)[faces]) for faces, some_portraits in pairs])
    low, high = confidence_interval(measurement.value, draws, min(measurement.n, portraits))
    return replace(measurement, low=low, high=high, draws=draws)


def _finite_mean(values: Values) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else np.nan


def exact(value: float, **details: Any) -> Measurement:
    """Return a value that does not depend on the test images; both ends of its interval are the value itself."""
    return Measurement(value, value, value, 1, details)
