"""The additive model a_i + b_j, by means and by (ridge) least squares."""

import numpy as np
from jaxtyping import Float
from scipy.sparse import coo_array, hstack
from scipy.sparse.linalg import lsqr

from flowkit.baselines.completed import Completed, Matrix, observed_in
from flowkit.problems import MatrixCompletion

EXACT = 1e-12  # of the least-squares solver, relative


def row_plus_column_means(problem: MatrixCompletion) -> Completed:
    """Row mean plus column mean minus the overall mean, of the observed entries.

    A row or column without observations counts with the overall mean.

    Args:
        problem: The observations.

    Returns:
        The completed matrix; its facts are `mean`, the overall mean.
    """
    mask, values = observed_in(problem)
    overall = values.sum() / mask.sum()
    rows, columns = (
        _means(side, observed, overall) for side, observed in ((values, mask), (values.T, mask.T))
    )
    return Completed(rows[:, None] + columns[None, :] - overall, {"mean": float(overall)})


def _means(values: Matrix, mask: np.ndarray, otherwise: float) -> Float[np.ndarray, " out"]:
    counts = mask.sum(axis=1)
    return np.where(counts > 0, values.sum(axis=1) / np.maximum(counts, 1), otherwise)


def row_plus_column_effects(problem: MatrixCompletion, *, ridge: float | int = 0.0) -> Completed:
    """The additive model mean + a_i + b_j, fitted by least squares to the observations.

    Minimises sum over observations of (value - mean - a_i - b_j)^2 + ridge (|a|^2 + |b|^2), where
    the mean is that of the observed values. Without a ridge the solution of least norm is taken; a
    row or column without observations has effect zero either way.

    Args:
        problem: The observations.
        ridge: Penalty of the effects, in observations: one of n observations shrinks to about
            n / (n + ridge) of itself.

    Returns:
        The completed matrix; its facts are `mean` and `ridge`.

    Raises:
        ValueError: `ridge` is negative or not finite.
    """
    if not 0 <= ridge < float("inf"):
        raise ValueError(f"Argument `ridge` must be at least 0 and finite, but it is {ridge!r}.")
    mask, dense = observed_in(problem)
    rows, cols = np.nonzero(mask)
    values = dense[mask]
    ones, at = np.ones(len(values)), np.arange(len(values))
    sides = ((rows, problem.shape[0]), (cols, problem.shape[1]))
    design = hstack([coo_array((ones, (at, i)), shape=(len(values), size)) for i, size in sides])
    mean = float(np.mean(values))
    effects = lsqr(design, values - mean, damp=ridge**0.5, atol=EXACT, btol=EXACT)[0]
    row_effects, column_effects = np.split(effects, [problem.shape[0]])
    matrix = mean + row_effects[:, None] + column_effects[None, :]
    return Completed(matrix, {"mean": mean, "ridge": float(ridge)})
