"""Descent approaches its flow at the order that theory gives, under every rule and correction."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import completion

import flowkit as fk
from flowkit import rules

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


def well(y):
    """Two wells joined by a curved valley."""
    return (y[0] ** 2 - 1) ** 2 / 4 + 0.5 * (y[1] - y[0] ** 2) ** 2


ROOTS = 0.1 * 0.5 ** np.arange(3)
EPS = 1.0
# rule, order of the correction, learning rates, expected order in the step of the rule's clock
QUICK = {
    "descent, order 2": (None, 2, RATES[1:4] / 2, 3),
    "heavy ball, order 1": (rules.HeavyBall(1.5), 1, ROOTS**2, 2),
    "adam": (rules.Adam(3.0, 1.0, EPS), 0, RATES[1:4] / 2, 1),
}
SLOW = {
    "descent": (None, 0, RATES[1:4] / 2, 1),
    "descent, order 1": (None, 1, RATES[1:4] / 2, 2),
    "momentum": (rules.Momentum(0.3), 0, RATES[2:5] / 2, 1),
    "momentum, order 1": (rules.Momentum(0.3), 1, RATES[2:5] / 2, 2),
    "heavy ball": (rules.HeavyBall(1.5), 0, ROOTS**2, 1),
    "nesterov": (rules.Nesterov(), 0, ROOTS**2 / 16, 1),
    "rmsprop": (rules.RMSProp(1.0, EPS), 0, RATES[1:4] / 2, 1),
    "normalised": (rules.Normalised(1.0, EPS), 0, RATES[1:4] / 2, 1),
    "adagrad": (rules.AdaGrad(EPS), 0, RATES[1:4] / 2, 1),
    "sign": (rules.Sign(0.5, 0.5, EPS), 0, RATES[1:4] / 2, 1),
}
ORDERS = [
    *(pytest.param(*case, id=name) for name, case in QUICK.items()),
    *(pytest.param(*case, id=name, marks=pytest.mark.slow) for name, case in SLOW.items()),
]


@pytest.mark.parametrize(("rule", "modified", "rates", "order"), ORDERS)
def test_every_rule_approaches_its_flow_at_the_order_of_theory(rule, modified, rates, order):
    """With weight decay, coupled or not. Measured within 2 % of theory, momentum within 5 %."""
    with jax.numpy_dtype_promotion("standard"):  # Optax's Adam mixes integers and floats
        study = fk.study_order(
            well,
            jnp.array([0.4, 0.7]),
            rates,
            1.6,
            modified=modified,
            rule=rule,
            weight_decay=0.3,
        )
    assert study.slope == pytest.approx(order, abs=0.07 * order)
    assert study.flow.clock == study.descents[0].clock


def test_factors_of_a_product_follow_the_modified_flow(key):
    problem = completion()
    factors = fk.initial.gaussian(problem, 2, 0.5, key=key)
    study = fk.study_order(problem, factors, RATES[:3], 3.2, modified=1)
    assert study.slope == pytest.approx(2, abs=0.1)
    assert len({id(flow) for flow in study.flows}) == 3


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
    "negative": ([-0.1, 0.05, 0.025], r"be positive, but `learning_rates\[0\]` is -0.1"),
}


@pytest.mark.parametrize(("rates", "message"), BAD.values(), ids=BAD.keys())
def test_learning_rates_that_do_not_fit_are_refused(rates, message, key):
    problem = completion()
    factors = fk.initial.gaussian(problem, 2, 0.5, key=key)
    with pytest.raises(ValueError, match=message):
        fk.study_order(problem, factors, rates, 0.4)


def test_learning_rates_are_held_against_the_clock_of_the_rule():
    with pytest.raises(ValueError, match=r"\[1\]` is 0.02, a step of 0.141421 in root time"):
        fk.study_order(well, jnp.zeros(2), [0.01, 0.02, 0.04], 1.0, rule=rules.Nesterov())
