"""Flow of the product of balanced factors."""

from typing import ClassVar, final

import equinox as eqx
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
    W, where it is free of fractional matrix powers and safe at repeated and zero singular values.
    The state is the matrix W. Costs a singular value decomposition per call: it serves to verify.

    Source:
        arXiv:1802.06509, Theorem 1. Checked against the lowered `symbolic.end_to_end_flow` by
        tests/test_fields.py.
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
        return -gradient if self.depth == 1 else -self._weighted(y, gradient)

    def loss(self, y: PyTree) -> Scalar:
        return self.problem.loss(y)

    def check(self, y0: PyTree) -> None:
        if not eqx.is_array(y0) or y0.shape != self.problem.shape:
            raise ValueError(
                f"Argument `y0` must be a matrix of shape {self.problem.shape}, but it is "
                f"{describe(y0)}."
            )

    def _weighted(
        self, product: Float[Array, "out in"], gradient: Float[Array, "out in"]
    ) -> Float[Array, "out in"]:
        """The operator on G: entry (i, j) in the singular basis has weight sum_k a_i^k a_j^(N-1-k).

        a = s^(2/N). A direction outside the basis has a = 0, so only one power of the sum is left
        there: a_j^(N-1) beside the right basis, a_i^(N-1) beside the left one.
        """
        U, s, Vt = jnp.linalg.svd(product, full_matrices=False)
        a = s ** (2 / self.depth)
        powers = jnp.stack([a**k for k in range(self.depth)])
        weights = powers.T @ powers[::-1]
        inside = U.T @ gradient @ Vt.T
        beside_right = gradient @ Vt.T - U @ inside
        beside_left = U.T @ gradient - inside @ Vt
        top = powers[-1]
        return (U @ (weights * inside) + beside_right * top[None, :]) @ Vt + U @ (
            top[:, None] * beside_left
        )
