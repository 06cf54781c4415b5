"""What completion and sensing share: values that are linear in the matrix, and duals to them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from flowkit.baselines.completed import Matrix
from flowkit.problems import AbstractProblem, MatrixCompletion, MatrixSensing

Values = Float[np.ndarray, " observed"]
CONSISTENT = 1e-8  # of the values' norm; measurements that contradict each other leave far more


@dataclass(frozen=True)
class Entries:
    """A linear map A from matrices to values, and the values y to be met: entries of the matrix."""

    rows: Int[np.ndarray, " observed"]
    cols: Int[np.ndarray, " observed"]
    values: Values
    shape: tuple[int, int]

    def apply(self, matrix: Matrix) -> Values:
        """A(W)."""
        return matrix[self.rows, self.cols]

    def adjoint(self, multipliers: Values) -> Matrix:
        """A*(m), with <A*(m), W> = <m, A(W)>."""
        matrix = np.zeros(self.shape)
        matrix[self.rows, self.cols] = multipliers
        return matrix

    def correction(self, matrix: Matrix) -> Values:
        """The multipliers m for which W + A*(m) is the nearest matrix that meets the values."""
        return self.values - self.apply(matrix)


@dataclass(frozen=True)
class InnerProducts:
    """The same for inner products with known matrices, which may depend on each other."""

    flat: Float[np.ndarray, "observed size"]
    inverse_gram: Float[np.ndarray, "observed observed"]
    values: Values
    shape: tuple[int, int]

    def apply(self, matrix: Matrix) -> Values:
        return self.flat @ matrix.ravel()

    def adjoint(self, multipliers: Values) -> Matrix:
        return (multipliers @ self.flat).reshape(self.shape)

    def correction(self, matrix: Matrix) -> Values:
        return self.inverse_gram @ (self.values - self.apply(matrix))


Measuring = Entries | InnerProducts


def measuring_of(problem: AbstractProblem) -> Measuring:
    """The linear map of a problem, in float64 on the host.

    Raises:
        ValueError: the problem has none, or its measurements contradict each other.
    """
    if isinstance(problem, MatrixCompletion):
        rows, cols = np.asarray(problem.rows), np.asarray(problem.cols)
        return Entries(rows, cols, np.asarray(problem.values, float), problem.shape)
    if not isinstance(problem, MatrixSensing):
        raise ValueError(
            f"Argument `problem` must be a MatrixCompletion or a MatrixSensing, but it is a "
            f"`{type(problem).__name__}`."
        )
    flat = np.asarray(problem.measurements, float).reshape(len(problem.values), -1)
    values = np.asarray(problem.values, float)
    inverse = np.linalg.pinv(flat @ flat.T, hermitian=True)
    measuring = InnerProducts(flat, inverse, values, problem.shape)
    nearest = measuring.adjoint(measuring.correction(np.zeros(problem.shape)))
    left = np.linalg.norm(measuring.apply(nearest) - values)
    if left > CONSISTENT * np.linalg.norm(values):
        raise ValueError(
            f"Argument `problem` must have measurements that a matrix can meet, but the nearest "
            f"one leaves residuals of norm {left:.3g}."
        )
    return measuring
