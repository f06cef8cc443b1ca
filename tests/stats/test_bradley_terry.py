from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from portraitist.stats.bradley_terry import fit_strengths, win_rates


def answers(*rows):
    return pd.DataFrame(rows, columns=["id", "left", "right", "preferred"])


def test_strengths_of_two_methods_are_win_shares_with_prior():
    rows = [(str(face), "a", "b", "a" if face < 15 else "b") for face in range(20)]
    strengths = fit_strengths(answers(*rows), ["a", "b"])
    assert strengths[0] / strengths.sum() == pytest.approx(15.5 / 21)


def test_strengths_maximise_the_likelihood():
    rng = np.random.default_rng(0)
    truth = {"a": 4.0, "b": 2.0, "c": 1.0}
    rows = []
    for number in range(6000):
        left, right = rng.permutation(list(truth))[:2]
        left_wins = rng.random() < truth[left] / (truth[left] + truth[right])
        rows.append((str(number), left, right, left if left_wins else right))
    strengths = fit_strengths(answers(*rows), list(truth))
    assert strengths == pytest.approx([4 / 7, 2 / 7, 1 / 7], rel=0.1)
    assert all(stronger > weaker for stronger, weaker in pairwise(strengths))


def test_more_answers_give_narrower_intervals():
    few = win_rates(answers(*((str(face), "a", "b", "a" if face % 4 else "b") for face in range(12))))
    many = win_rates(answers(*((str(face), "b", "a", "a" if face % 4 else "b") for face in range(240))))
    for frame, count in ((few, 12), (many, 240)):
        (row,) = frame.to_dict("records")
        assert (row["method"], row["against"], row["answers"]) == ("a", "b", count)
        assert row["low"] < row["preferred"] < row["high"]
    assert many["high"][0] - many["low"][0] < 0.4 * (few["high"][0] - few["low"][0])
    assert many["low"][0] > 0.5


def test_answers_on_one_face_give_the_interval_0_to_1():
    (row,) = win_rates(answers(*[("1", "a", "b", "a")] * 9)).to_dict("records")
    assert (row["low"], row["high"], row["faces"]) == (0, 1, 1)


def test_unanimous_answers_have_an_interval_with_a_width():
    (row,) = win_rates(answers(*((str(face), "a", "b", "a") for face in range(10)))).to_dict("records")
    assert row["preferred"] == pytest.approx(10.5 / 11)
    assert 0.5 < row["low"] < 0.7
    assert row["high"] > row["preferred"]


def test_faces_are_those_of_the_pair():
    rows = [(str(face), "a", "b", "a") for face in range(12)] + [("0", "a", "b", "a"), ("1", "b", "c", "c")]
    table = win_rates(answers(*rows, ("2", "b", "c", "c"))).set_index(["method", "against"])
    assert list(table.index) == [("a", "b"), ("b", "c")]  # nobody compared a with c
    assert table.loc[("a", "b"), ["answers", "faces"]].tolist() == [13, 12]
    assert table.loc[("b", "c"), ["answers", "faces"]].tolist() == [2, 2]


def test_no_answers_give_an_empty_frame():
    assert win_rates(answers()).empty
