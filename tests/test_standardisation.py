"""Standard units lead there and back, and rows never seen are fitted by ridge regression."""

import numpy as np
import pytest

from flowkit.estimators.standardisation import KINDS, Units, fitted, left_out_residuals

SHAPE, RANK = (24, 10), 2
EXACT = 1e-10
nan = np.nan


def test_without_a_ridge_it_is_the_least_squares_solution_of_least_norm():
    draw = np.random.default_rng(0).normal
    features, rows = draw(size=(7, 4)), draw(size=(5, 7))
    rows[np.random.default_rng(1).random(rows.shape) < 0.5] = nan
    fits, _ = fitted(rows, features, 0.0)
    for row, fit in zip(rows, fits, strict=True):
        known = ~np.isnan(row)
        expected = features @ np.linalg.lstsq(features[known], row[known])[0]
        np.testing.assert_allclose(fit, expected, atol=EXACT)


@pytest.mark.parametrize("ridge", [0.0, 1e-12, 1e-9, 1e-3])
def test_entries_are_left_out_though_nothing_else_tells_of_them(ridge):
    """As few known entries as features: each has all but all of its own fit."""
    draw = np.random.default_rng(0).normal
    features, rows = draw(size=(7, 4)), draw(size=(6, 7))
    rows[np.random.default_rng(1).random(rows.shape) < 0.5] = nan
    residuals = left_out_residuals(rows, features, ridge)
    np.testing.assert_array_equal(np.isnan(residuals), np.isnan(rows))
    for i, j in np.argwhere(~np.isnan(rows)):
        known = ~np.isnan(rows[i]) & (np.arange(7) != j)
        F = np.concatenate([features[known], ridge**0.5 * np.eye(4)])
        coefficients = np.linalg.lstsq(F, np.concatenate([rows[i, known], np.zeros(4)]))[0]
        assert residuals[i, j] == pytest.approx(rows[i, j] - features[j] @ coefficients, rel=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_standard_units_are_standard_and_lead_back(kind):
    draw = np.random.default_rng(0).normal
    low_rank = draw(size=(SHAPE[0], RANK)) @ draw(size=(RANK, SHAPE[1]))
    hide = np.random.default_rng(1).random(SHAPE) < 0.3
    X = np.where(hide, nan, low_rank * np.arange(1, 11) + 5)
    X[:, 4] = 2.5
    units = Units.of(X, kind)
    standard = units.standardise(X)
    np.testing.assert_allclose(units.restore(standard), X, atol=EXACT)
    means, deviations = np.nanmean(standard, axis=0), np.nanstd(standard, axis=0)
    if kind == "columns":
        varying = np.arange(10) != 4
        np.testing.assert_allclose(means, 0.0, atol=EXACT)
        np.testing.assert_allclose(deviations[varying], 1.0, atol=EXACT)
        np.testing.assert_array_equal(standard[~hide[:, 4], 4], 0.0)
    else:
        assert np.nanmean(standard**2) == pytest.approx(1.0)
    if kind == "matrix":
        assert np.nanmean(standard) == pytest.approx(0.0, abs=EXACT)


@pytest.mark.parametrize("rows", [24, 1000])
def test_a_column_that_is_constant_to_the_last_digit_has_scale_one(rows):
    """The mean of many 0.1 is not 0.1, and what that leaves must not become a unit."""
    X = np.random.default_rng(0).normal(1000.0, 10.0, (rows, 10))
    X[:, 4] = 0.1
    units = Units.of(X, "columns")
    assert units.scales[4] == 1.0
    new = X[:1] + 0.2
    assert units.standardise(new, new=True)[0, 4] == pytest.approx(0.2)
    for kind in KINDS:
        np.testing.assert_array_equal(Units.of(np.full((rows, 3), 0.1), kind).scales, 1.0)


def test_a_column_of_a_single_known_entry_has_the_scale_of_the_others():
    """One of 5000, held out 6000: 1000 units of one would decide alone when to stop."""
    X = np.random.default_rng(0).normal(5000.0, (500.0, 700.0, 900.0, 800.0, 600.0), (40, 5))
    X[1:, 3], X[:, 4], X[:, 2] = nan, nan, 5000.0
    units = Units.of(X, "columns")
    others = [np.std(X[:, 0]), np.std(X[:, 1])]
    np.testing.assert_allclose(units.scales, [*others, 1.0, *2 * [np.mean(others)]])
    assert units.standardise(np.full((1, 5), 6000.0), new=True)[0, 3] < 5


def test_scales_are_one_where_no_column_has_two_known_entries():
    X = np.where(np.eye(4) > 0, np.arange(1.0, 5.0), nan)
    np.testing.assert_array_equal(Units.of(X, "columns").scales, 1.0)
