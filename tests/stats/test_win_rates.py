import pandas as pd
import pytest

from portraitist.stats.win_rates import win_rates


def answers(*rows):
    return pd.DataFrame(rows, columns=["id", "left", "right", "preferred"])


def test_answers_about_one_face_count_as_their_share():
    rows = [
        ("1", "a", "b", "a"),
        ("1", "b", "a", "b"),
        ("2", "a", "b", "a"),
        ("3", "b", "a", "a"),
        ("3", "a", "b", "a"),
    ]
    (row,) = win_rates(answers(*rows)).to_dict("records")
    assert row["preferred"] == pytest.approx((0.5 + 1 + 1) / 3)
    assert (row["answers"], row["faces"]) == (5, 3)


def test_other_pairs_do_not_matter():
    wins = [(str(face), first, second, first) for face in range(40) for first, second in ("ab", "bc")]
    table = win_rates(answers(*wins, ("1", "a", "c", "c"), ("2", "a", "c", "c"))).set_index(["method", "against"])
    assert table.loc[("a", "c"), "preferred"] == 0
    assert table.loc[("a", "c"), "high"] > 0.5


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
    assert (row["preferred"], row["high"]) == (1, pytest.approx(1))
    assert row["low"] == pytest.approx(10 / (10 + 1.96**2), abs=1e-3)


def test_faces_are_those_of_the_pair():
    rows = [(str(face), "a", "b", "a") for face in range(12)] + [("0", "a", "b", "a"), ("1", "b", "c", "c")]
    table = win_rates(answers(*rows, ("2", "b", "c", "c"))).set_index(["method", "against"])
    assert list(table.index) == [("a", "b"), ("b", "c")]  # nobody compared a with c
    assert table.loc[("a", "b"), ["answers", "faces"]].tolist() == [13, 12]
    assert table.loc[("b", "c"), ["answers", "faces"]].tolist() == [2, 2]


def test_no_answers_give_an_empty_frame():
    assert win_rates(answers()).empty
