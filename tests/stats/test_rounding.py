import pytest

from portraitist.stats.rounding import rounded, shown


@pytest.mark.parametrize(
    ("value", "low", "high", "expected", "text"),
    [
        (0.9537, 0.921, 0.978, 0.95, "0.95 [0.92, 0.98]"),
        (8.1234, 7.6, 8.7, 8.1, "8.1 [7.6, 8.7]"),
        (153.4, 141.2, 166.1, 153.0, "153 [141, 166]"),
        (1534.0, 1412.0, 1661.0, 1530.0, "1530 [1410, 1660]"),
        (-0.0004, -0.03, 0.03, 0.0, "0.00 [-0.03, 0.03]"),
        (0.12345, 0.12345, 0.12345, 0.123, "0.123"),
        (0.7, 0.6001, 0.7999, 0.7, "0.70 [0.60, 0.80]"),
        (1.0, 1.0, 1.0, 1.0, "1"),
    ],
)
def test_value_has_the_precision_of_its_interval(value, low, high, expected, text):
    assert rounded(value, low, high) == expected
    assert str(rounded(value, low, high)) == str(expected)
    assert shown(value, low, high) == text
