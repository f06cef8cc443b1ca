"""Intervals from resampled sets (Efron 1979), made wide enough for few pictures."""

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri, stdtrit

Draws = Float[np.ndarray, "times"]  # what each resampled set gave; NaN where none was drawn

CONFIDENCE = 0.95


class TooFewSamplesError(ValueError):
    """There are too few pictures for a number with an interval."""


def confidence_interval(value: float, draws: Draws, n: int) -> tuple[float, float]:
    """The percentile interval of a number of n pictures, shifted so that the draws' mean is the value, and widened.

    The shift: a resampled set holds pictures twice, which lengthens a distance of sets. The widening, by Student's t
    over the normal and the root of n over n - 1: a resampled set varies less than a new one (Hesterberg 2015, 3.2); a
    twentieth at 30 pictures, nothing at a thousand. benchmarks/intervals.py counts how often the intervals hold.
    """
    tail, draws = (1 - CONFIDENCE) / 2, draws[np.isfinite(draws)]
    low, high = np.percentile(draws, [100 * tail, 100 * (1 - tail)]) - draws.mean()
    wider = widening(n)
    return float(value + wider * low), float(value + wider * high)


def widening(n: int) -> float:
    """By how much an interval of n pictures must be wider than its draws say.

    Raises:
        TooFewError: There are fewer than two pictures.
    """
    if n < 2:
        raise TooFewSamplesError(f"an interval needs two pictures, found {n}")
    tail = (1 - CONFIDENCE) / 2
    return float(stdtrit(n - 1, 1 - tail) / ndtri(1 - tail) * np.sqrt(n / (n - 1)))


def paired_difference(
    one: float, one_draws: Draws, other: float, other_draws: Draws, n: int
) -> tuple[float, float, float, float]:
    """One number minus another, its interval, and the chance of so large a difference were there none (two-sided).

    Each draw of both must have resampled the same faces and portraits: what is hard about a face then takes itself out.
    The chance is the share of draws, widened as the interval is, beyond zero; it is never below 2 / (draws + 1).
    """
    value = one - other
    draws = one_draws - other_draws
    draws = draws[np.isfinite(draws)]
    spread = widening(n) * (draws - draws.mean()) + value
    beyond = min(int((spread <= 0).sum()), int((spread >= 0).sum()))
    return value, *confidence_interval(value, draws, n), min(1.0, 2 * (beyond + 1) / (len(draws) + 1))
