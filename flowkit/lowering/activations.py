"""Activations themselves as JAX functions: what a finite network applies between its layers."""

from collections.abc import Callable
from functools import cache

import jax.numpy as jnp
import sympy as sp
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Num, Scalar

from flowkit.lowering.printing import compile_expressions
from flowkit.symbolic.duals import Activation, Dual, dual
from flowkit.symbolic.polar import HalfPowers

Function = Callable[[Scalar], Scalar]
Elementwise = Callable[[Num[ArrayLike, "..."]], Float[Array, "..."]]


def lower_activation(activation: Activation) -> Elementwise:
    """Turn an activation into a pure JAX function of arrays, entry by entry; cached and jit-able.

    At a kink its derivative is the one from the left, which is 0 for the ReLU; at a jump it has
    the mean of both sides.

    Args:
        activation: What `flowkit.symbolic.dual` takes: a name, an expression, a function, a dual.

    Returns:
        `s(x)`, of the shape and floating dtype of x.

    Raises:
        ValueError: `activation` is unknown.

    Source:
        The duals of the same function are `flowkit.lower(dual(activation))`. Checked by
        tests/test_activations.py.
    """
    return _elementwise(dual(activation))


@cache
def _elementwise(found: Dual) -> Elementwise:
    function = scalar_function(found)
    if not isinstance(found.function, HalfPowers):
        function = jnp.vectorize(function)

    def activate(x: Num[ArrayLike, "..."]) -> Float[Array, "..."]:
        array = jnp.asarray(x)
        floats = array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)
        return function(floats).astype(floats.dtype)

    return activate


def scalar_function(found: Dual) -> Function:
    """The activation of a dual as a JAX function of one number."""
    if isinstance(found.function, HalfPowers):
        return _half_powers(found.function)
    if not isinstance(found.function, sp.Lambda):
        return found.function
    (variable,) = found.function.variables
    compiled = compile_expressions((variable,), [found.function(variable)])
    return lambda x: compiled(x)[0]


def _half_powers(function: HalfPowers) -> Callable[[Array], Array]:
    right, left, degree = float(function.right), float(function.left), function.degree
    if degree > 0:
        return lambda x: jnp.where(x > 0, right * x**degree, left * x**degree)
    sides = lambda x: jnp.where(x > 0, right, left).astype(x.dtype)
    return lambda x: jnp.where(x == 0, jnp.full_like(x, (right + left) / 2), sides(x))
