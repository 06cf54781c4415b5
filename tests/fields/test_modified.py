"""Modified flows are what Euler steps follow, for any field, to the order they state."""

from typing import ClassVar, final

import diffrax as dfx
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import completion, random_factors

import flowkit as fk
from flowkit.fields import AbstractVectorField, KernelFlow
from flowkit.fields.modified import ModifiedFlow, modified_rate
from flowkit.trajectory import FLOW_TIME

START = (jnp.array([0.6, -0.4]), jnp.array(0.3))
STEPS = 0.1 * 0.5 ** np.arange(4)


@final
class Swirl(AbstractVectorField):
    """No gradient, and it depends on time."""

    clock: ClassVar[str] = FLOW_TIME

    def __call__(self, t, y, args=None):
        (a, b), c = y
        return jnp.stack([b * jnp.cos(t), -a * a + c]), jnp.sin(a + 2 * t) - c * b

    def loss(self, y):
        return y[1]

    def check(self, y0):
        pass


@eqx.filter_jit
def one_step_error(field, learning_rate, order):
    """The distance of one Euler step from the modified flow over its length."""
    t0 = jnp.array(0.3)
    modified = lambda t, y, args: modified_rate(field, t, y, learning_rate, order)
    exact = dfx.diffeqsolve(
        dfx.ODETerm(modified), dfx.Dopri8(), t0, t0 + learning_rate, learning_rate / 4, START
    ).ys
    euler = jax.tree.map(lambda y, rate: y + learning_rate * rate, START, field(t0, START))
    gaps = jax.tree.map(lambda end, step: jnp.sum((end[-1] - step) ** 2), exact, euler)
    return jnp.sqrt(sum(jax.tree.leaves(gaps)))


@pytest.mark.parametrize("order", [0, 1, 2])
def test_one_step_is_right_to_the_stated_order_on_a_field_that_depends_on_time(order):
    """Measured slopes 2.01, 3.00, 4.02; a wrong coefficient leaves the slope below."""
    errors = [float(one_step_error(Swirl(), jnp.array(h), order)) for h in STEPS]
    assert fk.fitted_order(STEPS, errors) == pytest.approx(order + 2, abs=0.1)


def test_order_one_is_gradient_flow_of_the_modified_loss():
    """Barrett and Dherin: loss + h/4 |grad loss|^2, for the factors of a product."""
    field, factors, h = fk.FactorFlow(completion()), random_factors((4, 3, 5)), 0.2

    def modified_loss(y):
        squares = [jnp.sum(g**2) for g in jax.grad(field.loss)(y)]
        return field.loss(y) + h / 4 * sum(squares)

    stated = ModifiedFlow(field, h)(0.0, factors)
    for rate, gradient in zip(stated, jax.grad(modified_loss)(factors), strict=True):
        np.testing.assert_allclose(rate, -gradient, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("order", [1, 2])
def test_on_a_linear_flow_it_is_the_logarithm_of_the_step(order):
    """log(1 - h K)/h is -K - h K^2/2 - h^2 K^3/3."""
    h, gram, targets = 0.05, jnp.array([[2.0, 0.5], [0.5, 1.0]]), jnp.array([[1.0], [-1.0]])
    field = KernelFlow(gram, targets)
    u = jnp.array([[0.3], [0.7]])
    terms = [gram, h / 2 * gram @ gram, h**2 / 3 * gram @ gram @ gram]
    np.testing.assert_allclose(
        ModifiedFlow(field, h, order)(0.0, u),
        -sum(terms[: order + 1]) @ (u - targets),
        rtol=1e-13,
    )


def test_it_answers_for_the_field_it_modifies():
    problem, factors = completion(), random_factors((4, 3, 5))
    field = ModifiedFlow(fk.FactorFlow(problem), 0.1, 2)
    assert field.clock == FLOW_TIME
    assert float(field.loss(factors)) == float(fk.FactorFlow(problem).loss(factors))
    with pytest.raises(ValueError, match="`y0` must hold factors"):
        field.check(random_factors((2, 2)))


BAD = {
    "order 0": ({"order": 0}, "`order` must be 1 or 2, but it is 0"),
    "order 3": ({"order": 3}, "`order` must be 0, 1 or 2, but it is 3"),
    "no step": ({"learning_rate": 0.0}, "`learning_rate` must be positive, but it is 0"),
    "lifted": ({"field": fk.ModelFlow(jnp.sum)}, "`ModelFlow`; give that its own `modified`"),
}


@pytest.mark.parametrize(("change", "message"), BAD.values(), ids=BAD)
def test_what_cannot_be_modified_is_refused(change, message):
    arguments = {"field": Swirl(), "learning_rate": 0.1, "order": 1} | change
    with pytest.raises(ValueError, match=message):
        ModifiedFlow(**arguments)
