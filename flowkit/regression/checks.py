"""The arguments of a kernel regression: what they must satisfy, and what is said if they do not.

Values that JAX traces are checked at run time, all others at once.
"""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num, Shaped

from flowkit.kernels.checks import check_finite

Number = float | int | Float[Array, ""]

_ROUNDING = 100  # symmetry and definiteness may be off by this many units of `noise`


def noise(size: Float[Array, ""], points: int) -> Float[Array, ""]:
    """What rounding may leave of a zero eigenvalue: n * eps * max |K|."""
    return size * (points * float(jnp.finfo(size.dtype).eps))


def check_gram(K: Num[ArrayLike, "..."]) -> Float[Array, "train train"]:
    """A square, finite matrix, symmetric up to rounding."""
    K = jnp.asarray(K)
    if K.ndim != 2 or K.shape[0] != K.shape[1] or K.size == 0:
        raise ValueError(
            f"Argument `K` must be a square matrix with at least one row, but it has shape "
            f"{K.shape}."
        )
    K = finite(K, "K", K.dtype if jnp.issubdtype(K.dtype, jnp.floating) else float)
    gap, size = jnp.abs(K - K.T).max(), jnp.abs(K).max()
    if gap > _ROUNDING * noise(size, len(K)):
        raise ValueError(
            f"Argument `K` must be symmetric up to rounding, but an entry differs from its mirror "
            f"image by {gap:.2e}, and the largest entry is {size:.2e}."
        )
    return K


def check_definite(eigenvalues: Float[Array, " train"], rounding: float | None = None) -> None:
    """Eigenvalues that are nonnegative up to rounding, a fraction of the largest in size."""
    least, size = eigenvalues.min(), jnp.abs(eigenvalues).max()
    usual = _ROUNDING * noise(size, len(eigenvalues))
    if least < -(usual if rounding is None else jnp.maximum(usual, rounding * size)):
        raise ValueError(
            f"Argument `K` must be positive semidefinite up to rounding, but its smallest "
            f"eigenvalue is {least:.2e}, and its largest {eigenvalues.max():.2e}."
        )


def check_targets(
    y: Num[ArrayLike, "..."], points: int, dtype: jnp.dtype
) -> Float[Array, " train *outputs"]:
    """One number or one row of outputs for each point."""
    y = finite(y, "y", dtype)
    if y.ndim not in (1, 2) or len(y) != points:
        raise ValueError(
            f"Argument `y` must have {points} rows, one for each row of `K`, and at most two axes, "
            f"but it has shape {y.shape}."
        )
    return y


def check_test_kernel(
    K_test_train: Num[ArrayLike, "..."], train: int, dtype: jnp.dtype
) -> Float[Array, "test train"]:
    """Kernel values, test points by training points."""
    K = finite(K_test_train, "K_test_train", dtype)
    if K.ndim != 2 or K.shape[1] != train:
        raise ValueError(
            f"Argument `K_test_train` must be test points by {train} training points, but it "
            f"has shape {K.shape}."
        )
    return K


def check_start(
    start: Num[ArrayLike, "..."] | None, shape: tuple[int, ...], dtype: jnp.dtype
) -> Float[Array, " points *outputs"]:
    """Outputs at t = 0; zero where omitted."""
    if start is None:
        return jnp.zeros(shape, dtype)
    array = finite(start, "start", dtype)
    if array.shape != shape:
        raise ValueError(f"Argument `start` must have shape {shape}, but it has {array.shape}.")
    return array


def check_ridge(ridge: Number, dtype: jnp.dtype) -> Float[Array, ""]:
    """A finite number of at least 0."""
    sentence = "Argument `ridge` must be finite and at least 0"
    return _checked(ridge, dtype, sentence, lambda value: (value >= 0) & (value < jnp.inf))


def check_noise(target_noise: Number, dtype: jnp.dtype) -> Float[Array, ""]:
    """A variance: a finite number of at least 0."""
    sentence = "Argument `target_noise` must be finite and at least 0"
    return _checked(target_noise, dtype, sentence, lambda value: (value >= 0) & (value < jnp.inf))


def check_time(t: Number, dtype: jnp.dtype) -> Float[Array, ""]:
    """A number of at least 0; infinity is one."""
    return _checked(t, dtype, "Argument `t` must be at least 0", lambda value: value >= 0)


def check_steps(steps: Number, dtype: jnp.dtype) -> Float[Array, ""]:
    """A whole number of at least 0."""
    sentence = "Argument `steps` must be a whole number of at least 0"
    return _checked(steps, dtype, sentence, lambda value: (value >= 0) & (value % 1 == 0))


def check_learning_rate(learning_rate: Number, dtype: jnp.dtype) -> Float[Array, ""]:
    """A finite number above 0."""
    sentence = "Argument `learning_rate` must be finite and above 0"
    return _checked(learning_rate, dtype, sentence, lambda value: (value > 0) & (value < jnp.inf))


def _checked(value: Number, dtype: jnp.dtype, sentence: str, holds: Callable) -> Float[Array, ""]:
    if isinstance(value, float | int) and not holds(value):
        raise ValueError(f"{sentence}, but it is `{value}`.")
    array = jnp.asarray(value, dtype)
    return eqx.error_if(array, ~holds(array), f"{sentence}.")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """One of the names on offer."""
    if value not in choices:
        named = " or ".join(f"`{choice}`" for choice in choices)
        raise ValueError(f"Argument `{name}` must be {named}, but it is `{value!r}`.")


def finite(
    values: Num[ArrayLike, "..."], argument: str, dtype: jnp.dtype | type[float]
) -> Float[Array, "..."]:
    """The values as an array of that dtype, without nan and infinity."""
    return check_finite(argument, jnp.asarray(values).astype(dtype))


def as_rows(values: Shaped[Array, " rows"], like: Float[Array, " rows *outputs"]) -> Array:
    """One value for each row, with as many axes as `like`."""
    return values.reshape(-1, *(1,) * (like.ndim - 1))
