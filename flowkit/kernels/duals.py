"""Gaussian expectations of activations as numbers, from the lowered duals."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num

from flowkit.lowering import lower
from flowkit.symbolic.duals import Activation, dual
from flowkit.symbolic.quadrature import QuadratureDual

LayerMap = Callable[[Array, Array, Array], tuple[Array, Array]]


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


def layer_map(activation: Activation) -> LayerMap:
    """The dual scaled by c = 1 / E[s(x)^2] of a standard normal x, which keeps unit variances.

    Args:
        activation: What `flowkit.symbolic.dual` takes: a name, an expression, a function, a dual.

    Returns:
        (var_u, var_v, cov) -> (c E[s(u) s(v)], c E[s'(u) s'(v)]); c is 2 for the ReLU.

    Raises:
        ValueError: `activation` is unknown.

    Source:
        Arora et al. 2019, arXiv:1904.11955, section 3.
    """
    function = lower(dual(activation))

    def scaled(var_u: Array, var_v: Array, cov: Array) -> tuple[Array, Array]:
        one = jnp.ones((), cov.dtype)
        second_moment, _ = function(one, one, one)
        kappa, kappa_dot = function(var_u, var_v, cov)
        return kappa / second_moment, kappa_dot / second_moment

    return scaled


def entries(activation: Activation) -> int:
    """The number of values held at once for one pair of variables: a row of nodes, or one."""
    found = dual(activation)
    return found.row if isinstance(found, QuadratureDual) else 1
