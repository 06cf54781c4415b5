"""Alternating least squares minimise what they state, and are tuned without the test entries."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowkit import MatrixCompletion, baselines
from flowkit.baselines.alternating import _ridge_side
from flowkit.baselines.completed import observed_in


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
    assert np.sqrt(np.mean((completed.matrix - target) ** 2)) < 1e-2


def test_each_half_of_least_squares_is_a_minimum_of_the_stated_objective(key):
    """The side just solved for has no slope, by automatic differentiation of the objective."""
    problem = MatrixCompletion.from_matrix(_low_rank(key), observed=0.6, key=key)
    mask, residual = observed_in(problem)
    penalty = np.diag([1e-2, 0.5, 0.5])
    right = np.random.default_rng(0).normal(size=(30, 3))
    left = _ridge_side(residual, mask, right, penalty)

    def objective(a, b):
        model = a[:, :1] + b[:, 0][None, :] + a[:, 1:] @ b[:, 1:].T
        ridge = sum(jnp.sum((x**2) @ jnp.diagonal(penalty)) for x in (a, b))
        return jnp.sum(jnp.where(mask, residual - model, 0.0) ** 2) + ridge

    slope = jax.grad(objective)(jnp.asarray(left), jnp.asarray(right))
    assert float(jnp.abs(slope).max()) < 1e-11


def test_tuning_finds_the_rank(key):
    problem = MatrixCompletion.from_matrix(_low_rank(key, (60, 40), 3), observed=0.5, key=key)
    tuned = baselines.tuned_alternating_least_squares(problem, ridges=(0.01, 0.1), key=key)
    assert tuned.facts["rank"] == 3
    assert 0 < tuned.facts["validation rmse"] < 0.2  # the entries have deviation 3 ** 0.5


@pytest.mark.parametrize(
    ("rank", "ridge", "name"), [(0, 1.0, "rank"), (1, 0.0, "ridge"), (1, -1.0, "ridge")]
)
def test_bad_settings_are_refused_by_name(rank, ridge, name, key):
    problem = MatrixCompletion.from_matrix(_low_rank(key), observed=0.6, key=key)
    with pytest.raises(ValueError, match=f"`{name}` must be (a )?positive"):
        baselines.alternating_least_squares(problem, rank, ridge, key=key)
