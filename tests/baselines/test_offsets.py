"""Offsets recover an additive matrix, and shrink as their ridge says."""

import numpy as np
import pytest

from flowkit import MatrixCompletion, baselines


def _additive():
    return 3.0 + np.arange(8.0)[:, None] + np.array([0.0, 5.0, -2.0, 1.0, 0.5])[None, :]


def test_effects_recover_an_additive_matrix_from_part_of_it(key):
    problem = MatrixCompletion.from_matrix(_additive(), observed=0.7, key=key)
    np.testing.assert_allclose(
        baselines.row_plus_column_effects(problem).matrix, _additive(), atol=1e-8
    )


def test_means_recover_an_additive_matrix_from_all_of_it(key):
    problem = MatrixCompletion.from_matrix(_additive(), observed=1.0, key=key)
    np.testing.assert_allclose(
        baselines.row_plus_column_means(problem).matrix, _additive(), atol=1e-12
    )


def test_a_row_without_observations_gets_the_overall_mean():
    problem = MatrixCompletion([0, 0, 1], [0, 1, 1], [1.0, 2.0, 6.0], (3, 2))
    completed = baselines.row_plus_column_means(problem).matrix
    np.testing.assert_allclose(completed[2], [1.0, 4.0])
    np.testing.assert_allclose(completed[:, 0], [1.5 + 1 - 3, 6 + 1 - 3, 3 + 1 - 3])


def test_a_ridge_shrinks_effects_to_the_solution_of_the_normal_equations(key):
    """The slope of the stated objective is zero, written with loops over the observations."""
    noise = np.random.default_rng(0).normal(size=(8, 5))
    problem = MatrixCompletion.from_matrix(_additive() + noise, observed=0.7, key=key)
    completed = baselines.row_plus_column_effects(problem, ridge=2.0)
    centred = completed.matrix - completed.facts["mean"]
    # With equal ridges the effects of both sides add up to the same number.
    total = centred.sum() / (8 + 5)
    rows, columns = (centred.sum(1) - total) / 5, (centred.sum(0) - total) / 8
    residuals = np.asarray(problem.values) - completed.matrix[problem.rows, problem.cols]
    for side, index, effects in ((8, problem.rows, rows), (5, problem.cols, columns)):
        for i in range(side):
            slope = residuals[np.asarray(index) == i].sum() - 2.0 * effects[i]
            assert abs(slope) < 1e-8


def test_an_infinite_ridge_leaves_the_mean_and_a_negative_one_is_refused(key):
    problem = MatrixCompletion.from_matrix(_additive(), observed=0.7, key=key)
    stiff = baselines.row_plus_column_effects(problem, ridge=1e12).matrix
    np.testing.assert_allclose(stiff, float(problem.values.mean()), atol=1e-8)
    with pytest.raises(ValueError, match="`ridge` must be at least 0"):
        baselines.row_plus_column_effects(problem, ridge=-1.0)


@pytest.mark.usefixtures("as_a_user")
def test_what_is_no_completion_problem_is_refused():
    with pytest.raises(ValueError, match="`problem` must be a MatrixCompletion"):
        baselines.soft_impute(np.eye(3), 1.0)
