"""Alternating least squares with offsets: a low rank by ridge regressions in turn."""

import itertools
from collections.abc import Sequence

import jax
import numpy as np
from jaxtyping import Float, PRNGKeyArray

from flowkit.baselines.completed import Completed, Matrix, check_positive, observed_in
from flowkit.problems import MatrixCompletion
from flowkit.problems.counts import check_count


def alternating_least_squares(
    problem: MatrixCompletion,
    rank: int,
    ridge: float | int,
    *,
    offset_ridge: float | int = 1e-2,
    sweeps: int = 60,
    key: PRNGKeyArray,
) -> Completed:
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
        The completed matrix; its facts are `rank`, `ridge` and `sweeps`.

    Raises:
        ValueError: `rank` or `sweeps` is no positive integer, or a ridge is not positive.
    """
    check_count(rank=rank, sweeps=sweeps)
    check_positive(ridge=ridge, offset_ridge=offset_ridge)
    mask, values = observed_in(problem)
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
    matrix = mean + left[:, :1] + right[:, 0] + left[:, 1:] @ right[:, 1:].T
    return Completed(matrix, {"rank": rank, "ridge": float(ridge), "sweeps": sweeps})


def tuned_alternating_least_squares(
    problem: MatrixCompletion,
    *,
    ranks: Sequence[int] = (1, 2, 3, 4, 5),
    ridges: Sequence[float | int] = (0.1, 0.3, 1.0, 3.0),
    validation: float = 0.1,
    key: PRNGKeyArray,
) -> Completed:
    """Choose rank and ridge on held-back observations, then refit on all of them.

    Args:
        problem: The observations.
        ranks: Ranks to try.
        ridges: Penalties to try.
        validation: The part of the observations that chooses.
        key: Draws the validation entries and starting factors.

    Returns:
        The completed matrix; its facts are the `rank` and `ridge` chosen, `sweeps`, and
        `validation rmse`, their error on the observations held back.

    Raises:
        ValueError: `ranks` or `ridges` is empty, or one of them is not positive, or `validation`
            leaves no observations on a side.
    """
    for name, choices in (("ranks", ranks), ("ridges", ridges)):
        if not len(choices):
            raise ValueError(
                f"Argument `{name}` must hold at least one number, but it is {choices!r}."
            )
    split_key, fit_key = jax.random.split(key)
    train, held_back = problem.split(validation, key=split_key)
    entries, values = (held_back.rows, held_back.cols), np.asarray(held_back.values)
    errors = {
        (rank, ridge): np.linalg.norm(
            alternating_least_squares(train, rank, ridge, key=fit_key).matrix[entries] - values
        )
        for rank, ridge in itertools.product(ranks, ridges)
    }
    rank, ridge = min(errors, key=lambda setting: errors[setting])
    chosen = alternating_least_squares(problem, rank, ridge, key=fit_key)
    rmse = float(errors[rank, ridge] / len(values) ** 0.5)
    return Completed(chosen.matrix, {**chosen.facts, "validation rmse": rmse})


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
