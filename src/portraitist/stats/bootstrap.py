"""Confidence intervals: bootstrap intervals (Efron, 1979) with a correction for small samples, and those of rates."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import bdtr, ndtri, stdtrit

Draws = Float[np.ndarray, "draws"]  # an estimate computed from each bootstrap resample; NaN where it was not computed

CONFIDENCE = 0.95


class TooFewSamplesError(ValueError):
    """There are too few samples for a confidence interval."""


class Difference(NamedTuple):
    """A difference of two estimates, its confidence interval and its two-sided p-value."""

    value: float
    low: float
    high: float
    p_value: float

    def negated(self) -> "Difference":
        """Return the difference with the estimates exchanged."""
        return Difference(-self.value, -self.high, -self.low, self.p_value)


def confidence_interval(value: float, draws: Draws, n: int) -> tuple[float, float]:
    """Return the 95 % bootstrap percentile interval of an estimate as (low, high), with two corrections.

    First, the draws are shifted so that their mean equals `value`. A resample contains duplicates, and duplicates make
    some estimates too large, for example the Frechet distance between two sets of pictures. Second, the interval is
    widened by the factor `width_factor`, which is 1.06 for 30 samples and about 1 for 1000. Without this factor, the
    interval of few samples is too narrow, because resamples vary less than new samples. benchmarks/intervals.py
    measures the coverage of the intervals.

    Args:
        value: the estimate.
        draws: the same estimate, computed from each resample.
        n: number of samples.
    """
    tail, draws = (1 - CONFIDENCE) / 2, draws[np.isfinite(draws)]
    low, high = np.percentile(draws, [100 * tail, 100 * (1 - tail)]) - draws.mean()
    factor = width_factor(n)
    return float(value + factor * low), float(value + factor * high)


def width_factor(n: int) -> float:
    """Return the small-sample correction of an interval's width (Hesterberg, 2015, section 3.2).

    The factor is t / z * sqrt(n / (n - 1)), with the 97.5 % quantiles t (Student's t) and z (normal distribution).

    Raises:
        TooFewSamplesError: `n` is less than two.
    """
    if n < 2:
        raise TooFewSamplesError(f"an interval needs at least two samples, found {n}")
    tail = (1 - CONFIDENCE) / 2
    return float(stdtrit(n - 1, 1 - tail) / ndtri(1 - tail) * np.sqrt(n / (n - 1)))


def wilson_interval(rate: float, n: int) -> tuple[float, float]:
    """Return the 95 % interval of a rate in `n` samples as (low, high) (Wilson, 1927).

    Unlike a bootstrap interval, it has a width greater than zero even if the rate is 0 or 1.
    """
    z2 = 1.959964**2
    middle = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = np.sqrt(z2 * (rate * (1 - rate) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    return max(0.0, float(middle - half)), min(1.0, float(middle + half))


def paired_difference(value_a: float, draws_a: Draws, value_b: float, draws_b: Draws, n: int) -> Difference:
    """Return the difference of two estimates, `value_a - value_b`, with its interval and p-value.

    Both estimates must come from the same `n` samples, and `draws_a[i]` and `draws_b[i]` must come from the same
    resample. The variation between samples then cancels in the difference.

    For the p-value, the differences `draws_a - draws_b` are shifted so that their mean equals `value_a - value_b`. Then
    their distances from this mean are multiplied by `width_factor(n)`. The p-value is twice the share of the resulting
    differences whose sign is opposite to the sign of `value_a - value_b`; it is at least 2 / (number of draws + 1).
    """
    value = value_a - value_b
    draws = draws_a - draws_b
    draws = draws[np.isfinite(draws)]
    widened = width_factor(n) * (draws - draws.mean()) + value
    beyond_zero = min(int((widened <= 0).sum()), int((widened >= 0).sum()))
    p_value = min(1.0, 2 * (beyond_zero + 1) / (len(draws) + 1))
    return Difference(value, *confidence_interval(value, draws, n), p_value)


def paired_rate_difference(a: Bool[np.ndarray, " _"], b: Bool[np.ndarray, " _"]) -> Difference:
    """Return the difference of two rates in the same samples, the mean of `a` minus that of `b`.

    The interval is that of Newcombe (Statistics in Medicine, 1998, method 10), from the Wilson intervals of both rates
    and their correlation. The p-value is the mid-p value of McNemar's test (Fagerland et al., 2013). Unlike bootstrap
    intervals, the interval has a width greater than zero even if both rates are 0 or 1.
    """
    n, both, neither = len(a), int((a & b).sum()), int((~a & ~b).sum())
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    rates = float(a.mean()), float(b.mean())
    (low_a, high_a), (low_b, high_b) = (wilson_interval(rate, n) for rate in rates)
    margins = a.sum() * (n - a.sum()) * b.sum() * (n - b.sum())
    excess = both * neither - only_a * only_b
    correlation = (max(excess - n / 2, 0) if excess > 0 else excess) / np.sqrt(margins) if margins else 0.0
    value = rates[0] - rates[1]

    def margin(error_a: float, error_b: float) -> float:
        return float(np.sqrt(max(error_a**2 - 2 * correlation * error_a * error_b + error_b**2, 0.0)))

    low = value - margin(rates[0] - low_a, high_b - rates[1])
    high = value + margin(high_a - rates[0], rates[1] - low_b)
    return Difference(value, low, high, _mcnemar_mid_p(only_a, only_b))


def _mcnemar_mid_p(only_a: int, only_b: int) -> float:
    fewer, discordant = min(only_a, only_b), only_a + only_b
    if not discordant:
        return 1.0
    tail = bdtr(fewer, discordant, 0.5)
    observed = tail - (bdtr(fewer - 1, discordant, 0.5) if fewer else 0)
    return float(1 - observed / 2 if only_a == only_b else 2 * tail - observed)
