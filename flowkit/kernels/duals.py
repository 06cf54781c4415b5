"""Gaussian expectations of activations as numbers, from the lowered duals."""

import equinox as eqx
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num

from flowkit.lowering import lower
from flowkit.symbolic.duals import Activation, dual
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


def entries(activation: Activation) -> int:
    """The number of values held at once for one pair of variables: a row of nodes, or one."""
    found = dual(activation)
    return found.row if isinstance(found, QuadratureDual) else 1
