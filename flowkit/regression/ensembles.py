"""Mean and covariance of ensembles of infinitely wide networks, at any time of their training."""

from typing import final

import equinox as eqx
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num

from flowkit.regression.checks import Number, check_gram, check_noise, finite
from flowkit.regression.flow import KernelRegression


@final
class Posterior(eqx.Module):
    """A Gaussian over test outputs; the outputs of one point are independent of each other.

    Attributes:
        mean: Shaped as the targets, with test points for training points.
        covariance: Between test points, the same for each output; or only its diagonal.
    """

    mean: Float[Array, " test *outputs"]
    covariance: Float[Array, "test test"] | Float[Array, " test"]

    @property
    def deviation(self) -> Float[Array, " test"]:
        """Standard deviation at each test point; rounding below zero counts as zero."""
        variance = self.covariance if self.covariance.ndim == 1 else jnp.diagonal(self.covariance)
        return jnp.sqrt(jnp.maximum(variance, jnp.zeros_like(variance)))


def ensemble(
    model: KernelRegression,
    K_test_train: Num[ArrayLike, "..."],
    *,
    nngp_train: Num[ArrayLike, "..."],
    nngp_test_train: Num[ArrayLike, "..."],
    nngp_test: Num[ArrayLike, "..."],
    t: Number = float("inf"),
    target_noise: Number = 0.0,
) -> Posterior:
    """Outputs of infinitely wide networks at time t, over their random initialization.

    Every network starts at its own draw of the NNGP and follows kernel flow with the one kernel
    the model was fitted with, the NTK (all layers trained) or the NNGP (the last one). With
    S = k(x, X) phi(K, t), its smoother, and C the NNGP,

        mean = S y,    covariance = C_test - S C_test_train' - C_test_train S' + S (C + noise I) S'.

    At t = 0 it is the NNGP. Trained on the NNGP with ridge = target_noise, the end is the Gaussian
    process posterior: noise on each network's targets makes up for what the ridge damps.

    Args:
        model: The fit of the targets; its `start` plays no role, as the draws have mean zero.
        K_test_train: The kernel it was fitted with, test points by training points.
        nngp_train: The NNGP C of the training points.
        nngp_test_train: The NNGP, test points by training points.
        nngp_test: The NNGP of the test points, or its diagonal for variances alone.
        t: Flow time, of the loss the model was fitted with.
        target_noise: Variance of noise that each network finds on its own copy of the targets.

    Returns:
        The mean and the covariance.

    Raises:
        ValueError: a shape disagrees with the fit, a value is not finite, or a number is negative.

    Source:
        Lee et al. 2019, arXiv:1902.06720; with noise, Matthews, Hron, Turner, Ghahramani 2017,
        "Sample-then-optimize". Checked by tests/regression/test_ensembles.py.
    """
    S = model.smoother_at(K_test_train, t)
    C = check_gram(nngp_train)
    cross = _of_shape(nngp_test_train, "nngp_test_train", S.shape, C.dtype)
    test = _test_covariance(nngp_test, "nngp_test", len(S), C.dtype)
    if len(C) != S.shape[1]:
        raise ValueError(
            f"Argument `nngp_train` must be of the {S.shape[1]} training points, but it has shape "
            f"{C.shape}."
        )
    noisy = C + check_noise(target_noise, C.dtype) * jnp.eye(len(C), dtype=C.dtype)
    targets = model.start + model.eigenvectors @ model.residual
    # With H = S (C + noise) - 2 C_test_train the covariance is C_test + sym(H S').
    return Posterior(S @ targets, _plus_symmetric_product(test, S @ noisy - 2 * cross, S))


def gaussian_process(
    model: KernelRegression,
    K_test_train: Num[ArrayLike, "..."],
    K_test: Num[ArrayLike, "..."],
) -> Posterior:
    """Posterior of the noiseless Gaussian process whose covariance the model was fitted with.

    The ridge is the variance of the noise on the targets: with k the NNGP

        mean = k (K + ridge I)^{-1} y,    covariance = K_test - k (K + ridge I)^{-1} k'.

    Args:
        model: The fit of the targets with the NNGP; its `start` plays no role.
        K_test_train: The NNGP, test points by training points.
        K_test: The NNGP of the test points, or its diagonal for variances alone.

    Returns:
        The mean and the covariance.

    Raises:
        ValueError: a shape disagrees with the fit, or a value is not finite.

    Source:
        Lee et al. 2018, arXiv:1711.00165; Rasmussen, Williams 2006, equations 2.22 to 2.24.
        Checked by tests/regression/test_ensembles.py.
    """
    S = model.smoother_at(K_test_train, float("inf"))
    cross = finite(K_test_train, "K_test_train", S.dtype)
    test = _test_covariance(K_test, "K_test", len(S), S.dtype)
    targets = model.start + model.eigenvectors @ model.residual
    return Posterior(S @ targets, _plus_symmetric_product(test, -cross, S))


def _plus_symmetric_product(
    test: Float[Array, "..."], left: Float[Array, "test train"], right: Float[Array, "test train"]
) -> Float[Array, "..."]:
    """A + the symmetric part of left right', or only its diagonal where A is one."""
    if test.ndim == 1:
        return test + (left * right).sum(1)
    product = left @ right.T
    return test + (product + product.T) / 2


def _test_covariance(
    values: Num[ArrayLike, "..."], name: str, points: int, dtype: jnp.dtype
) -> Float[Array, "..."]:
    array = jnp.asarray(values)
    shape = (points,) if array.ndim == 1 else (points, points)
    return _of_shape(array, name, shape, dtype)


def _of_shape(
    values: Num[ArrayLike, "..."], name: str, shape: tuple[int, ...], dtype: jnp.dtype
) -> Float[Array, "..."]:
    array = finite(values, name, dtype)
    if array.shape != shape:
        raise ValueError(f"Argument `{name}` must have shape {shape}, but it has {array.shape}.")
    return array
