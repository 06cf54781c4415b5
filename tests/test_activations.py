"""Lowered activations: the functions that the duals are the duals of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy as sp

from flowkit import lower
from flowkit.lowering import lower_activation
from flowkit.symbolic import dual
from flowkit.symbolic.activations import ACTIVATIONS
from flowkit.symbolic.quadrature import normal_rule

POINTS = np.array([-3.0, -1.0, -0.2, 0.0, 0.5, 2.0, 4.0])
REFERENCES = {
    "relu": jax.nn.relu,
    "leaky_relu": jax.nn.leaky_relu,
    "abs": jnp.abs,
    "identity": lambda x: x,
    "step": lambda x: jnp.heaviside(x, 0.5),
    "sign": jnp.sign,
    "erf": jax.scipy.special.erf,
    "gelu": lambda x: jax.nn.gelu(x, approximate=False),
    "sin": jnp.sin,
    "cos": jnp.cos,
    "exp": jnp.exp,
    "gaussian": lambda x: jnp.exp(-(x**2)),
    "hermite": lambda x: (x**2 - 1) / 2**0.5,
    "tanh": jnp.tanh,
    "sigmoid": jax.nn.sigmoid,
    "softplus": jax.nn.softplus,
    "silu": jax.nn.silu,
    "elu": jax.nn.elu,
}


def test_every_named_activation_has_a_reference():
    assert REFERENCES.keys() == ACTIVATIONS.keys()


@pytest.mark.parametrize("name", REFERENCES)
def test_the_lowered_activation_is_the_function_of_that_name(name):
    s = lower_activation(name)
    np.testing.assert_allclose(s(POINTS), REFERENCES[name](POINTS), rtol=1e-12, atol=1e-14)
    away = POINTS[POINTS != 0]
    slopes = jax.vmap(jax.grad(s))(away)
    expected = jax.vmap(jax.grad(REFERENCES[name]))(away)
    np.testing.assert_allclose(slopes, expected, rtol=1e-12, atol=1e-14)
    assert np.isfinite(jax.grad(s)(0.0))
    single = s(jnp.ones((2, 3), jnp.float32))
    assert (single.shape, single.dtype) == ((2, 3), jnp.float32)


@pytest.mark.parametrize("name", ["erf", "sin", "hermite", "tanh", "gelu"])
def test_its_second_moment_is_the_dual_at_equal_arguments(name):
    points, weights = normal_rule(400)
    moment = np.sum(weights * lower_activation(name)(points) ** 2)
    np.testing.assert_allclose(lower(dual(name))(1.0, 1.0, 1.0)[0], moment, rtol=1e-12)


def test_parameters_expressions_and_functions_are_lowered_too():
    x, smooth = sp.Symbol("x", real=True), lambda t: jnp.tanh(2 * t)
    cases = {
        dual("leaky_relu", slope=0.3): np.where(POINTS > 0, POINTS, 0.3 * POINTS),
        dual("relu", power=2): np.maximum(POINTS, 0) ** 2,
        sp.Max(x, 0) * 2: 2 * np.maximum(POINTS, 0),
        x * sp.exp(-(x**2)): POINTS * np.exp(-(POINTS**2)),
        smooth: np.tanh(2 * POINTS),
    }
    for activation, expected in cases.items():
        np.testing.assert_allclose(lower_activation(activation)(POINTS), expected, rtol=1e-12)


def test_an_integer_is_read_as_a_number():
    assert lower_activation("tanh")(jnp.array(1)) == jnp.tanh(1.0)


def test_unknown_activation_is_refused():
    with pytest.raises(ValueError, match=r"`activation` must be one of .* `'tangent'`"):
        lower_activation("tangent")
