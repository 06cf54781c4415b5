"""Kernel gradient flow, and gradient descent, solved exactly in the eigenbasis of the kernel."""

from typing import final

import equinox as eqx
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num

from flowkit.regression.checks import (
    Number,
    as_rows,
    check_learning_rate,
    check_ridge,
    check_start,
    check_steps,
    check_test_kernel,
    check_time,
    noise,
)

Outputs = Float[Array, " points *outputs"]


@final
class KernelRegression(eqx.Module):
    """Predictions of kernel gradient flow; made by `fit`.

    The loss is s times (1/2 the sum of squares over points and outputs, plus ridge / 2 times the
    squared norm of the function in the kernel's space); s = 1 unless `fit` was told another loss.
    With f(t) = f_0 + k(x, X) alpha(t) the flow is

        d(alpha)/dt = s ((y - u_0) - (K + ridge I) alpha),    alpha(0) = 0,
        alpha(t) = phi(K, t) (y - u_0),
        phi(lambda, t) = (1 - e^{-s (lambda + ridge) t}) / (lambda + ridge),

    and k steps of gradient descent with learning rate eta end at t = k eta of the descent's clock,

        alpha_k = phi_k(K) (y - u_0),
        phi_k(lambda) = (1 - (1 - eta s (lambda + ridge))^k) / (lambda + ridge).

    Both are evaluated exactly in the eigenbasis of K; where lambda + ridge = 0 they are s t and
    s k eta, to which tiny eigenvalues tend without cancellation. Zero eigenvalues (up to
    n eps max lambda) are never learnt without a ridge: no kernel value reaches them, so at t = inf
    they are left out.

    Attributes:
        eigenvalues: Those of K; what is no larger than the most negative one is set to zero.
        eigenvectors: Those of K, as columns.
        residual: y - u_0 in the eigenbasis.
        start: The training outputs u_0 at t = 0.
        ridge: The ridge, absolute.
        speed: s.

    Source:
        Arora et al. 2019, arXiv:1904.11955, section 3; Jacot, Gabriel, Hongler 2018,
        arXiv:1806.07572, section 5. Checked by tests/regression/test_regression_flow.py.
    """

    eigenvalues: Float[Array, " train"]
    eigenvectors: Float[Array, "train train"]
    residual: Float[Array, " train *outputs"]
    start: Float[Array, " train *outputs"]
    ridge: Float[Array, ""]
    speed: Float[Array, ""]

    def predict(
        self, K_test_train: Num[ArrayLike, "..."], *, start: Num[ArrayLike, "..."] | None = None
    ) -> Outputs:
        """Outputs at the end of the flow: f_0 + k(x, X) (K + ridge I)^{-1} (y - u_0).

        Args:
            K_test_train: Kernel values, test points by training points.
            start: The test outputs f_0 at t = 0; zero where omitted, also after a fit from `start`.

        Returns:
            The predictions, shaped as y with test points for training points.

        Raises:
            ValueError: a shape disagrees with the fit, or a value is not finite.
        """
        return self.predict_at(K_test_train, jnp.inf, start=start)

    def predict_at(
        self,
        K_test_train: Num[ArrayLike, "..."],
        t: Number,
        *,
        start: Num[ArrayLike, "..."] | None = None,
    ) -> Outputs:
        """Outputs at time t: f_0 + k(x, X) phi(K, t) (y - u_0).

        Args:
            K_test_train: Kernel values, test points by training points.
            t: Flow time; infinity gives `predict`.
            start: The test outputs f_0 at t = 0; zero where omitted, also after a fit from `start`.

        Returns:
            The predictions, shaped as y with test points for training points.

        Raises:
            ValueError: a shape disagrees with the fit, a value is not finite, or t is negative.
        """
        return self._predict(K_test_train, self._phi(t), start)

    def predict_after(
        self,
        K_test_train: Num[ArrayLike, "..."],
        steps: Number,
        learning_rate: Number,
        *,
        start: Num[ArrayLike, "..."] | None = None,
    ) -> Outputs:
        """Outputs after that many steps of gradient descent: f_0 + k(x, X) phi_k(K) (y - u_0).

        Args:
            K_test_train: Kernel values, test points by training points.
            steps: The number of steps k, a whole number.
            learning_rate: eta; from `largest_learning_rate` on descent does not converge.
            start: The test outputs f_0 before the first step; zero where omitted.

        Returns:
            The predictions, shaped as y with test points for training points.

        Raises:
            ValueError: a shape disagrees with the fit, a value is not finite, the steps are
                negative, or the learning rate is not positive.
        """
        return self._predict(K_test_train, self._phi_steps(steps, learning_rate), start)

    def train_at(self, t: Number) -> Outputs:
        """Training outputs at time t: u_0 + K phi(K, t) (y - u_0).

        Args:
            t: Flow time; infinity gives the end of the flow.

        Returns:
            The outputs at the training points, shaped as y.

        Raises:
            ValueError: t is negative.
        """
        return self._train(self._phi(t))

    def train_after(self, steps: Number, learning_rate: Number) -> Outputs:
        """Training outputs after that many steps of gradient descent; see `predict_after`."""
        return self._train(self._phi_steps(steps, learning_rate))

    def smoother_at(
        self, K_test_train: Num[ArrayLike, "..."], t: Number
    ) -> Float[Array, "test train"]:
        """The matrix S = k(x, X) phi(K, t): from f_0 = 0 and u_0 = 0 the outputs are S y.

        Args:
            K_test_train: Kernel values, test points by training points.
            t: Flow time; infinity gives k(x, X) (K + ridge I)^{-1}.

        Raises:
            ValueError: a shape disagrees with the fit, a value is not finite, or t is negative.
        """
        K = check_test_kernel(K_test_train, len(self.residual), self.residual.dtype)
        V = self.eigenvectors
        return (K @ V) @ _scale_rows(self._phi(t), V.T)

    @property
    def largest_learning_rate(self) -> Float[Array, ""]:
        """2 / (s (max lambda + ridge)): descent converges below it."""
        return 2 / (self.speed * (self.eigenvalues.max() + self.ridge))

    def with_ridge(self, ridge: Number) -> "KernelRegression":
        """The same regression at another ridge (absolute), on the same eigendecomposition.

        A path over ridges costs two products with the eigenvectors for each; it may be traced, as
        by `jax.vmap`.

        Raises:
            ValueError: the ridge is negative or not finite.
        """
        return eqx.tree_at(lambda m: m.ridge, self, check_ridge(ridge, self.ridge.dtype))

    def leave_one_out(self) -> Outputs:
        """Each training point's output at t = inf by the regression on all the other points.

        With G = (K + ridge I)^{-1} it is y_i - (G (y - u_0))_i / G_ii: exact, and no refit. On a
        singular K without a ridge it is the limit ridge -> 0, in which the null space of K
        outweighs the rest wherever point i reaches into it.

        Returns:
            The predictions, shaped as y.

        Source:
            Rasmussen, Williams 2006, section 5.4.2. Checked against explicit refits by
            tests/regression/test_regression_flow.py.
        """
        V, rates = self.eigenvectors, self.eigenvalues + self.ridge
        kept = rates > noise(self.eigenvalues.max(), len(rates))
        inverse = jnp.where(kept, 1 / jnp.where(kept, rates, jnp.ones_like(rates)), 0 * rates)
        null = (V**2) @ (~kept).astype(V.dtype)
        reaches = null > noise(jnp.ones_like(self.ridge), len(rates))
        diagonal = jnp.where(reaches, null, (V**2) @ inverse)
        along = lambda factors: V @ _scale_rows(factors, self.residual)
        inside, outside = along((~kept).astype(V.dtype)), along(inverse)
        error = jnp.where(as_rows(reaches, self.start), inside, outside)
        return self.start + V @ self.residual - error / as_rows(diagonal, self.start)

    def _predict(
        self,
        K_test_train: Num[ArrayLike, "..."],
        phi: Float[Array, " train"],
        start: Num[ArrayLike, "..."] | None,
    ) -> Outputs:
        train, *outputs = self.residual.shape
        K = check_test_kernel(K_test_train, train, self.residual.dtype)
        initial = check_start(start, (len(K), *outputs), K.dtype)
        return initial + (K @ self.eigenvectors) @ _scale_rows(phi, self.residual)

    def _train(self, phi: Float[Array, " train"]) -> Outputs:
        learnt = _scale_rows(self.eigenvalues * phi, self.residual)
        return self.start + self.eigenvectors @ learnt

    def _phi(self, t: Number) -> Float[Array, " train"]:
        """(1 - e^{-rate t}) / rate, rate = lambda + ridge; at rate 0 it is t, or 0 at t = inf."""
        time = self.speed * check_time(t, self.eigenvalues.dtype)
        rates = self.eigenvalues + self.ridge
        ended, eps = jnp.isinf(time), float(jnp.finfo(rates.dtype).eps)
        dead = noise(self.eigenvalues.max(), len(rates))
        learnable = jnp.where(ended, rates > dead, rates * time > eps)
        limit = jnp.where(ended, jnp.zeros_like(time), time)
        rates = jnp.where(learnable, rates, jnp.ones_like(rates))
        return jnp.where(learnable, -jnp.expm1(-rates * time) / rates, limit)

    def _phi_steps(self, steps: Number, learning_rate: Number) -> Float[Array, " train"]:
        """(1 - (1 - eta rate)^k) / rate, and k eta at rate 0; eta includes s."""
        count = check_steps(steps, self.eigenvalues.dtype)
        eta = self.speed * check_learning_rate(learning_rate, self.eigenvalues.dtype)
        rates = self.eigenvalues + self.ridge
        learnable = rates * eta * count > float(jnp.finfo(rates.dtype).eps)
        rates = jnp.where(learnable, rates, jnp.ones_like(rates))
        return jnp.where(learnable, -_power_minus_one(eta * rates, count) / rates, count * eta)


def _power_minus_one(x: Float[Array, " n"], k: Float[Array, ""]) -> Float[Array, " n"]:
    """(1 - x)^k - 1 for x > 0 and a whole k >= 0, without cancellation at small x."""
    one = jnp.ones_like(x)
    decaying = x < one
    small = jnp.expm1(k * jnp.log1p(jnp.where(decaying, -x, 0 * x)))
    sign = 1 - 2 * (k % 2)
    oscillating = sign * jnp.where(decaying, one, x - one) ** k - 1
    return jnp.where(decaying, small, oscillating)


def _scale_rows(
    factors: Float[Array, " rows"], values: Float[Array, " rows *outputs"]
) -> Float[Array, " rows *outputs"]:
    return as_rows(factors, values) * values
