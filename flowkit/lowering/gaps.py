"""Arithmetic near correlation 1: determinants without cancellation, angles and roots with guards.

Source: Dekker 1971 (A floating-point technique for extending the available precision).
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from flowkit.lowering.arctangent import arctangent, upper_angle

Reals = Float[Array, "..."]


@jax.custom_jvp
def determinant(var_u: Reals, var_v: Reals, cov: Reals) -> Reals:
    """var_u var_v - cov^2, correct to rounding however near to zero; never negative.

    Both products are split into their rounded values and their rounding errors. A correlation
    beyond 1 counts as 1.
    """
    product, error = _exact_product(var_u, var_v)
    square, square_error = _exact_product(cov, cov)
    return jnp.maximum((product - square) + (error - square_error), 0.0)


@determinant.defjvp
def _(primals, tangents):
    (var_u, var_v, cov), (du, dv, dcov) = primals, tangents
    return determinant(*primals), var_v * du + var_u * dv - 2 * cov * dcov


def _exact_product(a: Reals, b: Reals) -> tuple[Reals, Reals]:
    """The rounded product and its error, through halves of the digits whose products are exact."""
    product = a * b
    (high_a, low_a), (high_b, low_b) = _halves(a), _halves(b)
    error = high_a * high_b - product + high_a * low_b + low_a * high_b + low_a * low_b
    return product, error


def _halves(x: Reals) -> tuple[Reals, Reals]:
    """Split x into a sum of two numbers of half as many digits; the leading one is not stored."""
    kind = jnp.finfo(x.dtype)
    high = jax.lax.reduce_precision(x, exponent_bits=kind.nexp, mantissa_bits=kind.nmant // 2 - 1)
    return high, x - high


def power_of_two(variance: Reals) -> Reals:
    """The power of two next to the deviation, by which a division is exact; 1 for variance 0.

    Variances below the least normal number count as 0 here, for many devices flush them to zero.
    """
    limits = jnp.finfo(variance.dtype)
    normal = variance >= limits.tiny
    deviation = jnp.sqrt(jnp.where(normal, jax.lax.stop_gradient(variance), 1.0))
    return jax.lax.reduce_precision(deviation, exponent_bits=limits.nexp, mantissa_bits=0)


def guarded_root(x: Array, at_zero: float) -> Array:
    """The square root; `at_zero` with gradient 0 at zero and at rounding below it."""
    return jnp.where(x <= 0, at_zero, jnp.sqrt(jnp.where(x <= 0, 1.0, x)))


def guarded_inverse_root(x: Array) -> Array:
    """One over the square root; infinite with gradient 0 at zero."""
    return jnp.where(x <= 0, jnp.inf, 1 / jnp.sqrt(jnp.where(x <= 0, 1.0, x)))


def guarded_angle(y: Array, x: Array) -> Array:
    """The angle of (x, y), y >= 0; pi / 2 with gradient 0 at the origin."""
    origin = (x == 0) & (y == 0)
    return jnp.where(origin, jnp.pi / 2, upper_angle(y, jnp.where(origin, 1.0, x)))


def damped_sinh(exponent: Array, x: Array) -> Array:
    """e^exponent sinh(x), which does not overflow where the product does not."""
    sign = jnp.where(x >= 0, 1.0, -1.0).astype(x.dtype)
    return -sign / 2 * jnp.exp(exponent + sign * x) * jnp.expm1(-2 * sign * x)


def damped_cosh(exponent: Array, x: Array) -> Array:
    """e^exponent cosh(x), which does not overflow where the product does not."""
    return (jnp.exp(exponent + x) + jnp.exp(exponent - x)) / 2


GUARDS = (
    arctangent,
    guarded_root,
    guarded_inverse_root,
    guarded_angle,
    damped_sinh,
    damped_cosh,
)
"""What `GuardedPrinter` calls by name."""
