"""Duals at any scale: what keeps moments and their powers within the range of numbers."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Num

Real = Num[ArrayLike, "..."]
Kappas = Callable[..., tuple[Array, Array]]


def without_subnormal(u: Array, v: Array, c: Array) -> tuple[Array, Array, Array]:
    """Scaled moments; a variance which no power of two has made normal counts as 0.

    The slope of an angle, x / (x^2 + y^2), would be 0 / 0 there.
    """
    least = jnp.finfo(c.dtype).tiny
    vanish = (u < least) | (v < least)
    u, v = (jnp.where(var < least, 0.0, var) for var in (u, v))
    return u, v, jnp.where(vanish, c - jax.lax.stop_gradient(c), c)


def below_the_mean(var_u: Array, var_v: Array, cov: Array) -> Array:
    """The covariance, at most the mean variance in size, where rounding has taken it beyond.

    A bounded function has exponents below 0 then, instead of some that grow with the variances.
    """
    mean = var_u / 2 + var_v / 2
    return cov + jax.lax.stop_gradient(jnp.clip(cov, -mean, mean) - cov)


def times_powers(value: Array, factors: tuple[Array, Array], degrees: tuple[int, int]) -> Array:
    """Multiply by both factors in turn, lest a power overflow where the product does not."""
    for i in range(max(map(abs, degrees))):
        for factor, degree in zip(factors, degrees, strict=True):
            if i < abs(degree):
                value = value * factor if degree > 0 else value / factor
    return value


def within_range(kappas: Kappas) -> Kappas:
    """Numbers of any kind as arrays of one rank; infinite values where a variance is infinite."""

    def bounded(
        var_u: Real, var_v: Real, cov: Real, sine2: Real | None = None, *, resolution: float = 0.0
    ) -> tuple[Array, Array]:
        u, v, c, *angle = _floats(var_u, var_v, cov, *(() if sine2 is None else (sine2,)))
        infinite = jnp.isinf(u) | jnp.isinf(v)
        u, v = (jnp.where(jnp.isinf(var), 1.0, var) for var in (u, v))
        c = jnp.where(infinite, 0.0, c)
        kappa, kappa_dot = kappas(u, v, c, angle[0] if angle else None, resolution)
        return jnp.where(infinite, jnp.inf, kappa), jnp.where(infinite, jnp.inf, kappa_dot)

    return bounded


def as_floats(*values: Real) -> list[Array]:
    """Arrays of one shape, integers as floats."""
    return jnp.broadcast_arrays(*_floats(*values))


def _floats(*values: Real) -> list[Array]:
    """Arrays with as many axes each, integers as floats; not yet repeated along any axis."""
    arrays = [jnp.asarray(x) for x in values]
    rank = max(x.ndim for x in arrays)
    arrays = [x.reshape((1,) * (rank - x.ndim) + x.shape) for x in arrays]
    return [x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(float) for x in arrays]
