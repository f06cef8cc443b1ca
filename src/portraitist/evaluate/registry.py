"""The registry of metrics, and the estimators of their confidence intervals.

A metric is a function from `EvaluationData` to `Measurement`, registered with the decorator `metric`. To add a family
of metrics, add a file, and its name to `METRIC_MODULES`.
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
from portraitist.stats.bootstrap import TooFewSamplesError, confidence_interval, wilson_interval

METRIC_MODULES = ("background", "content", "cost", "distances", "faces", "masks", "painted", "texture")

Values = Float[np.ndarray, "_"]  # one value per face; NaN if it is undefined for that face
Indices = Int[np.ndarray, "_"]
Measure = Callable[[EvaluationData], "Measurement"]


@dataclass(frozen=True)
class Measurement:
    """A metric's value with its 95 % confidence interval.

    Attributes:
        n: number of images that the value is computed from.
        details: how the value was computed, such as the feature network.
        per_face: the values that were averaged, if the value is a mean over faces.
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
        """Return value, interval, n and details; six significant digits, so that equal results give equal bytes."""
        numbers = {name: float(f"{getattr(self, name):.6g}") for name in ("value", "low", "high")}
        return numbers | {"n": self.n, "details": self.details}


@dataclass(frozen=True)
class Metric:
    """A registered metric.

    Attributes:
        optimum: the value of a perfect method.
        unit: empty for shares, ratios and distances of features.
        network: name of the required feature network, if any.
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
        raise ValueError(f"metric {metric.name!r} is registered twice")
    _METRICS[metric.name] = metric


def metric(
    *, name: str, description: str, optimum: float, unit: str = "", network: str | None = None
) -> Callable[[Measure], Measure]:
    """Register the decorated function as a metric."""

    def decorator(measure: Measure) -> Measure:
        register(Metric(name, description, optimum, unit, network, measure))
        return measure

    return decorator


def available_metrics(networks: Collection[str]) -> dict[str, Metric]:
    """Return all metrics that need no network or one of `networks`, sorted by name."""
    for module in METRIC_MODULES:
        importlib.import_module(f"portraitist.evaluate.{module}")
    return {
        name: entry for name, entry in sorted(_METRICS.items()) if entry.network is None or entry.network in networks
    }


def code_hash() -> str:
    """Return 12 hex digits of the SHA-256 of the metrics' code, which also identify uncommitted code."""
    digest = hashlib.sha256()
    for path in [*sorted(Path(__file__).parent.glob("*.py")), Path(realism.__file__)]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:12]


def library_versions(*modules: str) -> str:
    """Return the versions of imported libraries, without local build tags such as +cpu."""
    return ", ".join(f"{name} {str(sys.modules[name].__version__).partition('+')[0]}" for name in modules)


def mean_over_faces(values: Values, data: EvaluationData, **details: Any) -> Measurement:
    """Return the mean of the finite values, with an interval over faces.

    Raises:
        TooFewSamplesError: fewer than two values are finite.
    """
    finite = np.isfinite(values)
    if finite.sum() < 2:
        raise TooFewSamplesError(f"{finite.sum()} of {len(values)} faces have a value; at least two are needed")
    resamples = data.resamples(len(values))
    counts = finite[resamples].sum(axis=1)
    sums = np.where(finite, values, 0)[resamples].sum(axis=1)
    value = float(values[finite].mean())
    draws = np.where(counts > 0, sums / np.maximum(counts, 1), value)
    n = int(finite.sum())
    return Measurement(value, *confidence_interval(value, draws, n), n, details, values, draws)


def rate_over_faces(values: Values, data: EvaluationData, **details: Any) -> Measurement:
    """Return the mean of values that are 0, 1 or NaN, with Wilson's interval.

    Raises:
        TooFewSamplesError: fewer than two values are finite.
    """
    rate = mean_over_faces(values, data, interval="Wilson", **details)
    low, high = wilson_interval(rate.value, rate.n)
    return replace(rate, low=low, high=high)


def mean_relative_to_portraits(
    values: Callable[[Indices], Values], portraits: int, data: EvaluationData, /, **details: Any
) -> Measurement:
    """Return the mean over faces of a value that also depends on the portraits, with an interval over both.

    Args:
        values: function that returns the value of each face, computed with a subset of the portraits.
        portraits: number of portraits.
        data: source of the resamples.
        details: details to store with the measurement.

    Raises:
        TooFewSamplesError: fewer than two faces have a value, or there are fewer than two portraits.
    """
    measurement = mean_over_faces(values(np.arange(portraits)), data, n_portraits=portraits, **details)
    pairs = zip(data.resamples(len(data.ids)), data.resamples(portraits, "portraits"), strict=True)
    draws = np.array([np.nanmean(values(some_portraits)[faces]) for faces, some_portraits in pairs])
    low, high = confidence_interval(measurement.value, draws, min(measurement.n, portraits))
    return replace(measurement, low=low, high=high, draws=draws)


def exact(value: float, **details: Any) -> Measurement:
    """Return a value that does not depend on the test images, with an interval of zero width."""
    return Measurement(value, value, value, 1, details)
