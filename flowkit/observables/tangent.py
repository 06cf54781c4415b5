"""Distance of the tangent kernel along a trajectory from a reference kernel."""

from collections.abc import Callable
from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree, Scalar

from flowkit.observables.product import MatrixState, end_to_end


def product_kernel(factors: MatrixState) -> Float[Array, "entries entries"]:
    """The empirical tangent kernel of the product: K = J J^T, J = d vec(W_N ... W_1)/d(factors).

    By reverse-mode differentiation, with one row and column per entry of the product, row by row:
    for small products.

    Args:
        factors: The factors (W_1, .., W_N).

    Returns:
        K, symmetric and positive semidefinite.

    Source:
        Jacot, Gabriel, Hongler 2018, arXiv:1806.07572. Checked by tests/test_observables.py.
    """
    jacobian = jax.jacrev(lambda state: jnp.ravel(end_to_end(state)))(factors)
    rows = [J.reshape(len(J), -1) for J in jax.tree.leaves(jacobian)]
    return jnp.sum(jnp.stack([J @ J.T for J in rows]), axis=0)


@final
class KernelDistance(eqx.Module):
    """How far a kernel at the state is from a reference: |K - K_0| / |K_0|, Frobenius norms.

    With `up_to_scale` it is 1 - <K, K_0> / (|K| |K_0|), which is zero for a multiple of K_0.

    Attributes:
        kernel: The kernel matrix as a function of the state, such as `product_kernel`.
        reference: The kernel matrix K_0.
        up_to_scale: Compare directions only.

    Source:
        Fort et al. 2020, arXiv:2010.15110 (the second form). Checked by tests/test_observables.py.
    """

    kernel: Callable[[PyTree], Float[Array, "points points"]]
    reference: Float[Array, "points points"] = eqx.field(converter=jnp.asarray)
    up_to_scale: bool = eqx.field(default=False, static=True, kw_only=True)

    def __check_init__(self):
        shape = self.reference.shape
        if len(shape) != 2 or shape[0] != shape[1]:
            raise ValueError(
                f"Argument `reference` must be a square matrix, but its shape is {shape}."
            )

    def __call__(self, state: PyTree) -> Scalar:
        K, K_0 = self.kernel(state), self.reference
        if K.shape != K_0.shape:
            raise ValueError(
                f"Argument `reference` must have the shape of the kernel at the state, {K.shape}, "
                f"but it has {K_0.shape}."
            )
        size = jnp.linalg.norm(K_0)
        if self.up_to_scale:
            return 1 - jnp.sum(K * K_0) / (jnp.linalg.norm(K) * size)
        return jnp.linalg.norm(K - K_0) / size
