"""Gaussian sensing without storing the measurements, for sizes at which they do not fit."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray, Scalar

from flowkit.problems.completion import AbstractProblem, check_product
from flowkit.problems.counts import check_count
from flowkit.problems.sensing import MatrixSensing

BLOCK_NUMBERS = 2**22  # of measurements that are drawn at a time: 32 MiB in float64


@final
class GaussianSensing(AbstractProblem):
    """Inner products with Gaussian matrices that are drawn anew whenever they are needed.

    loss(W) = 1/m sum_k (<A_k, W> - value_k)^2, the entries of A_k independent with deviation
    (rows columns)^(-1/2). They come from the key, a block of measurements at a time, in one pass
    for the loss and one for the gradient; memory is that of a block. Drawing takes longer than
    reading: where the measurements fit, `MatrixSensing` is faster.

    Attributes:
        values: The measured <A_k, W>, of a whole number of blocks; the last may be padding.
        weights: One over the number of measurements, zero at padding.
        key: Draws the measurements.
        shape: Rows and columns of the matrix.
        block: The number of measurements that are drawn at a time.
    """

    values: Float[Array, " padded"]
    weights: Float[Array, " padded"]
    key: PRNGKeyArray
    shape: tuple[int, int] = eqx.field(static=True)
    block: int = eqx.field(static=True)

    @classmethod
    def from_matrix(
        cls,
        target: Float[Array | np.ndarray, "out in"],
        *,
        measured: int,
        block: int | None = None,
        key: PRNGKeyArray,
    ) -> "GaussianSensing":
        """Measure a known matrix.

        Args:
            target: The matrix.
            measured: The number of measurements.
            block: How many to draw at a time; by default as many as take 32 MiB in float64. It
                belongs to the key: another block draws other measurements.
            key: Draws them.

        Returns:
            The sensing problem.

        Raises:
            ValueError: `target` is no matrix of finite values, or `measured` or `block` is not
                positive.

        Source:
            The sensing experiments of arXiv:1905.13655.
        """
        W = jnp.asarray(target, jnp.zeros(()).dtype)
        if W.ndim != 2 or not W.size or not np.isfinite(W).all():
            raise ValueError(
                f"Argument `target` must be a matrix of finite values, but its shape is {W.shape}."
            )
        block = max(1, BLOCK_NUMBERS // W.size) if block is None else block
        check_count(measured=measured, block=block)
        measured, block = int(measured), min(int(block), int(measured))
        padded = -(-measured // block) * block
        weights = jnp.where(jnp.arange(padded) < measured, 1 / measured, 0.0).astype(W.dtype)
        shape = (W.shape[0], W.shape[1])
        blank = cls(
            values=jnp.zeros(padded, W.dtype), weights=weights, key=key, shape=shape, block=block
        )
        return eqx.tree_at(lambda problem: problem.values, blank, blank.measured(W))

    @eqx.filter_jit
    def measured(self, product: Float[Array, "out in"]) -> Float[Array, " padded"]:
        """<A_k, W> for every k, padding included."""
        flat = product.ravel().astype(self.values.dtype)
        return lax.map(lambda i: self._draw(i) @ flat, self._blocks).ravel()

    def loss(self, product: Float[Array, "out in"]) -> Scalar:
        """Mean of squared residuals over the measurements.

        Raises:
            ValueError: `product` does not have the problem's shape.
        """
        product = self._checked(product)

        @jax.checkpoint  # the gradient draws once: compiled, it leaves out the first pass
        def add(total: Scalar, i: Array) -> tuple[Scalar, None]:
            _, squares = self._residuals(self._draw(i), i, product)
            return total + squares, None

        return lax.scan(add, jnp.zeros((), product.dtype), self._blocks)[0]

    def stored(self) -> MatrixSensing:
        """The same problem with its measurements in memory."""
        size = self.shape[0] * self.shape[1]
        draws = lax.map(lambda i: self._draw(i), self._blocks)
        count = int(np.count_nonzero(self.weights))
        measurements = draws.reshape(-1, size)[:count].reshape(count, *self.shape)
        return MatrixSensing(measurements, self.values[:count])

    @property
    def _blocks(self) -> Array:
        return jnp.arange(self.values.size // self.block)

    def _draw(self, i: Array) -> Float[Array, "block size"]:
        size = self.shape[0] * self.shape[1]
        key = jax.random.fold_in(self.key, i)
        draws = jax.random.normal(key, (self.block, size), self.values.dtype)
        return draws / size**0.5

    def _residuals(
        self, draws: Float[Array, "block size"], i: Array, product: Float[Array, "out in"]
    ) -> tuple[Float[Array, " block"], Scalar]:
        """Residuals of a block times their weights, and the weighted sum of their squares."""
        window = lambda values: lax.dynamic_slice_in_dim(values, i * self.block, self.block)
        residuals = draws @ product.ravel() - window(self.values)
        weighted = window(self.weights) * residuals
        return weighted, jnp.sum(weighted * residuals)

    def _checked(self, product: Array) -> Array:
        """The product, in the precision of the measurements: another one draws other numbers."""
        check_product(self, product)
        return product.astype(self.values.dtype)
