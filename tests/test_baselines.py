"""Baselines recover what they model, and are tuned without looking at the test entries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowkit import MatrixCompletion, baselines


def _additive():
    return 3.0 + np.arange(8.0)[:, None] + np.array([0.0, 5.0, -2.0, 1.0, 0.5])[None, :]


def test_effects_recover_an_additive_matrix_from_part_of_it(key):
    problem = MatrixCompletion.from_matrix(_additive(), observed=0.7, key=key)
    np.testing.assert_allclose(baselines.row_plus_column_effects(problem), _additive(), atol=1e-8)


def test_means_recover_an_additive_matrix_from_all_of_it(key):
    problem = MatrixCompletion.from_matrix(_additive(), observed=1.0, key=key)
    np.testing.assert_allclose(baselines.row_plus_column_means(problem), _additive(), atol=1e-12)


def test_a_row_without_observations_gets_the_overall_mean():
    problem = MatrixCompletion([0, 0, 1], [0, 1, 1], [1.0, 2.0, 6.0], (3, 2))
    completed = baselines.row_plus_column_means(problem)
    np.testing.assert_allclose(completed[2], [1.0, 4.0])
    np.testing.assert_allclose(completed[:, 0], [1.5 + 1 - 3, 6 + 1 - 3, 3 + 1 - 3])


def _low_rank(key, shape=(40, 30), rank=2):
    left, right = jax.random.split(key)
    return np.asarray(
        jax.random.normal(left, (shape[0], rank)) @ jax.random.normal(right, (rank, shape[1]))
    )


def test_least_squares_recover_a_low_rank_matrix(key):
    """Without its mean a matrix of rank 2 has rank 3; the ridge leaves an error of its size."""
    target = _low_rank(key, (80, 60))
    problem = MatrixCompletion.from_matrix(target, observed=0.7, key=key)
    completed = baselines.alternating_least_squares(problem, 3, 1e-3, sweeps=200, key=key)
    assert np.sqrt(np.mean((completed - target) ** 2)) < 1e-2


def test_each_half_of_least_squares_is_a_minimum_of_the_stated_objective(key):
    """The side just solved for has no slope, by automatic differentiation of the objective."""
    problem = MatrixCompletion.from_matrix(_low_rank(key), observed=0.6, key=key)
    mask, residual = baselines._dense(problem)
    penalty = np.diag([1e-2, 0.5, 0.5])
    right = np.random.default_rng(0).normal(size=(30, 3))
    left = baselines._ridge_side(residual, mask, right, penalty)

    def objective(a, b):
        model = a[:, :1] + b[:, 0][None, :] + a[:, 1:] @ b[:, 1:].T
        ridge = sum(jnp.sum((x**2) @ jnp.diagonal(penalty)) for x in (a, b))
        return jnp.sum(jnp.where(mask, residual - model, 0.0) ** 2) + ridge

    slope = jax.grad(objective)(jnp.asarray(left), jnp.asarray(right))
    assert float(jnp.abs(slope).max()) < 1e-11


def test_tuning_finds_the_rank(key):
    problem = MatrixCompletion.from_matrix(_low_rank(key, (60, 40), 3), observed=0.5, key=key)
    _, rank, _ = baselines.tuned_alternating_least_squares(problem, ridges=(0.01, 0.1), key=key)
    assert rank == 3


@pytest.mark.parametrize(
    ("rank", "ridge", "name"), [(0, 1.0, "rank"), (1, 0.0, "ridge"), (1, -1.0, "ridge")]
)
def test_bad_settings_are_refused_by_name(rank, ridge, name, key):
    problem = MatrixCompletion.from_matrix(_low_rank(key), observed=0.6, key=key)
    with pytest.raises(ValueError, match=f"`{name}` must be positive"):
        baselines.alternating_least_squares(problem, rank, ridge, key=key)
