"""Intervals of accuracies are those of their definition."""

import math

import numpy as np
import pytest

from flowkit.studies.accuracy import (
    accuracy_row,
    gain,
    hits_of,
    mean_and_margin,
    standard_error,
)

Z = 1.959963984540054  # the 97.5 % quantile of a standard normal variable
T_199 = 1.971956544  # and of Student's with 199 degrees of freedom
ROUNDING = 1e-9


@pytest.mark.parametrize(("correct", "total"), [(0, 10), (7, 10), (291, 300)])
def test_the_interval_of_an_accuracy_is_wilsons(correct, total):
    row = accuracy_row(np.arange(total) < correct)
    p, n = correct / total, total
    centre = (p + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
    assert row["accuracy"] == pytest.approx(100 * p)
    assert row["low"] == pytest.approx(100 * (centre - half), abs=ROUNDING)
    assert row["high"] == pytest.approx(100 * (centre + half), abs=ROUNDING)


def test_the_standard_error_of_an_accuracy():
    assert standard_error(np.arange(200) < 61) == pytest.approx(
        100 * math.sqrt(0.305 * 0.695 / 200)
    )


def test_a_paired_difference_counts_only_disagreements():
    first, second = np.ones(200, bool), np.ones(200, bool)
    assert gain(first, second) == (0.0, 0.0)
    first[:3], second[3:12] = False, False
    difference, margin = gain(first, second)
    assert difference == pytest.approx(100 * (9 - 3) / 200)
    variance = (12 - 6**2 / 200) / 199
    assert margin == pytest.approx(100 * T_199 * math.sqrt(variance / 200))


def test_a_margin_covers_the_mean_nineteen_times_in_twenty():
    rng = np.random.default_rng(0)
    covered = [
        abs(mean - 5) < margin
        for mean, margin in (mean_and_margin(rng.normal(5, 2, 3)) for _ in range(2000))
    ]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.02)  # 4 standard errors


def test_a_single_value_has_no_margin():
    assert mean_and_margin(np.array([3.0])) == (3.0, None)


def test_the_largest_score_is_the_class():
    scores = np.array([[0.1, 0.9], [0.6, 0.2], [-0.3, -0.2]])
    assert hits_of(scores, np.array([1, 1, 1])).tolist() == [True, False, True]
