"""Kernel regression, at the end of kernel gradient flow and at any time on the way."""

from typing import final

import equinox as eqx
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num

from flowkit.kernels.base import check_finite

Time = float | int | Float[Array, ""]

_ROUNDING = 100  # symmetry and definiteness may be off by this many units of n * eps * max |K|


@final
class KernelRegression(eqx.Module):
    """Predictions of kernel gradient flow; made by `fit`.

    The loss is 1/2 the sum of squares over points and outputs, plus ridge / 2 times the squared
    norm of the function in the kernel's space. With f(t) = f_0 + k(x, X) alpha(t) the flow is

        d(alpha)/dt = (y - u_0) - (K + ridge I) alpha,    alpha(0) = 0,
        alpha(t) = phi(K, t) (y - u_0),
        phi(lambda, t) = (1 - e^{-(lambda + ridge) t}) / (lambda + ridge),

    evaluated exactly in the eigenbasis of K; phi is t where lambda + ridge = 0. Zero eigenvalues
    are never learnt without a ridge: no kernel value reaches them, so at t = inf they are left out.

    Attributes:
        eigenvalues: Those of K, with rounding below zero set to zero.
        eigenvectors: Those of K, as columns.
        residual: y - u_0 in the eigenbasis.
        start: The training outputs u_0 at t = 0.
        ridge: The ridge.

    Source:
        Arora et al. 2019, arXiv:1904.11955, section 3; Jacot, Gabriel, Hongler 2018,
        arXiv:1806.07572, section 5. Checked by tests/test_regression.py.
    """

    eigenvalues: Float[Array, " train"]
    eigenvectors: Float[Array, "train train"]
    residual: Float[Array, " train *outputs"]
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
        return self.predict_at(K_test_train, jnp.inf, start=start)

    def predict_at(
        self,
        K_test_train: Num[ArrayLike, "..."],
        t: Time,
        *,
        start: Num[ArrayLike, "..."] | None = None,
    ) -> Float[Array, " test *outputs"]:
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
        K = _finite(K_test_train, "K_test_train", self.residual.dtype)
        points, (train, *outputs) = K.shape[:1], self.residual.shape
        if K.ndim != 2 or K.shape[1] != train:
            raise ValueError(
                f"Argument `K_test_train` must be test points by {train} training points, but it "
                f"has shape {K.shape}."
            )
        initial = _start(start, (*points, *outputs), K.dtype)
        learnt = _scale_rows(self._phi(t), self.residual)
        return initial + (K @ self.eigenvectors) @ learnt

    def train_at(self, t: Time) -> Float[Array, " train *outputs"]:
        """Training outputs at time t: u_0 + K phi(K, t) (y - u_0).

        Args:
            t: Flow time; infinity gives the end of the flow.

        Returns:
            The outputs at the training points, shaped as y.

        Raises:
            ValueError: t is negative.
        """
        learnt = _scale_rows(self.eigenvalues * self._phi(t), self.residual)
        return self.start + self.eigenvectors @ learnt

    def _phi(self, t: Time) -> Float[Array, " train"]:
        """(1 - e^{-rate t}) / rate, rate = lambda + ridge; at rate 0 it is t, or 0 at t = inf."""
        t = _time(t, self.eigenvalues.dtype)
        rates = self.eigenvalues + self.ridge
        noise = _rounding(self.eigenvalues.max(), len(rates)) / _ROUNDING
        learnable = jnp.where(jnp.isinf(t), rates > noise, rates > 0)
        limit = jnp.where(jnp.isinf(t), jnp.zeros_like(t), t)
        rates = jnp.where(learnable, rates, jnp.ones_like(rates))
        return jnp.where(learnable, -jnp.expm1(-rates * t) / rates, limit)


def fit(
    K: Num[ArrayLike, "..."],
    y: Num[ArrayLike, "..."],
    *,
    ridge: float = 0.0,
    start: Num[ArrayLike, "..."] | None = None,
) -> KernelRegression:
    """Solve kernel gradient flow of 1/2 the sum of squares, for every time at once.

    With outputs u on the training points du/dt = -K (u - y) without a ridge, which `train_at`
    gives in closed form; its end is kernel regression. One symmetric eigendecomposition.

    Args:
        K: Kernel values of the training points: symmetric, positive semidefinite up to rounding.
        y: Targets, one number or one row of outputs for each point.
        ridge: Coefficient of half the squared norm in the kernel's space.
        start: Training outputs at t = 0, shaped as y; zero where omitted.

    Returns:
        The solved flow.

    Raises:
        ValueError: K is not square, finite, symmetric and positive semidefinite, a shape disagrees
            with it, or the ridge is negative.

    Source:
        arXiv:1904.11955, section 3. Checked by tests/test_regression.py.
    """
    K = _check_gram(K)
    y = _finite(y, "y", K.dtype)
    if y.ndim not in (1, 2) or len(y) != len(K):
        raise ValueError(
            f"Argument `y` must have {len(K)} rows, one for each row of `K`, and at most two axes, "
            f"but it has shape {y.shape}."
        )
    if not 0 <= ridge < float("inf"):
        raise ValueError(f"Argument `ridge` must be finite and at least 0, but it is `{ridge}`.")
    initial = _start(start, y.shape, K.dtype)
    eigenvalues, eigenvectors = jnp.linalg.eigh((K + K.T) / 2)
    _check_definite(eigenvalues)
    return KernelRegression(
        eigenvalues=jnp.maximum(eigenvalues, jnp.zeros_like(eigenvalues)),
        eigenvectors=eigenvectors,
        residual=eigenvectors.T @ (y - initial),
        start=initial,
        ridge=jnp.asarray(ridge, K.dtype),
    )


def _check_gram(K: Num[ArrayLike, "..."]) -> Float[Array, "train train"]:
    K = jnp.asarray(K)
    if K.ndim != 2 or K.shape[0] != K.shape[1] or K.size == 0:
        raise ValueError(
            f"Argument `K` must be a square matrix with at least one row, but it has shape "
            f"{K.shape}."
        )
    K = _finite(K, "K", K.dtype if jnp.issubdtype(K.dtype, jnp.floating) else float)
    gap, size = jnp.abs(K - K.T).max(), jnp.abs(K).max()
    if gap > _rounding(size, len(K)):
        raise ValueError(
            f"Argument `K` must be symmetric up to rounding, but an entry differs from its mirror "
            f"image by {gap:.2e}, and the largest entry is {size:.2e}."
        )
    return K


def _check_definite(eigenvalues: Float[Array, " train"]) -> None:
    least, size = eigenvalues.min(), jnp.abs(eigenvalues).max()
    if least < -_rounding(size, len(eigenvalues)):
        raise ValueError(
            f"Argument `K` must be positive semidefinite up to rounding, but its smallest "
            f"eigenvalue is {least:.2e}, and its largest {eigenvalues.max():.2e}."
        )


def _rounding(size: Float[Array, ""], points: int) -> Float[Array, ""]:
    return size * (_ROUNDING * points * float(jnp.finfo(size.dtype).eps))


def _finite(
    values: Num[ArrayLike, "..."], argument: str, dtype: jnp.dtype | type[float]
) -> Float[Array, "..."]:
    return check_finite(argument, jnp.asarray(values).astype(dtype))


def _start(
    start: Num[ArrayLike, "..."] | None, shape: tuple[int, ...], dtype: jnp.dtype
) -> Float[Array, " points *outputs"]:
    if start is None:
        return jnp.zeros(shape, dtype)
    array = _finite(start, "start", dtype)
    if array.shape != shape:
        raise ValueError(f"Argument `start` must have shape {shape}, but it has {array.shape}.")
    return array


def _time(t: Time, dtype: jnp.dtype) -> Float[Array, ""]:
    sentence = "Argument `t` must be at least 0"
    if isinstance(t, float | int) and not t >= 0:
        raise ValueError(f"{sentence}, but it is `{t}`.")
    time = jnp.asarray(t, dtype)
    return eqx.error_if(time, ~(time >= 0), f"{sentence}.")


def _scale_rows(
    factors: Float[Array, " rows"], values: Float[Array, " rows *outputs"]
) -> Float[Array, " rows *outputs"]:
    return factors.reshape(-1, *(1,) * (values.ndim - 1)) * values
