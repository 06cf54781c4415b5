"""Flow of the product of balanced factors."""

from functools import partial
from typing import ClassVar, final

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree, Scalar

from flowkit.fields.base import AbstractVectorField, Time, describe
from flowkit.fields.factors import check_problem
from flowkit.problems import AbstractProblem
from flowkit.trajectory import FLOW_TIME


@final
class EndToEndFlow(AbstractVectorField):
    """Flow of the product W of N balanced factors.

    dW/dt = -sum_{j=1..N} (W W^T)^{(j-1)/N} G (W^T W)^{(N-j)/N}, evaluated in the singular basis of
    W, where it is free of fractional matrix powers and safe at repeated and zero singular values;
    so are its derivatives, forward and reverse. The state is the matrix W. Costs a singular value
    decomposition per call: it serves to verify.

    Source:
        arXiv:1802.06509, Theorem 1. Checked against the lowered `symbolic.end_to_end_flow` by
        tests/test_fields.py and tests/fields/test_product.py.
    """

    problem: AbstractProblem
    depth: int = eqx.field(static=True)
    clock: ClassVar[str] = FLOW_TIME

    def __check_init__(self):
        check_problem(self.problem)
        if not isinstance(self.depth, int) or isinstance(self.depth, bool) or self.depth < 1:
            raise ValueError(
                f"Argument `depth` must be a positive integer, but it is {self.depth!r}."
            )

    def __call__(self, t: Time, y: PyTree, args: None = None) -> PyTree:
        gradient = self.problem.gradient(y)
        return -gradient if self.depth == 1 else -weighted_gradient(self.depth, y, gradient)

    def loss(self, y: PyTree) -> Scalar:
        return self.problem.loss(y)

    def check(self, y0: PyTree) -> None:
        if not eqx.is_array(y0) or y0.shape != self.problem.shape:
            raise ValueError(
                f"Argument `y0` must be a matrix of shape {self.problem.shape}, but it is "
                f"{describe(y0)}."
            )


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def weighted_gradient(
    depth: int, product: Float[Array, "out in"], gradient: Float[Array, "out in"]
) -> Float[Array, "out in"]:
    """The operator of the end-to-end flow: sum_k A^k G B^{N-1-k}, k = 0..N-1.

    A = (W W^T)^{1/N} and B = (W^T W)^{1/N}. In the singular basis of W entry (i, j) of G has the
    weight sum_k a_i^k a_j^{N-1-k} with a = s^{2/N}. A direction outside the basis has a = 0, so
    only one power of the sum is left there: a_j^{N-1} beside the right basis, a_i^{N-1} beside the
    left one. Singular values at rounding level count as zero.

    The derivative by W uses divided differences of the powers, which need no division by a gap
    between singular values. It is exact wherever the operator is differentiable. Where W lacks
    rank on both sides, the operator has a corner (N = 2) or a cusp (N > 2) in the directions that
    raise the rank: there the part of dW between the two null spaces is left out, which is the
    derivative along matrices of equal rank.

    Args:
        depth: The number of factors N.
        product: The end-to-end matrix W.
        gradient: The loss gradient G at W.

    Returns:
        Minus dW/dt, per unit of flow time.

    Source:
        arXiv:1802.06509, Theorem 1; divided differences: Daleckii and Krein 1965. Checked by
        tests/fields/test_product.py.
    """
    U, s, Vt = jnp.linalg.svd(product, full_matrices=False)
    powers = _powers(depth, _without_rounding(s, product.shape))
    weights = powers.T @ powers[::-1]
    inside = U.T @ gradient @ Vt.T
    beside_right = gradient @ Vt.T - U @ inside
    beside_left = U.T @ gradient - inside @ Vt
    top = powers[-1]
    return (U @ (weights * inside) + beside_right * top[None, :]) @ Vt + U @ (
        top[:, None] * beside_left
    )


@weighted_gradient.defjvp
def _weighted_gradient_jvp(depth, primals, tangents):
    """In full singular bases, d(A^k) is F_k o (D S^T + S D^T) and d(B^k) alike with D^T.

    D = U^T dW V, and F_k are the divided differences of x^{k/N} between squared singular values.
    """
    (product, gradient), (product_dot, gradient_dot) = primals, tangents
    U, s, Vt = jnp.linalg.svd(product, full_matrices=True)
    s = _without_rounding(s, product.shape)
    left, right = (jnp.pad(s, (0, size - s.size)) for size in product.shape)
    inside, inside_dot, D = (U.T @ X @ Vt.T for X in (gradient, gradient_dot, product_dot))
    a, b = _powers(depth, left), _powers(depth, right)
    DS, SD = _columns_times(D, s, left.size), _columns_times(D.T, s, right.size)
    F, E = _divided_differences(a), _divided_differences(b)
    weights = a.T @ b[::-1]
    moved = weights * inside_dot
    for k in range(depth):
        moved += ((F[k] * (DS + DS.T)) @ inside) * b[depth - 1 - k][None, :]
        moved += a[k][:, None] * (inside @ (E[depth - 1 - k] * (SD + SD.T)))
    return U @ (weights * inside) @ Vt, U @ moved @ Vt


def _without_rounding(s: Float[Array, " rank"], shape: tuple[int, ...]) -> Float[Array, " rank"]:
    noise = max(shape) * jnp.finfo(s.dtype).eps * jnp.max(s)
    return jnp.where(s > noise, s, 0.0)


def _powers(depth: int, s: Float[Array, " size"]) -> Float[Array, "depth size"]:
    """The powers 0 .. N-1 of a = s^{2/N}."""
    a = s ** (2 / depth)
    return jnp.stack([a**k for k in range(depth)])


def _columns_times(
    D: Float[Array, "rows cols"], s: Float[Array, " rank"], size: int
) -> Float[Array, "rows rows"]:
    """D S^T, where S holds s on its diagonal."""
    return jnp.pad(D[:, : s.size] * s[None, :], ((0, 0), (0, size - s.size)))


def _divided_differences(powers: Float[Array, "depth size"]) -> Float[Array, "depth size size"]:
    """F_k = (a_i^k - a_j^k) / (a_i^N - a_j^N) for k < N, as a ratio of sums; 0 where a_i = a_j = 0.

    (a^k - b^k) / (a - b) = sum_{l<k} a^l b^{k-1-l}, so that equal values are no special case.
    """
    zero = jnp.zeros_like(powers[0][:, None] * powers[0][None, :])
    product = lambda l, k: powers[l][:, None] * powers[k][None, :]
    sums = [sum((product(l, k - 1 - l) for l in range(k)), zero) for k in range(len(powers) + 1)]
    *numerators, whole = sums
    return jnp.stack(
        [jnp.where(whole > 0, n / jnp.where(whole > 0, whole, 1.0), 0.0) for n in numerators]
    )
