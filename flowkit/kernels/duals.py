"""Gaussian expectations of activations as numbers, from the lowered duals."""

import equinox as eqx
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num

from flowkit.lowering import lower
from flowkit.symbolic.duals import Activation, dual
from flowkit.symbolic.quadrature import QuadratureDual

_RESOLUTION = 16.0  # units of the last place by which 1 - correlation^2 may be wrong


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


def moments(
    activation: Activation, var_u: Array, var_v: Array, cov: Array, sine2: Array | None = None
) -> tuple[Array, Array]:
    """E[s(u) s(v)] and E[s'(u) s'(v)] where the moments of u and v come out of a calculation.

    Rounding moves a correlation of 1 by a few units eps of the last place, and that an angle of 0
    by their root. Half powers have a kink, where the angle enters as it is: for them one whose
    squared sine is below 16 eps counts as 0 (6e-8 in float64, 1.4e-3 in float32), unless it is
    known.

    Args:
        activation: What `flowkit.symbolic.dual` takes: a name, an expression, a function, a dual.
        var_u: Variance of u.
        var_v: Variance of v.
        cov: Covariance of u and v.
        sine2: 1 - correlation^2, where it is known better than from these three.

    Returns:
        Both expectations.
    """
    return lower(dual(activation))(var_u, var_v, cov, sine2, resolution=_RESOLUTION)


def back(kappa_dot: Array, theta: Array) -> Array:
    """The product E[s'(u) s'(v)] Theta; 0 where Theta is, also for the infinite slope of a jump."""
    return jnp.where((theta == 0) & jnp.isinf(kappa_dot), 0.0, kappa_dot) * theta


def onward(theta: Array, kappa: Array, kappa_dot: Array, weight: Array, rate: Array) -> Array:
    """The tangent kernel of the next layer, weight E[s'(u) s'(v)] Theta + rate E[s(u) s(v)].

    Where both expectations overflow their sizes count as equal, as those of an exponential are:
    then the sum is infinite with its sign.
    """
    infinite = jnp.isinf(kappa) & jnp.isinf(kappa_dot)
    factor = weight * theta * jnp.sign(kappa_dot) + rate * jnp.sign(kappa)
    kappa, kappa_dot = (jnp.where(infinite, 0.0, moment) for moment in (kappa, kappa_dot))
    value = weight * back(kappa_dot, theta) + rate * kappa
    overflow = jnp.where(factor > 0, jnp.inf, jnp.where(factor < 0, -jnp.inf, 0.0))
    return jnp.where(infinite, overflow, value)


def entries(activation: Activation) -> int:
    """The number of values held at once for one pair of variables: a row of nodes, or one."""
    found = dual(activation)
    return found.row if isinstance(found, QuadratureDual) else 1
