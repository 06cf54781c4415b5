"""Descent is a first-order approximation of the flow, and the study can tell."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import completion

import flowkit as fk

RATES = 0.08 * 0.5 ** np.arange(5)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_descent_is_of_order_one(depth, key):
    problem = completion()
    study = fk.study_order(
        problem, fk.initial.gaussian(problem, depth, 0.5, key=key), RATES / 2, 6.4
    )
    assert study.slope == pytest.approx(1, abs=0.05)
    assert study.interval[0] < 1.05
    assert study.interval[1] > 0.95
    assert study.interval[1] - study.interval[0] < 0.1
    assert len(study.descents) == len(study.errors) == 5


def test_a_loss_function_is_studied_too():
    """A quartic well: no factors, no product, the same order."""
    loss = lambda y: jnp.sum(y**4)
    study = fk.study_order(loss, jnp.array([0.5, 0.3]), [0.1, 0.05, 0.025, 0.0125], 1)
    assert study.slope == pytest.approx(1, abs=0.1)


def test_a_flow_of_the_wrong_speed_is_noticed(key, monkeypatch):
    """Against a flow 1 % too slow the errors stop falling: the slope is far from one."""
    slow = lambda self, t, y, args=None: tuple(0.99 * rate for rate in original(self, t, y))
    original = fk.FactorFlow.__call__
    monkeypatch.setattr(fk.FactorFlow, "__call__", slow)
    jax.clear_caches()  # or the field compiled before is used
    problem = completion(seed=3)
    factors = fk.initial.gaussian(problem, 2, 0.5, key=key)
    assert fk.study_order(problem, factors, RATES / 2, 6.4).slope < 0.1
    jax.clear_caches()


BAD = {
    "too few": ([0.1, 0.05], "at least three values"),
    "no divisor": ([0.1, 0.05, 0.03], r"`learning_rates\[2\]` is 0.03"),
    "negative": ([-0.1, 0.05, 0.025], r"`learning_rates\[0\]` is -0.1"),
}


@pytest.mark.parametrize(("rates", "message"), BAD.values(), ids=BAD.keys())
def test_learning_rates_that_do_not_fit_are_refused(rates, message, key):
    problem = completion()
    factors = fk.initial.gaussian(problem, 2, 0.5, key=key)
    with pytest.raises(ValueError, match=message):
        fk.study_order(problem, factors, rates, 0.4)
