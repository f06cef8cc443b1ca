import numpy as np
import pytest

from portraitist.stats.bootstrap import confidence_interval, paired_difference, widening


def draws_of(values, times=2000, seed=0):
    drawn = np.random.default_rng(seed).integers(len(values), size=(times, len(values)))
    return values[drawn].mean(axis=1)


def test_an_interval_of_few_is_wider_by_students_t_and_of_many_not_at_all():
    assert widening(10) == pytest.approx(2.262157 / 1.959964 * np.sqrt(10 / 9), rel=1e-5)
    assert widening(100_000) == pytest.approx(1, abs=1e-4)
    with pytest.raises(ValueError, match="needs two pictures, found 1"):
        widening(1)


def test_an_interval_lies_around_its_value_however_biased_the_draws():
    draws = np.linspace(0, 1, 1001)
    low, high = confidence_interval(7.0, draws, 100_000)
    assert (low, high) == (pytest.approx(7 - 0.475, abs=1e-3), pytest.approx(7 + 0.475, abs=1e-3))


@pytest.mark.parametrize("n", [8, 17, 60])
def test_of_a_hundred_intervals_of_a_mean_about_ninety_five_hold_the_truth(n):
    rng = np.random.default_rng(4)
    held = 0
    for _ in range(400):
        values = rng.normal(3, 1, n)
        low, high = confidence_interval(float(values.mean()), draws_of(values, 400), n)
        held += low <= 3 <= high
    assert 0.92 <= held / 400 <= 0.98


def test_of_a_hundred_differences_of_halves_about_ninety_five_hold_zero():
    rng = np.random.default_rng(5)
    pool, held = rng.gamma(2, size=80), 0
    for split in range(400):
        order = np.random.default_rng(split).permutation(80)
        one, other = pool[order[:40]], pool[order[40:]]
        low, high = paired_difference(one.mean(), draws_of(one, 400), other.mean(), draws_of(other, 400), 40)[1:3]
        held += low <= 0 <= high
    assert 0.90 <= held / 400 <= 0.99


def test_what_is_hard_about_a_face_takes_itself_out_of_a_difference():
    rng = np.random.default_rng(6)
    face = rng.normal(0, 10, 50)
    one, other = face + 1 + rng.normal(0, 0.1, 50), face + rng.normal(0, 0.1, 50)
    value, low, high, chance = paired_difference(one.mean(), draws_of(one), other.mean(), draws_of(other), 50)
    assert value == pytest.approx(1, abs=0.1)
    assert 0.9 < low < high < 1.1
    assert chance == pytest.approx(2 / 2001)
    unpaired = paired_difference(one.mean(), draws_of(one), other.mean(), draws_of(other, seed=1), 50)
    assert unpaired[1] < 0 < unpaired[2]


def test_equal_methods_differ_by_nothing_for_certain():
    draws = draws_of(np.random.default_rng(7).normal(size=20))
    assert paired_difference(0.5, draws, 0.5, draws, 20) == (0, 0, 0, 1)


def test_draws_that_were_not_made_count_for_nothing():
    draws = draws_of(np.random.default_rng(7).normal(size=20), 100)
    padded = np.concatenate([draws, np.full(400, np.nan)])
    assert confidence_interval(1.0, padded, 20) == confidence_interval(1.0, draws, 20)
    assert paired_difference(1.0, padded, 0.5, padded + 0.1, 20) == paired_difference(1.0, draws, 0.5, draws + 0.1, 20)
