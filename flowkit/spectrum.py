"""A matrix in its singular basis, with logarithms for singular values."""

from typing import final

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


@final
class Spectrum(eqx.Module):
    """A matrix W = U diag(s) V^T, kept as U, log s and V.

    The logarithms follow a singular value, or a determinant, far below the smallest number.

    Attributes:
        left: The left singular vectors U, as columns.
        log_values: The logarithms of the nonzero singular values, in any order.
        right: The right singular vectors V, as columns.
    """

    left: Float[Array, "out rank"]
    log_values: Float[Array, " rank"]
    right: Float[Array, "in rank"]

    @classmethod
    def of(cls, matrix: Float[Array | np.ndarray, "out in"]) -> "Spectrum":
        """Decompose a matrix; singular values at rounding level count as zero and are left out.

        Args:
            matrix: A finite matrix that is not zero, outside of any JAX transformation.

        Returns:
            The nonzero singular values in falling order, with their vectors.

        Raises:
            ValueError: `matrix` is no matrix, not finite, or zero.
        """
        values = np.asarray(matrix)
        if values.ndim != 2 or not np.isfinite(values).all() or not values.any():
            raise ValueError(
                f"Argument `matrix` must be a finite matrix that is not zero, but its shape is "
                f"{values.shape} and {np.count_nonzero(values)} entries differ from zero, "
                f"{np.count_nonzero(~np.isfinite(values))} of them not finite."
            )
        U, s, Vt = np.linalg.svd(values, full_matrices=False)
        kept = s > max(values.shape) * np.finfo(s.dtype).eps * s[0]
        parts = (U[:, kept], np.log(s[kept]), Vt[kept].T)
        return cls(*(jnp.asarray(part) for part in parts))

    def matrix(self) -> Float[Array, "out in"]:
        """The matrix U diag(s) V^T; a singular value below the smallest number adds nothing."""
        return (self.left * jnp.exp(self.log_values)[None, :]) @ self.right.T
