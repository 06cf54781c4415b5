"""Matrix sensing: a matrix is to be found from its inner products with known ones."""

from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, PRNGKeyArray, Scalar

from flowkit.problems.completion import AbstractProblem, check_product
from flowkit.problems.counts import check_count


@final
class MatrixSensing(AbstractProblem):
    """Inner products of a matrix with known ones, with the mean of squares as loss.

    loss(W) = 1/m sum_k (<A_k, W> - value_k)^2 over the m measurements. They are stored densely.

    Attributes:
        measurements: The matrices A_k.
        values: The measured <A_k, W>.
        shape: Rows and columns of the matrix.
    """

    measurements: Float[Array, "measured out in"]
    values: Float[Array, " measured"]
    shape: tuple[int, int] = eqx.field(static=True)

    def __init__(self, measurements, values):
        """Collect measurements.

        Args:
            measurements: The matrices A_k, along the first axis.
            values: A real value for each.

        Raises:
            ValueError: there are no measurements, they are no matrices, their number is not that
                of the values, or an entry is complex or not finite.
        """
        self.measurements = _checked("measurements", measurements, 3)
        self.values = _checked("values", values, 1)
        if len(self.values) != len(self.measurements):
            raise ValueError(
                f"Argument `values` must hold a value for each of {len(self.measurements)} "
                f"measurements, but it holds {len(self.values)}."
            )
        self.shape = (self.measurements.shape[1], self.measurements.shape[2])

    @classmethod
    def from_matrix(
        cls, target: Float[Array | np.ndarray, "out in"], *, measured: int, key: PRNGKeyArray
    ) -> "MatrixSensing":
        """Measure a known matrix by independent Gaussian matrices.

        Args:
            target: The matrix.
            measured: The number of measurements.
            key: Draws them. Entries have deviation (rows columns)^(-1/2), so that the mean of
                squares is |W - target|_F^2 / (rows columns) on average.

        Returns:
            The sensing problem.

        Raises:
            ValueError: `target` is no matrix of finite values, or `measured` is no positive number.

        Source:
            The sensing experiments of arXiv:1905.13655.
        """
        target = _checked("target", target, 2)
        check_count(measured=measured)
        draws = jax.random.normal(key, (measured, *target.shape), target.dtype)
        measurements = draws / target.size**0.5
        return cls(measurements, jnp.einsum("kij,ij->k", measurements, target))

    @classmethod
    def commuting(
        cls,
        eigenvalues: Float[Array | np.ndarray, " size"],
        *,
        measured: int,
        key: PRNGKeyArray,
    ) -> "MatrixSensing":
        """Measure a symmetric matrix of given eigenvalues by symmetric matrices, all commuting.

        All are diagonal in one basis Q, uniformly distributed: the target is Q diag(eigenvalues)
        Q^T, and A_k = Q diag(a_k) Q^T with standard normal a_k. From scale^(1/N) I with N >= 2 the
        exact flow stays diagonal in it, and in the limit of long times and then small scales it
        leads to the positive semidefinite solution of least nuclear norm: the linear program of
        least sum x, x >= 0, <a_k, x> = value_k. In floating point rounding breaks the symmetry, and
        the flow is unstable against that: it leaves the commuting matrices within some tens of
        units of time. Only diagonal measurements, Q = I, keep it diagonal to the last digit.

        Args:
            eigenvalues: Those of the target; not negative, so that a semidefinite solution exists.
            measured: The number of measurements.
            key: Draws the basis and the measurements.

        Returns:
            The sensing problem.

        Raises:
            ValueError: `eigenvalues` are empty, not finite or negative, or `measured` is no
                positive number.

        Source:
            arXiv:1905.13655, Theorems 1 and 2. Checked by tests/test_sensing.py.
        """
        eigenvalues = _checked("eigenvalues", eigenvalues, 1)
        if (eigenvalues < 0).any():
            raise ValueError(
                f"Argument `eigenvalues` must not be negative, but the least is "
                f"{float(eigenvalues.min()):g}."
            )
        check_count(measured=measured)
        basis_key, draws_key = jax.random.split(key)
        size = eigenvalues.size
        Q, R = jnp.linalg.qr(jax.random.normal(basis_key, (size, size), eigenvalues.dtype))
        Q = Q * jnp.sign(jnp.diagonal(R))[None, :]
        diagonals = jax.random.normal(draws_key, (measured, size), eigenvalues.dtype)
        measurements = jnp.einsum("ir,kr,jr->kij", Q, diagonals, Q)
        return cls((measurements + measurements.mT) / 2, diagonals @ eigenvalues)

    def loss(self, product: Float[Array, "out in"]) -> Scalar:
        """Mean of squared residuals over the measurements.

        Raises:
            ValueError: `product` does not have the problem's shape.
        """
        check_product(self, product)
        measured = jnp.einsum("kij,ij->k", self.measurements, product)
        return jnp.mean((measured - self.values) ** 2)


def _checked(name: str, values, rank: int) -> Float[Array, "..."]:
    """Real, finite, not empty and of the right rank, as floats."""
    array = values if isinstance(values, Tracer) else np.asarray(values)
    if array.ndim != rank or 0 in array.shape:
        raise ValueError(
            f"Argument `{name}` must be a non-empty array with {rank} axes, but its shape is "
            f"{array.shape}."
        )
    if array.dtype.kind not in "fiu":
        raise ValueError(f"Argument `{name}` must be real, but its type is {array.dtype}.")
    if not isinstance(array, Tracer) and not np.isfinite(array).all():
        raise ValueError(f"Argument `{name}` must be finite, but it holds nan or infinity.")
    return jnp.asarray(array, dtype=jnp.zeros(()).dtype)
