"""Completion with a weight for every entry, stored densely."""

from typing import final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Scalar

from flowkit.problems.completion import AbstractProblem, MatrixCompletion, check_product
from flowkit.problems.masked import with_nan


@final
class WeightedCompletion(AbstractProblem):
    """Entries of a matrix with weights, zero where not observed; the weighted mean of squares.

    loss(W) = sum_ij weight_ij (W_ij - value_ij)^2 / sum_ij weight_ij. With weights 0 and 1 this is
    `MatrixCompletion`. What it compiles to depends on the shape alone: problems of one shape share
    it however many entries are observed. It reads and writes no entry by its index, which suits
    dense observations.

    Attributes:
        weights: Not negative, and divided by their sum.
        values: The values, anything finite where the weight is zero.
        shape: Rows and columns of the matrix.
    """

    weights: Float[Array, "out in"]
    values: Float[Array, "out in"]
    shape: tuple[int, int] = eqx.field(static=True)

    def __init__(
        self,
        weights: Float[Array | np.ndarray, "out in"],
        values: Float[Array | np.ndarray, "out in"],
    ):
        """Collect weights and values.

        Args:
            weights: One for each entry of the matrix, not negative, not all of them zero.
            values: The values; where the weight is zero they are not looked at and may be `nan`.

        Raises:
            ValueError: a weight is negative or not finite, all are zero, or a weighted value is not
                finite.
        """
        weights, values = (np.asarray(with_nan(a)) for a in (weights, values))
        if weights.ndim != 2 or weights.shape != values.shape:
            raise ValueError(
                f"Arguments `weights` and `values` must be matrices of one shape, but their shapes "
                f"are {weights.shape} and {values.shape}."
            )
        if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
            raise ValueError(
                "Argument `weights` must be finite, not negative and not all zero, but it is not."
            )
        dtype = jnp.zeros(()).dtype
        with np.errstate(over="ignore"):  # an overflow is refused below, as a value
            values = np.where(weights > 0, values, 0.0).astype(dtype)
        infinite = np.argwhere(~np.isfinite(values))
        if len(infinite):
            i, j = infinite[0]
            raise ValueError(
                f"Argument `values` must be finite where the weight is positive, but "
                f"`values[{i}, {j}]` is {values[i, j]}."
            )
        self.weights = jnp.asarray(weights / weights.sum(), dtype)
        self.values = jnp.asarray(values)
        self.shape = (weights.shape[0], weights.shape[1])

    @classmethod
    def of(cls, problem: MatrixCompletion) -> "WeightedCompletion":
        """The same problem, observed entries with weight 1."""
        values = np.zeros(problem.shape)
        values[np.asarray(problem.rows), np.asarray(problem.cols)] = np.asarray(problem.values)
        return cls(problem.mask.astype(float), values)

    def loss(self, product: Float[Array, "out in"]) -> Scalar:
        """The weighted mean of squared residuals.

        Raises:
            ValueError: `product` does not have the problem's shape.
        """
        check_product(self, product)
        return jnp.sum(self.weights * (product - self.values) ** 2)
