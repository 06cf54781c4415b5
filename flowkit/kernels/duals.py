"""Gaussian expectations of activations as numbers, from the lowered duals."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num

from flowkit.lowering import lower
from flowkit.symbolic.duals import Activation, dual
from flowkit.symbolic.polar import HalfPowers
from flowkit.symbolic.quadrature import QuadratureDual


def expectation(
    activation: Activation,
    var_u: Num[ArrayLike, "..."],
    var_v: Num[ArrayLike, "..."],
    cov: Num[ArrayLike, "..."],
) -> Float[Array, "..."]:
    """E[s(u) s(v)] over (u, v) ~ N(0, [[var_u, cov], [cov, var_v]]).

    Args:
        activation: What `flowkit.symbolic.dual` takes: a name, an expression, a function, a dual.
        var_u: Variance of u.
        var_v: Variance of v.
        cov: Covariance of u and v; rounding may take the correlation beyond 1.

    Returns:
        The expectation, for arguments broadcast against each other.

    Raises:
        ValueError: `activation` is unknown.
        RuntimeError: a variance is negative.

    Source:
        Derived by `flowkit.symbolic.dual`. Checked by tests/test_duals.py and
        tests/symbolic/test_duals_numbers.py.
    """
    function = lower(dual(activation))
    negative = jnp.any(jnp.asarray(var_u) < 0) | jnp.any(jnp.asarray(var_v) < 0)
    kappa, _ = function(var_u, var_v, cov)
    return eqx.error_if(
        kappa, negative, "Arguments `var_u` and `var_v` must not be negative, but one is."
    )


def moments(activation: Activation, var_u: Array, var_v: Array, cov: Array) -> tuple[Array, Array]:
    """E[s(u) s(v)] and E[s'(u) s'(v)], for s homogeneous on each side of 0 at any scale.

    The product of both variances leaves the range of float32 where they pass 1e19. Half powers of
    degree n allow to divide u and v by powers of two, which costs no rounding, and to multiply the
    moments by the n-th and (n - 1)-th powers of both.

    Args:
        activation: What `flowkit.symbolic.dual` takes: a name, an expression, a function, a dual.
        var_u: Variance of u.
        var_v: Variance of v.
        cov: Covariance of u and v.

    Returns:
        Both expectations.
    """
    found = dual(activation)
    if not isinstance(found.function, HalfPowers):
        return lower(found)(var_u, var_v, cov)
    a, b = _power_of_two(var_u), _power_of_two(var_v)
    kappa, kappa_dot = lower(found)(var_u / a / a, var_v / b / b, cov / a / b)
    degree = found.function.degree
    return kappa * a**degree * b**degree, kappa_dot * a ** (degree - 1) * b ** (degree - 1)


def back(kappa_dot: Array, theta: Array) -> Array:
    """The product E[s'(u) s'(v)] Theta; 0 where Theta is, also for the infinite slope of a jump."""
    return jnp.where((theta == 0) & jnp.isinf(kappa_dot), 0.0, kappa_dot) * theta


def _power_of_two(variance: Array) -> Array:
    """The power of two next to the deviation; 1 for variance 0."""
    deviation = jnp.sqrt(jax.lax.stop_gradient(variance))
    limits = jnp.finfo(variance.dtype)
    power = jax.lax.reduce_precision(deviation, exponent_bits=limits.nexp, mantissa_bits=0)
    return jnp.where(power > 0, power, 1.0)


def entries(activation: Activation) -> int:
    """The number of values held at once for one pair of variables: a row of nodes, or one."""
    found = dual(activation)
    return found.row if isinstance(found, QuadratureDual) else 1
