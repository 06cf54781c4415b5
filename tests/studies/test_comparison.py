"""A published number agrees where every seed lies in its range, the tolerance included."""

import pytest

from flowkit.studies import Comparison


@pytest.mark.parametrize(
    ("measured", "published", "tolerance", "verdict", "shown"),
    [
        ([0.82], 0.82, 0.0, "yes", "0.82"),
        ([0.84], 0.82, 0.02, "no", "0.82 +- 2 %"),
        ([0.83], 0.82, 0.02, "yes", "0.82 +- 2 %"),
        ([-1.01], -1.0, 0.02, "yes", "-1 +- 2 %"),
        ([212.0, 219.0], (210.0, 218.0), 0.0, "1 of 2", "210 to 218"),
        ([219.0, 209.0], (210.0, 218.0), 0.0, "no", "210 to 218"),
        ([1e-5, 2e-5], (None, 1e-4), 0.0, "yes", "at most 0.0001"),
        ([30.0], (30.0, None), 0.0, "yes", "at least 30"),
        ([29.0], (30.0, None), 0.0, "no", "at least 30"),
        ([float("nan")], (None, 1.0), 0.0, "no", "at most 1"),
    ],
)
def test_verdicts(measured, published, tolerance, verdict, shown):
    comparison = Comparison("error", measured, published, "a paper", tolerance)
    cells = comparison.cells()
    assert (cells[2], cells[3]) == (shown, verdict)
    assert comparison.within is (verdict == "yes")


def test_plain_data_hold_the_range_and_every_value():
    found = Comparison("norm", [212.0, 219.0], (210.0, None), "a paper").as_dict()
    assert found["values"] == [212.0, 219.0]
    assert found["measured"] == 215.5
    assert found["published"] == [210.0, None]
    assert (found["agrees_from"], found["agrees_to"]) == (210.0, None)
    assert (found["inside"], found["within"]) == (2, True)
