"""Flows of training rules are limits of their updates, and what the rules' fields integrate."""

import dataclasses

import jax.numpy as jnp
import pytest
import sympy as sp

from flowkit import rules
from flowkit.lowering import lower
from flowkit.symbolic.derivation import TIME
from flowkit.symbolic.rules import (
    ENERGIES,
    EPS,
    FRICTION,
    GRADIENT,
    SECOND,
    STEP,
    UPDATES,
    VELOCITY,
    energy_claim,
    limit_flow,
    published_claim,
    rule_flow,
)

ROUNDING = 1e-12  # relative; a dozen operations on numbers of order one
T, A1, A2, SMALL = (jnp.asarray(x) for x in (0.8, 3.0, 0.5, 0.01))
THETA, M, V, P = (jnp.asarray(x) for x in (0.9, 0.4, 0.6, -0.3))
WEIGHT_1, WEIGHT_2 = 1 - jnp.exp(-A1 * T), 1 - jnp.exp(-A2 * T)


def force(theta):
    return jnp.sin(theta) - theta**3


def _quotient(total, weight, change):
    """The rate of total / weight: a bias-corrected average is a ratio in `rules`."""
    return (change[0] * weight - total * change[1]) / weight**2


def _adam():
    first, second = (M * WEIGHT_1, WEIGHT_1), (V * WEIGHT_2, WEIGHT_2)
    step, one, two = rules.Adam(A1, A2, SMALL).rate(force, (THETA, first, second), None)
    return (step, -_quotient(*first, one), _quotient(*second, two))


def _rmsprop():
    second = (V * WEIGHT_2, WEIGHT_2)
    step, two = rules.RMSProp(A2, SMALL).rate(force, (THETA, second), None)
    return (step, _quotient(*second, two))


FIELDS = {
    "adagrad": lambda: rules.AdaGrad(SMALL).rate(force, (THETA, V), None),
    "adam": _adam,
    "heavy ball": lambda: rules.HeavyBall(0.7).rate(force, (THETA, P), None),
    "momentum": lambda: rules.Momentum(0.9).rate(force, (THETA,), None),
    "nesterov": lambda: rules.Nesterov().rate(force, (THETA, P, T), None),
    "rmsprop": _rmsprop,
    "sign": lambda: rules.Sign(eps=SMALL).rate(force, (THETA,), None),
}
PARAMETERS = {"a1": A1, "a2": A2, "eps": SMALL, "beta": 0.9, "gamma": 0.7}


@pytest.mark.parametrize("name", UPDATES)
def test_lowered_flows_are_the_rates_of_the_rules(name):
    flow = rule_flow(name)
    # The average m is here one of the gradient, in `rules` one of the force, its negative.
    data = {**PARAMETERS, "g": -force(THETA)}
    state = {"theta": THETA, "m": -M, "v": V, "p": P}
    symbolic = lower(flow)(T, state, data)
    numeric = FIELDS[name]()
    for symbol, expected in zip(flow.state, numeric, strict=False):
        assert float(symbolic[symbol.name]) == pytest.approx(float(expected), rel=ROUNDING)


@pytest.mark.parametrize("name", UPDATES)
def test_the_limit_of_the_update_is_the_published_equation(name):
    claims = rule_flow(name).claims
    assert len(claims) == 1 + (name in ENERGIES)
    for claim in claims:
        verdict = claim.check()
        assert verdict.passed, verdict.measured
        assert verdict.kind == "proved"


@pytest.mark.parametrize("name", UPDATES)
def test_the_claim_fails_for_a_changed_sign(name):
    flow, update = rule_flow(name), UPDATES[name]()
    for i, rate in enumerate(flow.rates):
        rates = (*flow.rates[:i], -rate, *flow.rates[i + 1 :])
        assert not published_claim(dataclasses.replace(flow, rates=rates), update).check().passed


EXPONENTS = {
    "adagrad": (1 / sp.sqrt(SECOND + EPS), 1 / (SECOND + EPS)),
    "adam": (1 / sp.sqrt(SECOND + EPS), 1 / (SECOND + EPS)),
    "rmsprop": (1 / sp.sqrt(SECOND + EPS), 1 / (SECOND + EPS)),
    "sign": (1 / sp.sqrt(GRADIENT**2 + EPS), 1 / (GRADIENT**2 + EPS)),
    "nesterov": (1 / TIME, 1 / TIME**2),
    "heavy ball": (FRICTION, FRICTION**2),
}


@pytest.mark.parametrize("name", EXPONENTS)
def test_the_claim_fails_for_a_changed_exponent(name):
    flow, update = rule_flow(name), UPDATES[name]()
    rates = tuple(sp.expand(rate).subs(*EXPONENTS[name]) for rate in flow.rates)
    assert rates != tuple(sp.expand(rate) for rate in flow.rates)
    assert not published_claim(dataclasses.replace(flow, rates=rates), update).check().passed


def test_another_update_has_another_limit():
    """Nesterov's drag 3/t is that of (k - 1)/(k + 2): with (k - 1)/(k + 1) it is 2/t."""
    update = UPDATES["nesterov"]()
    changed = tuple(new.subs(TIME + 2 * STEP, TIME + STEP) for new in update.new)
    changed = limit_flow("changed", dataclasses.replace(update, new=changed))
    assert sp.simplify(changed.rates[1] + VELOCITY * 2 / TIME + GRADIENT) == 0
    assert not published_claim(changed, update).check().passed


@pytest.mark.parametrize("name", ENERGIES)
def test_the_energy_claim_fails_for_another_drag(name):
    flow = rule_flow(name)
    slower = (flow.rates[0], flow.rates[1] + VELOCITY)
    changed = dataclasses.replace(flow, rates=slower)
    assert not energy_claim(changed, *ENERGIES[name]).check().passed


@pytest.mark.usefixtures("as_a_user")
def test_unknown_rules_are_refused():
    with pytest.raises(ValueError, match="`name` must be one of 'adagrad'"):
        rule_flow("adamw")
