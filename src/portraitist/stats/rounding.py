"""Round values to the precision that their confidence intervals justify.

A value is rounded to a multiple of a power of ten. This power is between 1/20 and 1/2 of the interval's half-width.

The same program computes slightly different values on two types of CPU. If the difference is much smaller than the
interval, the rounded values are almost always equal. The files of results then do not depend on the CPU.
"""

from math import floor, log10

SIGNIFICANT = 3  # digits of a value that has no interval


def rounded(value: float, low: float, high: float) -> float:
    """Return a value rounded to the precision of its interval: 0.9537 with the interval [0.92, 0.98] becomes 0.95."""
    if low == high:
        return float(f"{value:.{SIGNIFICANT}g}")
    return round(value, _decimals(low, high)) + 0.0  # not -0.0


def shown(value: float, low: float, high: float) -> str:
    """Return a value and its interval as text, such as "0.95 [0.92, 0.98]"; only the value if low equals high."""
    if low == high:
        return f"{value:.{SIGNIFICANT}g}"
    places = max(0, _decimals(low, high))
    texts = [f"{rounded(number, low, high):.{places}f}" for number in (value, low, high)]
    return f"{texts[0]} [{texts[1]}, {texts[2]}]"


def _decimals(low: float, high: float) -> int:
    return -floor(log10((high - low) / 2 / 1.9))  # 1.9 instead of 2, because half-widths such as 0.2 are frequent
