"""Completion methods to hold a flow against; each returns the completed matrix."""

import itertools
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Float, PRNGKeyArray
from scipy.sparse import coo_array, hstack
from scipy.sparse.linalg import lsqr

from flowkit.problems import MatrixCompletion

Matrix = Float[np.ndarray, "out in"]


def row_plus_column_means(problem: MatrixCompletion) -> Matrix:
    """Row mean plus column mean minus the overall mean, of the observed entries.

    A row or column without observations counts with the overall mean.
    """
    mask, values = _dense(problem)
    overall = values.sum() / mask.sum()
    rows, columns = (
        _means(side, observed, overall) for side, observed in ((values, mask), (values.T, mask.T))
    )
    return rows[:, None] + columns[None, :] - overall


def _means(values: Matrix, mask: np.ndarray, otherwise: float) -> Float[np.ndarray, " out"]:
    counts = mask.sum(axis=1)
    return np.where(counts > 0, values.sum(axis=1) / np.maximum(counts, 1), otherwise)


def row_plus_column_effects(problem: MatrixCompletion) -> Matrix:
    """The additive model a_i + b_j fitted by least squares (minimum norm) to the observations."""
    count = problem.values.size
    rows, cols = np.asarray(problem.rows), np.asarray(problem.cols)
    ones, at = np.ones(count), np.arange(count)
    design = hstack(
        [
            coo_array((ones, (at, rows)), shape=(count, problem.shape[0])),
            coo_array((ones, (at, cols)), shape=(count, problem.shape[1])),
        ]
    )
    mean = float(np.mean(problem.values))
    effects = lsqr(design, np.asarray(problem.values) - mean, atol=1e-12, btol=1e-12)[0]
    row_effects, column_effects = np.split(effects, [problem.shape[0]])
    return mean + row_effects[:, None] + column_effects[None, :]


def alternating_least_squares(
    problem: MatrixCompletion,
    rank: int,
    ridge: float,
    *,
    offset_ridge: float = 1e-2,
    sweeps: int = 60,
    key: PRNGKeyArray,
) -> Matrix:
    """Fit mean + a_i + b_j + u_i . v_j by alternating ridge regressions.

    Minimises the sum of squared residuals over the observations, plus `ridge` times the squares
    of u and v and `offset_ridge` times those of a and b.

    Args:
        problem: The observations.
        rank: Length of u_i and v_j.
        ridge: Penalty of the factors, in squared units of the values.
        offset_ridge: Penalty of the offsets.
        sweeps: How often both sides are solved for.
        key: Draws the starting factors.

    Returns:
        The completed matrix.

    Raises:
        ValueError: `rank` or `sweeps` is not positive, or a ridge is not.
    """
    positive = {"rank": rank, "ridge": ridge, "offset_ridge": offset_ridge, "sweeps": sweeps}
    for name, value in positive.items():
        if not value > 0:
            raise ValueError(f"Argument `{name}` must be positive, but it is {value!r}.")
    mask, values = _dense(problem)
    mean = values.sum() / mask.sum()
    residual = np.where(mask, values - mean, 0.0)
    penalty = np.diag([offset_ridge, *[ridge] * rank])
    right = np.concatenate(
        [np.zeros((problem.shape[1], 1)), _gaussian(key, (problem.shape[1], rank))], axis=1
    )
    left = np.zeros((problem.shape[0], rank + 1))
    for _ in range(sweeps):
        left = _ridge_side(residual, mask, right, penalty)
        right = _ridge_side(residual.T, mask.T, left, penalty)
    return mean + left[:, :1] + right[:, 0] + left[:, 1:] @ right[:, 1:].T


def tuned_alternating_least_squares(
    problem: MatrixCompletion,
    *,
    ranks: Sequence[int] = (1, 2, 3, 4, 5),
    ridges: Sequence[float] = (0.1, 0.3, 1.0, 3.0),
    validation: float = 0.1,
    key: PRNGKeyArray,
) -> tuple[Matrix, int, float]:
    """Choose rank and ridge on held-back observations, then refit on all of them.

    Args:
        problem: The observations.
        ranks: Ranks to try.
        ridges: Penalties to try.
        validation: The part of the observations that chooses.
        key: Draws the validation entries and starting factors.

    Returns:
        The completed matrix, and the rank and ridge chosen.
    """
    split_key, fit_key = jax.random.split(key)
    train, held_back = problem.split(validation, key=split_key)
    entries, values = (held_back.rows, held_back.cols), np.asarray(held_back.values)
    errors = {
        (rank, ridge): np.linalg.norm(
            alternating_least_squares(train, rank, ridge, key=fit_key)[entries] - values
        )
        for rank, ridge in itertools.product(ranks, ridges)
    }
    rank, ridge = min(errors, key=lambda setting: errors[setting])
    return alternating_least_squares(problem, rank, ridge, key=fit_key), rank, ridge


def _dense(problem: MatrixCompletion) -> tuple[np.ndarray, Matrix]:
    values = np.zeros(problem.shape)
    values[np.asarray(problem.rows), np.asarray(problem.cols)] = np.asarray(problem.values)
    return problem.mask, values


def _gaussian(key: PRNGKeyArray, shape: tuple[int, int]) -> np.ndarray:
    return np.asarray(jax.random.normal(key, shape))


def _ridge_side(
    residual: Matrix, mask: np.ndarray, other: Float[np.ndarray, "in features"], penalty: np.ndarray
) -> Float[np.ndarray, "out features"]:
    """Ridge regression of every row on [1, factors of the other side], offsets first.

    The other side's own offset stands in column 0 of `other`; it is subtracted, and a one takes
    its place as the feature of this side's offset.
    """
    features = np.concatenate([np.ones((len(other), 1)), other[:, 1:]], axis=1)
    targets = np.where(mask, residual - other[:, 0], 0.0)
    grams = np.einsum("oi,if,ig->ofg", mask.astype(float), features, features, optimize=True)
    return np.linalg.solve(grams + penalty, (targets @ features)[..., None])[..., 0]
