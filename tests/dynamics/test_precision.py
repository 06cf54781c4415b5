"""Products of float32 inside a solve keep all digits of float32, unless the user has chosen."""

from typing import ClassVar, final

import jax
import jax.numpy as jnp
import optax
import pytest

import flowkit as fk
from flowkit.fields import AbstractVectorField
from flowkit.trajectory import FLOW_TIME

SEEN = []


def product(y):
    """A product, whose precision is noted as it is traced."""
    SEEN.append("HIGHEST" in str(jax.make_jaxpr(lambda a: a @ a)(y)))
    return y @ y


@final
class Products(AbstractVectorField):
    """dy/dt = -y y."""

    clock: ClassVar[str] = FLOW_TIME

    def __call__(self, t, y, args=None):
        return -product(y)

    def loss(self, y):
        return jnp.sum(y)

    def check(self, y0):
        pass


SOLVES = {
    "integrate": lambda y: fk.integrate(Products(), y, [0.0, 1.0]),
    "descend": lambda y: fk.descend(lambda y: jnp.sum(product(y)), y, optax.sgd(0.1), 1),
    "sweep": lambda y: fk.sweep(
        lambda size: (Products(), jnp.eye(size)), {"size": [3]}, [0.0, 1.0], progress=False
    ),
    "sample_paths": lambda y: fk.dynamics.sample_paths(
        fk.StochasticFlow(
            lambda y, example: jnp.sum(product(y)) * example,
            fk.Minibatches(jnp.ones(2, y.dtype), 1, replace=True),
            0.1,
        ),
        y,
        [0.0, 0.2],
        keys=jax.random.split(jax.random.key(0), 2),
    ),
}


@pytest.mark.parametrize("solve", SOLVES.values(), ids=SOLVES)
def test_products_are_in_full_precision(solve):
    SEEN.clear()
    with jax.enable_x64(False):
        solve(jnp.eye(2))
    assert SEEN
    assert all(SEEN)
    assert jax.config.jax_default_matmul_precision is None


def test_a_precision_that_the_user_has_chosen_stays():
    SEEN.clear()
    with jax.enable_x64(False), jax.default_matmul_precision("tensorfloat32"):
        SOLVES["integrate"](jnp.eye(2))
    assert SEEN
    assert not any(SEEN)
