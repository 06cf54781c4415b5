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

    def projected(self, matrix: Matrix) -> Matrix:
        """The nearest matrix that meets the values."""
        nearest = matrix.copy()
        nearest[self.rows, self.cols] = self.values
        return nearest


@dataclass(frozen=True)
class InnerProducts:
    """The same for inner products with known matrices, which may depend on each other.

    Solves by the singular values of the measurements, each solution refined once: nearly dependent
    measurements are met to rounding, whereas a Gram matrix would square their condition number.
    """

    flat: Float[np.ndarray, "observed size"]
    left: Float[np.ndarray, "observed rank"]
    singular_values: Float[np.ndarray, " rank"]
    right: Float[np.ndarray, "rank size"]
    values: Values
    shape: tuple[int, int]

    @classmethod
    def of(
        cls, flat: Float[np.ndarray, "observed size"], values: Values, shape: tuple[int, int]
    ) -> "InnerProducts":
        U, s, Vt = np.linalg.svd(flat, full_matrices=False)
        kept = s > max(flat.shape) * np.finfo(float).eps * s[0]
        return cls(flat, U[:, kept], s[kept], Vt[kept], values, shape)

    def apply(self, matrix: Matrix) -> Values:
        return self.flat @ matrix.ravel()

    def adjoint(self, multipliers: Values) -> Matrix:
        return (multipliers @ self.flat).reshape(self.shape)

    def correction(self, matrix: Matrix) -> Values:
        solve = lambda values: self.left @ ((values @ self.left) / self.singular_values**2)
        residual = self.values - self.apply(matrix)
        multipliers = solve(residual)
        return multipliers + solve(residual - self.apply(self.adjoint(multipliers)))

    def projected(self, matrix: Matrix) -> Matrix:
        for _ in range(2):
            residual = self.values - self.apply(matrix)
            step = ((residual @ self.left) / self.singular_values) @ self.right
            matrix = matrix + step.reshape(self.shape)
        return matrix


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
    measuring = InnerProducts.of(flat, values, problem.shape)
    nearest = measuring.projected(np.zeros(problem.shape))
    residual = np.linalg.norm(measuring.apply(nearest) - values)
    if residual > CONSISTENT * np.linalg.norm(values):
        raise ValueError(
            f"Argument `problem` must have measurements that a matrix can meet, but the nearest "
            f"one leaves residuals of norm {residual:.3g}."
        )
    return measuring
