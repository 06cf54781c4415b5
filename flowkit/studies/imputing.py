"""Imputers held against each other: every setting is chosen on entries that are known."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float

from flowkit import baselines
from flowkit.estimators import DeepMatrixFactorization
from flowkit.estimators.standardisation import KINDS, Units
from flowkit.problems import MatrixCompletion

Rows = Float[np.ndarray, "points features"]
Fill = Callable[[Rows], Rows]
Candidates = Mapping[str, Fill]

OURS = "deep factorization"
VALIDATION = 0.1  # of the known entries
PENALTIES = 12  # of soft-impute, from that of a zero matrix to a thousandth of it
GAP = 1e-3  # relative duality gap of the nuclear norm: far below the differences of interest
NEIGHBOURS = (2, 3, 5, 8, 13, 20)
RANKS, RIDGES = (1, 2, 3, 4, 6, 8), (0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
DEPTHS, SCALES = (2, 3), (1e-3, 1e-5)


class Tuned(NamedTuple):
    """What one imputer made of a matrix.

    Attributes:
        matrix: The known entries and estimates of the others.
        setting: The candidate that was chosen.
        validation: Its root mean square error on the known entries that chose it.
    """

    matrix: Rows
    setting: str
    validation: float


def hidden(
    matrix: Rows, part: float, *, seed: int
) -> tuple[Rows, Bool[np.ndarray, "points features"]]:
    """Hide a part of the known entries, drawn by a seed; the matrix with `nan` there, and where."""
    hide = ~np.isnan(matrix) & (np.random.default_rng(seed).random(matrix.shape) < part)
    return np.where(hide, np.nan, matrix), hide


def rmse(filled: Rows, matrix: Rows, where: Bool[np.ndarray, "points features"]) -> float:
    """The root mean square difference at some entries, in the units of the matrix."""
    return float(np.sqrt(np.mean((filled - matrix)[where] ** 2)))


def tuned(candidates: Candidates, X: Rows, *, seed: int) -> Tuned:
    """Choose a candidate on a part of the known entries, then fill with all of them.

    Args:
        candidates: Imputers by the text of their setting.
        X: The matrix, `nan` where it is unknown.
        seed: Draws the entries that choose, the same for every imputer.

    Returns:
        What the candidate of least error on these makes of X.
    """
    if len(candidates) == 1:
        ((setting, fill),) = candidates.items()
        return Tuned(fill(X), setting, float("nan"))
    kept, held_back = hidden(X, VALIDATION, seed=seed)
    errors = {name: rmse(fill(kept), X, held_back) for name, fill in candidates.items()}
    setting = min(errors, key=lambda name: errors[name])
    return Tuned(candidates[setting](X), setting, errors[setting])


def column_means(seed: int) -> Candidates:
    return {"": lambda X: np.where(np.isnan(X), np.nanmean(X, axis=0), X)}


def nearest_neighbours(seed: int) -> Candidates:
    from sklearn.impute import KNNImputer

    return {
        f"{count} neighbours, {weights}": lambda X, count=count, weights=weights: KNNImputer(
            n_neighbors=count, weights=weights
        ).fit_transform(X)
        for count in NEIGHBOURS
        for weights in ("uniform", "distance")
    }


def iterative(seed: int) -> Candidates:
    """Chained Bayesian ridge regressions, with a ridge of their own choice."""
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    return {
        f"{near or 'all'} features, {rounds} rounds": lambda X, near=near, rounds=rounds: (
            IterativeImputer(n_nearest_features=near, max_iter=rounds, random_state=seed)
        ).fit_transform(X)
        for near in (None, 5, 10)
        for rounds in (10, 30)
    }


def soft_impute(seed: int) -> Candidates:
    parts = np.geomspace(1, 1e-3, PENALTIES + 1)[1:]
    return {
        f"{kind}, penalty {part:.1e}": _of_problem(
            kind,
            lambda problem, part=part: baselines.soft_impute(
                problem, part * _top(problem), tolerance=GAP
            ),
        )
        for kind in KINDS
        for part in parts
    }


def least_nuclear_norm(seed: int) -> Candidates:
    solve = lambda problem: baselines.minimum_nuclear_norm(
        problem, solver="splitting", tolerance=GAP
    )
    return {kind: _of_problem(kind, solve) for kind in KINDS}


def least_squares(seed: int) -> Candidates:
    """Alternating least squares with offsets, which need no units but a common scale."""
    return {
        f"rank {rank}, ridge {ridge:g}": _of_problem(
            "matrix",
            lambda problem, rank=rank, ridge=ridge: baselines.alternating_least_squares(
                problem, rank, ridge, key=jax.random.key(seed)
            ),
        )
        for rank in RANKS
        for ridge in RIDGES
    }


def deep_factorization(seed: int) -> Candidates:
    return {
        f"depth {depth}, scale {scale:g}, {kind}": DeepMatrixFactorization(
            depth, scale, standardise=kind, random_state=seed
        ).fit_transform
        for depth in DEPTHS
        for scale in SCALES
        for kind in KINDS
    }


METHODS: Mapping[str, Callable[[int], Candidates]] = {
    OURS: deep_factorization,
    "least squares with offsets": least_squares,
    "iterative imputer": iterative,
    "nearest neighbours": nearest_neighbours,
    "soft-impute": soft_impute,
    "least nuclear norm": least_nuclear_norm,
    "column means": column_means,
}


def _of_problem(kind: str, solve: Callable[[MatrixCompletion], Any]) -> Fill:
    """A baseline of the known entries in standard units."""

    def fill(X: Rows) -> Rows:
        units = Units.of(X, kind)
        problem = MatrixCompletion.from_matrix(units.standardise(X), observed=~np.isnan(X))
        return np.where(np.isnan(X), units.restore(solve(problem).matrix), X)

    return fill


def _top(problem: MatrixCompletion) -> float:
    """The penalty from which soft-impute gives a zero matrix."""
    values = np.zeros(problem.shape)
    values[np.asarray(problem.rows), np.asarray(problem.cols)] = np.asarray(problem.values)
    return float(np.linalg.norm(values, 2))
