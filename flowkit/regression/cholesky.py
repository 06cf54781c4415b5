"""Kernel ridge regression by one Cholesky factorization: only the end of the flow."""

from typing import final

import equinox as eqx
import jax.numpy as jnp
from jax.scipy.linalg import cho_solve, solve_triangular
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num

from flowkit.regression.checks import as_rows, check_start, check_test_kernel, noise


@final
class CholeskyRegression(eqx.Module):
    """Predictions at the end of kernel gradient flow; made by `fit(..., solver="cholesky")`.

    f(x) = f_0 + k(x, X) weights with weights = (K + ridge I)^{-1} (y - u_0). The factorization is
    cheaper than the eigendecomposition of `KernelRegression`, but it knows one ridge and no time.

    Attributes:
        factor: The lower triangular L of K + ridge I = L L^T.
        weights: (K + ridge I)^{-1} (y - u_0).
        targets: y.
        start: The training outputs u_0 at t = 0.
        ridge: The ridge, absolute.

    Source:
        Rasmussen, Williams 2006, Algorithm 2.1. Checked by tests/regression/test_cholesky.py.
    """

    factor: Float[Array, "train train"]
    weights: Float[Array, " train *outputs"]
    targets: Float[Array, " train *outputs"]
    start: Float[Array, " train *outputs"]
    ridge: Float[Array, ""]

    def predict(
        self, K_test_train: Num[ArrayLike, "..."], *, start: Num[ArrayLike, "..."] | None = None
    ) -> Float[Array, " test *outputs"]:
        """Outputs at the end of the flow: f_0 + k(x, X) (K + ridge I)^{-1} (y - u_0).

        Args:
            K_test_train: Kernel values, test points by training points.
            start: The test outputs f_0 at t = 0; zero where omitted, also after a fit from `start`.

        Returns:
            The predictions, shaped as y with test points for training points.

        Raises:
            ValueError: a shape disagrees with the fit, or a value is not finite.
        """
        train, *outputs = self.weights.shape
        K = check_test_kernel(K_test_train, train, self.weights.dtype)
        return check_start(start, (len(K), *outputs), K.dtype) + K @ self.weights

    def leave_one_out(self) -> Float[Array, " train *outputs"]:
        """Each training point's output by the regression on all the other points.

        With G = (K + ridge I)^{-1} it is y_i - weights_i / G_ii, shaped as y.

        Source:
            Rasmussen, Williams 2006, section 5.4.2.
        """
        identity = jnp.eye(len(self.factor), dtype=self.factor.dtype)
        diagonal = (solve_triangular(self.factor, identity, lower=True) ** 2).sum(0)
        return self.targets - self.weights / as_rows(diagonal, self.weights)


def factor_and_solve(
    K: Float[Array, "train train"],
    y: Float[Array, " train *outputs"],
    start: Float[Array, " train *outputs"],
    ridge: Float[Array, ""],
) -> CholeskyRegression:
    """The regression from checked arguments.

    Raises:
        ValueError: K + ridge I is not positive definite beyond rounding.
    """
    factor = jnp.linalg.cholesky(K + ridge * jnp.eye(len(K), dtype=K.dtype))
    if not _is_definite(factor):
        raise ValueError(
            f"Argument `K` must be positive definite together with the ridge, {float(ridge):.2e}, "
            f"to be factored, but up to rounding it is not; raise the ridge, or take "
            f"`solver='eigen'`, which leaves out zero eigenvalues."
        )
    weights = cho_solve((factor, True), y - start)
    return CholeskyRegression(factor, weights, y, start, ridge)


def _is_definite(factor: Float[Array, "train train"]) -> bool:
    """Whether all pivots exceed rounding, which alone may leave those of a singular matrix."""
    pivots = jnp.diagonal(factor) ** 2
    return bool(pivots.min() > noise(pivots.max(), len(pivots)))  # false where one is nan
