import numpy as np
import pytest

from portraitist.stats.bootstrap import (
    TooFewSamplesError,
    confidence_interval,
    paired_difference,
    paired_rate_difference,
    width_factor,
    wilson_interval,
)


def mean_draws(values, count=2000, seed=0):
    resamples = np.random.default_rng(seed).integers(len(values), size=(count, len(values)))
    return values[resamples].mean(axis=1)


def test_width_factor_is_large_for_few_samples_only():
    assert width_factor(10) == pytest.approx(2.262157 / 1.959964 * np.sqrt(10 / 9), rel=1e-5)
    assert width_factor(100_000) == pytest.approx(1, abs=1e-4)
    with pytest.raises(TooFewSamplesError, match="1"):
        width_factor(1)


def test_interval_is_centred_on_the_value_despite_biased_draws():
    draws = np.linspace(0, 1, 1001)
    low, high = confidence_interval(7.0, draws, 100_000)
    assert (low, high) == (pytest.approx(7 - 0.475, abs=1e-3), pytest.approx(7 + 0.475, abs=1e-3))


@pytest.mark.parametrize("n", [8, 17, 60])
def test_intervals_of_a_mean_have_95_percent_coverage(n):
    rng = np.random.default_rng(4)
    covered = 0
    for _ in range(400):
        values = rng.normal(3, 1, n)
        low, high = confidence_interval(float(values.mean()), mean_draws(values, 400), n)
        covered += low <= 3 <= high
    assert 0.92 <= covered / 400 <= 0.98


def test_differences_of_halves_have_95_percent_coverage():
    rng = np.random.default_rng(5)
    values, covered = rng.gamma(2, size=80), 0
    for split in range(400):
        order = np.random.default_rng(split).permutation(80)
        a, b = values[order[:40]], values[order[40:]]
        difference = paired_difference(a.mean(), mean_draws(a, 400), b.mean(), mean_draws(b, 400), 40)
        covered += difference.low <= 0 <= difference.high
    assert 0.90 <= covered / 400 <= 0.99


def test_pairing_removes_variation_between_faces():
    rng = np.random.default_rng(6)
    face = rng.normal(0, 10, 50)
    a, b = face + 1 + rng.normal(0, 0.1, 50), face + rng.normal(0, 0.1, 50)
    paired = paired_difference(a.mean(), mean_draws(a), b.mean(), mean_draws(b), 50)
    assert paired.value == pytest.approx(1, abs=0.1)
    assert 0.9 < paired.low < paired.high < 1.1
    assert paired.p_value == pytest.approx(2 / 2001)
    unpaired = paired_difference(a.mean(), mean_draws(a), b.mean(), mean_draws(b, seed=1), 50)
    assert unpaired.low < 0 < unpaired.high


def test_equal_estimates_have_p_value_1():
    draws = mean_draws(np.random.default_rng(7).normal(size=20))
    assert paired_difference(0.5, draws, 0.5, draws, 20) == (0, 0, 0, 1)


def test_missing_draws_are_ignored():
    draws = mean_draws(np.random.default_rng(7).normal(size=20), 100)
    padded = np.concatenate([draws, np.full(400, np.nan)])
    assert confidence_interval(1.0, padded, 20) == confidence_interval(1.0, draws, 20)
    assert paired_difference(1.0, padded, 0.5, padded + 0.1, 20) == paired_difference(1.0, draws, 0.5, draws + 0.1, 20)


def test_interval_of_rate_1_has_a_width():
    low, high = wilson_interval(1.0, 34)
    assert (low, high) == (pytest.approx(34 / 37.8415, abs=1e-4), pytest.approx(1))  # 34 / (34 + 1.96^2)
    low, high = wilson_interval(0.5, 100)
    assert (round(low, 4), round(high, 4)) == (0.4038, 0.5962)


def paired_rates(both, only_a, only_b, neither):
    counts = [both, only_a, only_b, neither]
    return paired_rate_difference(*(np.repeat(column, counts).astype(bool) for column in ([1, 1, 0, 0], [1, 0, 1, 0])))


def test_paired_rates_match_published_examples():
    """Fagerland et al. (2014), airway hyper-responsiveness before and after a transplantation; Newcombe (1998)."""
    difference = paired_rates(1, 1, 7, 12)
    assert (difference.low, difference.high) == (pytest.approx(-0.507, abs=5e-4), pytest.approx(-0.026, abs=5e-4))
    assert difference.p_value == pytest.approx(0.0391, abs=5e-5)
    difference = paired_rates(36, 12, 2, 0)
    assert (difference.low, difference.high) == (pytest.approx(0.0569, abs=5e-5), pytest.approx(0.3404, abs=5e-5))


def test_equal_rates_have_an_interval_with_a_width():
    difference = paired_rates(33, 0, 0, 1)
    assert difference.low < difference.value == 0 < difference.high
    assert difference.p_value == 1
    assert paired_rates(10, 2, 2, 10).p_value > 0.6


def test_exchanged_rates_have_the_negated_difference():
    assert paired_rates(20, 3, 9, 5).negated() == pytest.approx(paired_rates(20, 9, 3, 5))


@pytest.mark.parametrize("rates", [(1.0, 0.97), (0.99, 0.95), (0.6, 0.6)])
def test_intervals_of_paired_rates_have_95_percent_coverage(rates):
    rng = np.random.default_rng(8)
    covered = 0
    for _ in range(600):
        difference = paired_rate_difference(*(rng.random(34) < rate for rate in rates))
        covered += difference.low <= rates[0] - rates[1] <= difference.high
    assert covered / 600 >= 0.93
