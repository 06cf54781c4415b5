"""The claims about finite steps fail for another sign, speed or order of what is compared."""

import functools

import jax
import jax.numpy as jnp
import pytest
from systems import completion

import flowkit as fk
from flowkit.claims import steps, training
from flowkit.dynamics import study_order
from flowkit.fields import model

CASES = {**steps.MOMENTUM, **steps.ADAPTIVE}
pytestmark = pytest.mark.slow  # each compiles two descents and a flow or more


@pytest.fixture
def fresh():
    """Compiled code does not see what is patched."""
    jax.clear_caches()
    yield
    jax.clear_caches()


def test_the_bound_fails_for_the_other_sign_in_the_exponent(monkeypatch):
    assert steps._check_bound().passed
    right = steps.growth
    monkeypatch.setattr(steps, "growth", lambda rate, lowest: -right(rate, lowest))
    assert not steps._check_bound().passed


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.usefixtures("fresh")
def test_another_sign_or_power_of_the_learning_rate_is_no_modified_flow(monkeypatch, order):
    right = model.modified_rate
    for change in (jnp.negative, jnp.square):
        wrong = lambda f, t, y, h, n, change=change: right(f, t, y, change(h), n)
        monkeypatch.setattr(model, "modified_rate", wrong)
        jax.clear_caches()
        assert not steps._check_modified((order,)).passed


@pytest.mark.parametrize("name", CASES)
@pytest.mark.usefixtures("fresh")
def test_a_rule_of_another_speed_does_not_follow_its_flow(monkeypatch, name):
    rule, _ = CASES[name]
    right = type(rule).rate

    def slower(self, *arguments):
        first, *others = right(self, *arguments)
        return (0.9 * first, *others)

    monkeypatch.setattr(type(rule), "rate", slower)
    with jax.numpy_dtype_promotion("standard"):  # Optax's Adam mixes integers and floats
        assert not steps._check_rules({name: CASES[name]}).passed


def test_descent_is_not_of_order_one_against_a_corrected_flow(monkeypatch):
    def small(depth):
        problem = completion()
        return problem, fk.initial.gaussian(problem, depth, 0.5, key=jax.random.key(0))

    monkeypatch.setattr(training, "_problem_and_start", small)
    monkeypatch.setattr(training, "LEARNING_RATES", (0.04, 0.02, 0.01))
    monkeypatch.setattr(training, "HORIZON", 3.2)
    assert training._check_order(training._Studies((2,))).passed
    corrected = functools.partial(study_order, modified=1)
    monkeypatch.setattr(training, "study_order", corrected)
    assert not training._check_order(training._Studies((2,))).passed
