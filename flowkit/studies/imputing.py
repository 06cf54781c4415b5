"""Imputers held against each other: every setting is chosen on entries that are known."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, Int

from flowkit import baselines
from flowkit.estimators import DeepMatrixFactorization
from flowkit.estimators.standardisation import KINDS, Units
from flowkit.problems import MatrixCompletion

Rows = Float[np.ndarray, "points features"]
Fill = Callable[[Rows], Rows]
Candidates = Mapping[str, Fill]

DEFAULT, TUNED = "deep factorization, as it comes", "deep factorization, tuned"
SQUARES, SOFT = "least squares with offsets", "soft-impute"
NUCLEAR = "least nuclear norm"
PARTS = 10  # of the known entries, held back in turn
FIRST, FINALISTS = 3, 3  # on so many parts all are compared, and so many of them on more
STARTS = 3  # averaged by the deep factorization once its setting is chosen
PENALTIES = np.geomspace(1, 1e-4, 14)[1:]  # of soft-impute; 1 gives a zero matrix
GAP = 1e-3  # relative duality gap of the nuclear norm: far below the differences of interest
NEIGHBOURS = (2, 3, 5, 8, 13, 20)
RANKS = (1, 2, 3, 4, 6)
RIDGES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1.0, 3.0)
OFFSET_RIDGES = (1e-4, 1e-2)
DEPTHS = (2, 3)
FEATURES, ROUNDS = (None, 5, 10), (10, 60)


class Tuned(NamedTuple):
    """What one imputer made of a matrix.

    Attributes:
        matrix: The known entries and estimates of the others.
        setting: The candidate that was chosen.
        validation: Its weighted error on the known entries that chose it; None where there was no
            choice.
    """

    matrix: Rows
    setting: str
    validation: float | None


def hidden(
    matrix: Rows, part: float, *, seed: int
) -> tuple[Rows, Bool[np.ndarray, "points features"]]:
    """Hide a part of the known entries, drawn by a seed; the matrix with `nan` there, and where."""
    hide = ~np.isnan(matrix) & (np.random.default_rng(seed).random(matrix.shape) < part)
    return np.where(hide, np.nan, matrix), hide


def rmse(filled: Rows, matrix: Rows, where: Bool[np.ndarray, "points features"]) -> float:
    """The root mean square difference at some entries, in the units of the matrix."""
    return float(np.sqrt(np.mean((filled - matrix)[where] ** 2)))


def tuned(
    candidates: Candidates,
    X: Rows,
    *,
    seed: int,
    filling: Candidates | None = None,
    compared_on: int = PARTS,
) -> Tuned:
    """Choose a candidate on parts of the known entries, then fill with all of them.

    Each part is held back in turn. A held-back entry counts with the odds that an entry of its row
    and column is unknown: rows of which little is known hold most of what is to be filled, but
    least of what can be held back. So a few entries count much, and few parts hold few of these:
    all parts choose, though only among the candidates that are best on the first.

    Args:
        candidates: Imputers by the text of their setting.
        X: The matrix, `nan` where it is unknown.
        seed: Draws the entries that choose, the same for every imputer.
        filling: What fills in the end, by the same texts; None for the candidates themselves.
        compared_on: The number of parts that choose among the best on the first.

    Returns:
        What the candidate of least error on these makes of X.
    """
    filling = candidates if filling is None else filling
    if len(candidates) == 1:
        ((setting, fill),) = filling.items()
        return Tuned(fill(X), setting, None)
    choice = HeldBack.of(X, seed=seed)
    sums = {name: choice.squares(fill, range(FIRST)) for name, fill in candidates.items()}
    best = sorted(sums, key=lambda name: sums[name])[:FINALISTS]
    for name in best:
        sums[name] += choice.squares(candidates[name], range(FIRST, compared_on))
    setting = min(best, key=lambda name: sums[name])
    weight = choice.weights[choice.parts < compared_on].sum()  # none where nothing is known
    return Tuned(filling[setting](X), setting, (sums[setting] / weight) ** 0.5)


@dataclass(frozen=True, eq=False)
class HeldBack:
    """Known entries in parts, and what they count.

    Attributes:
        X: The matrix, `nan` where it is unknown.
        parts: The part of each known entry, from 0; -1 where it is unknown.
        weights: What an entry counts; zero where it is unknown.
    """

    X: Rows
    parts: Int[np.ndarray, "points features"]
    weights: Rows

    @classmethod
    def of(cls, X: Rows, *, seed: int) -> "HeldBack":
        """Parts of a matrix, drawn by a seed, weighted by the odds that their like is unknown."""
        known = ~np.isnan(X)
        parts = np.random.default_rng(seed).permuted(np.arange(X.size) % PARTS).reshape(X.shape)
        weights = np.where(known, _odds_of_unknown(known), 0.0)
        return cls(X, np.where(known, parts, -1), weights)

    def squares(self, fill: Fill, parts: Iterable[int]) -> float:
        """The weighted sum of squared errors on some parts, each held back by itself."""
        found = 0.0
        for part in parts:
            back = self.parts == part
            residuals = (fill(np.where(back, np.nan, self.X)) - self.X)[back]
            found += float(self.weights[back] @ residuals**2)
        return found


def _odds_of_unknown(known: Bool[np.ndarray, "points features"]) -> Rows:
    """By the shares of known entries of row and column, as if these were independent."""
    share = known.mean(1)[:, None] * known.mean(0)[None, :] / known.mean()
    return np.maximum(1 / np.maximum(share, 1 / known.size) - 1, 0.0) + 1 / known.size


def _column_means(seed: int) -> Candidates:
    return {"": lambda X: np.where(np.isnan(X), np.nanmean(X, axis=0), X)}


def _nearest_neighbours(seed: int) -> Candidates:
    from sklearn.impute import KNNImputer

    return {
        f"{count} neighbours, {weights}": lambda X, count=count, weights=weights: KNNImputer(
            n_neighbors=count, weights=weights
        ).fit_transform(X)
        for count in NEIGHBOURS
        for weights in ("uniform", "distance")
    }


def _iterative(seed: int) -> Candidates:
    """Chained Bayesian ridge regressions, with a ridge of their own choice."""
    from sklearn.experimental import enable_iterative_imputer  # noqa: F401
    from sklearn.impute import IterativeImputer

    def fill(X: Rows, near: int | None, rounds: int) -> Rows:
        imputer = IterativeImputer(n_nearest_features=near, max_iter=rounds, random_state=seed)
        return np.asarray(imputer.fit_transform(X))

    return {
        f"{near or 'all'} features, {rounds} rounds": partial(fill, near=near, rounds=rounds)
        for near in FEATURES
        for rounds in ROUNDS
    }


def _soft_impute(seed: int) -> Candidates:
    return {
        f"{kind}, penalty {part:.1e}": _of_problem(
            kind,
            lambda problem, part=part: baselines.soft_impute(
                problem, part * _top(problem), tolerance=GAP
            ),
        )
        for kind in KINDS
        for part in PENALTIES
    }


def _least_nuclear_norm(seed: int) -> Candidates:
    solve = lambda problem: baselines.minimum_nuclear_norm(
        problem, solver="splitting", tolerance=GAP
    )
    return {kind: _of_problem(kind, solve) for kind in KINDS}


def _least_squares(seed: int) -> Candidates:
    """Alternating least squares with offsets, which need no units but a common scale."""
    solve = baselines.alternating_least_squares
    return {
        f"rank {rank}, ridges {ridge:g} and {offset:g}": _of_problem(
            "matrix",
            lambda problem, rank=rank, ridge=ridge, offset=offset: solve(
                problem, rank, ridge, offset_ridge=offset, key=jax.random.key(seed)
            ),
        )
        for rank in RANKS
        for ridge in RIDGES
        for offset in OFFSET_RIDGES
    }


def deep_factorization(seed: int, depths: Sequence[int] = DEPTHS, *, starts: int = 1) -> Candidates:
    """Of some depths, after each kind of standardisation."""
    return {
        f"depth {depth}, {kind}": DeepMatrixFactorization(
            depth, standardise=kind, starts=starts, random_state=seed
        ).fit_transform
        for depth in depths
        for kind in KINDS
    }


def _untuned_deep_factorization(seed: int) -> Candidates:
    return {"": DeepMatrixFactorization(random_state=seed).fit_transform}


METHODS: Mapping[str, Callable[[int], Candidates]] = {
    DEFAULT: _untuned_deep_factorization,
    TUNED: deep_factorization,
    SQUARES: _least_squares,
    "iterative imputer": _iterative,
    "nearest neighbours": _nearest_neighbours,
    SOFT: _soft_impute,
    NUCLEAR: _least_nuclear_norm,
    "column means": _column_means,
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
