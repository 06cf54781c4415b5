"""What is taken off a matrix before it is factorized, and the prediction of rows never seen."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from flowkit.baselines import row_plus_column_effects
from flowkit.problems import MatrixCompletion

COLUMNS, MATRIX, EFFECTS = "columns", "matrix", "effects"
KINDS = (COLUMNS, MATRIX, EFFECTS)
EFFECT_RIDGE = 3.0  # observations; an effect of so many observations is halved
RELEVANT = 1e-6  # of the largest singular value: below it a direction was never learnt
WITHOUT = 1e-6  # of an entry's own fit: above it a quotient by the rest is right to 1e-9
FEWEST = 2  # entries that have a deviation
ROUNDING = 10 * np.finfo(float).eps  # of an offset: what varies less is constant

Rows = Float[np.ndarray, "points features"]


@dataclass(frozen=True, eq=False)
class Units:
    """Standard units: (X_ij - row offset_i - column offset_j) / scale_j.

    Attributes:
        row_offsets: Zero unless row effects were taken off.
        column_offsets: One for each column.
        scales: One for each column, positive.
    """

    row_offsets: Float[np.ndarray, " points"]
    column_offsets: Float[np.ndarray, " features"]
    scales: Float[np.ndarray, " features"]

    @classmethod
    def of(cls, X: Rows, kind: str) -> "Units":
        """Offsets and scales of the known entries of a matrix; scales are 1 where nothing varies.

        A column without known entries has the mean of all as offset. Of less than two entries
        there is no deviation: such a column has the median of the other columns' scales.
        """
        known = ~np.isnan(X)
        shifts = _shifts(X, known, by_column=kind == COLUMNS)
        shifted, counts = X - shifts, known.sum(0)
        rows, columns = np.zeros(len(X)), np.full(X.shape[1], shifted[known].mean())
        if kind == EFFECTS:
            problem = MatrixCompletion.from_matrix(shifted, observed=known)
            effects = row_plus_column_effects(problem, ridge=EFFECT_RIDGE).matrix
            columns = effects.mean(0)
            rows = effects.mean(1) - effects.mean()
        if kind == COLUMNS:
            sums = np.where(known, shifted, 0.0).sum(0)
            columns = np.where(counts > 0, sums / np.maximum(counts, 1), X[known].mean())
        squares = np.where(known, shifted - rows[:, None] - columns, 0.0) ** 2
        if kind == COLUMNS:
            deviations = np.sqrt(squares.sum(0) / np.maximum(counts, 1))
        else:
            deviations = np.full(X.shape[1], np.sqrt(squares.sum() / counts.sum()))
        columns = columns + shifts
        varies = deviations > ROUNDING * np.abs(columns)
        scales = np.where(varies, deviations, 1.0)
        few = counts < FEWEST
        if kind == COLUMNS and varies[~few].any():
            scales[few] = np.median(scales[varies & ~few])
        return cls(rows, columns, scales)

    def standardise(self, X: Rows, *, new: bool = False) -> Rows:
        """Into standard units; rows that are `new` have no offset."""
        rows = np.zeros(len(X)) if new else self.row_offsets
        return (X - rows[:, None] - self.column_offsets) / self.scales

    def restore(self, standard: Rows, *, new: bool = False) -> Rows:
        """Back from standard units."""
        rows = np.zeros(len(standard)) if new else self.row_offsets
        return standard * self.scales + rows[:, None] + self.column_offsets

    def features(self, product: Rows) -> Float[np.ndarray, "features rank"]:
        """What rows are combinations of, scaled so that rows seen have coefficients of size 1.

        The right singular vectors of the product, by its singular values over the square root of
        the number of rows; then the constant row, where row effects were taken off.
        """
        _, s, Vt = np.linalg.svd(product, full_matrices=False)
        learnt = s > RELEVANT * max(s[0], np.finfo(float).tiny)
        directions = [(Vt[learnt] * s[learnt, None]).T / len(product) ** 0.5]
        if self.row_offsets.any():
            directions.append((self.row_offsets.std() / self.scales)[:, None])
        return np.concatenate(directions, axis=1)


def _shifts(
    X: Rows, known: Bool[np.ndarray, "points features"], *, by_column: bool
) -> Float[np.ndarray, " features"]:
    """A known entry of each column, or one of all; less it, what is constant has mean zero."""
    if not by_column:
        return np.full(X.shape[1], X[known][0])
    return np.where(known.any(0), X[known.argmax(0), np.arange(X.shape[1])], 0.0)


def fitted(
    rows: Rows, features: Float[np.ndarray, "features rank"], ridge: float
) -> tuple[Rows, Rows]:
    """Ridge regression of each row's known entries on the features.

    Args:
        rows: In standard units, `nan` where unknown.
        features: One row for each column.
        ridge: Penalty of the squared coefficients; without one the least coefficients are taken.

    Returns:
        The fit at every entry; and at known entries the leverage, the part of the fit that an entry
        contributes itself (zero elsewhere).
    """
    fits, leverages = np.zeros(rows.shape), np.zeros(rows.shape)
    known = ~np.isnan(rows)
    patterns, which = np.unique(known, axis=0, return_inverse=True)
    for i, pattern in enumerate(patterns):
        of = np.flatnonzero(which.ravel() == i)
        solve = _solver(features, pattern, ridge)
        fits[of] = rows[np.ix_(of, pattern)] @ (features @ solve).T
        leverages[np.ix_(of, pattern)] = np.einsum("kr,rk->k", features[pattern], solve)
    return fits, leverages


def left_out_residuals(
    rows: Rows, features: Float[np.ndarray, "features rank"], ridge: float
) -> Rows:
    """Known entries less their prediction from the others of their row; `nan` where unknown.

    A residual is divided by one minus the leverage. Where that is next to zero the quotient has no
    digits, and the row is fitted again without the entry.
    """
    fits, leverages = fitted(rows, features, ridge)
    residuals, without = rows - fits, 1 - leverages
    digits = without > WITHOUT
    residuals = residuals / np.where(digits, without, 1.0)
    for i, j in np.argwhere(~digits & ~np.isnan(rows)):
        others = rows[[i]]
        others[0, j] = np.nan
        residuals[i, j] = rows[i, j] - fitted(others, features, ridge)[0][0, j]
    return residuals


def _solver(
    features: Float[np.ndarray, "features rank"],
    pattern: Bool[np.ndarray, " features"],
    ridge: float,
) -> Float[np.ndarray, "rank known"]:
    """From known entries to coefficients."""
    U, s, Vt = np.linalg.svd(features[pattern], full_matrices=False)
    cut = np.finfo(float).eps * max(features.shape) * s.max(initial=0.0)
    inverse = np.where(s > cut, s / np.maximum(s**2 + ridge, np.finfo(float).tiny), 0.0)
    return (Vt.T * inverse) @ U.T
