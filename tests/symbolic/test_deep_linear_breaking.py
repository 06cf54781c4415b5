"""Weight decay and finite steps break balancedness exactly as stated, and in no other way."""

import dataclasses

import numpy as np
import pytest
import sympy as sp

from flowkit.symbolic.breaking import (
    DECAY,
    decay_claim,
    decayed_factor_flow,
    first_order_claim,
    second_order_claim,
    step_defect,
)
from flowkit.symbolic.factorization import factor_flow

DEPTHS = (2, 3, 4)
SIZES = (3, 2, 4, 3)  # d_0 .. d_3 of a depth-3 network, all products rectangular
ROUNDING = 1e-12  # of sums of a few dozen products of numbers near 1


@pytest.mark.parametrize("depth", DEPTHS)
def test_the_laws_decay(depth):
    claims = decayed_factor_flow(depth).claims
    verdicts = [claim.check() for claim in claims[1:]]
    assert len(verdicts) == depth - 1
    assert all(verdict.passed and verdict.kind == "proved" for verdict in verdicts)


def test_the_decayed_rates_are_the_gradient():
    assert decayed_factor_flow(2).claims[0].check().passed


@pytest.mark.parametrize("at", range(3))
def test_the_decay_fails_where_one_factor_grows_instead(at):
    flow, laws = decayed_factor_flow(3), factor_flow(3).conserved
    rates = list(flow.rates)
    rates[at] = rates[at] + 2 * DECAY * flow.state[at]
    grown = dataclasses.replace(flow, rates=tuple(rates))
    assert not all(decay_claim(law, grown).check().passed for law in laws)


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_step_moves_the_laws_to_second_order_alone(depth):
    verdicts = [claim.check() for claim in step_defect(depth).claims]
    assert len(verdicts) == 2
    assert all(verdict.passed and verdict.kind == "proved" for verdict in verdicts)


def test_the_first_order_fails_for_a_flow_without_the_law(monkeypatch):
    """A flow with one rate of the wrong sign drifts to first order."""
    flow = factor_flow(3)
    wrong = dataclasses.replace(flow, rates=(-flow.rates[0], *flow.rates[1:]))
    monkeypatch.setattr("flowkit.symbolic.breaking.factor_flow", lambda depth: wrong)
    drifting = step_defect.__wrapped__(3)
    assert not first_order_claim(drifting).check().passed


@pytest.mark.parametrize("wrong", [-1, 2])
def test_the_second_order_fails_for_another_factor(wrong):
    defect = step_defect(3)
    scaled = tuple(wrong * change for change in defect.second)
    assert not second_order_claim(dataclasses.replace(defect, second=scaled)).check().passed


def test_one_numerical_step_moves_the_law_by_the_derived_amount():
    """At random matrices: the change of D_1 over eta^2 is `second`, for any eta."""
    defect, rng, eta = step_defect(3), np.random.default_rng(0), 0.3
    values = {W: rng.normal(size=(SIZES[j + 1], SIZES[j])) for j, W in enumerate(defect.flow.state)}
    (G,) = defect.flow.data
    symbols = (*defect.flow.state, G)
    arguments = (*values.values(), rng.normal(size=(SIZES[-1], SIZES[0])))
    rates = sp.lambdify(symbols, defect.flow.rates[:2])(*arguments)
    W_1, W_2 = arguments[:2]
    law = lambda lower, upper: upper.T @ upper - lower @ lower.T
    moved = law(W_1 + eta * rates[0], W_2 + eta * rates[1]) - law(W_1, W_2)
    second = sp.lambdify(symbols, defect.second[0])(*arguments)
    np.testing.assert_allclose(moved, eta**2 * second, rtol=ROUNDING, atol=ROUNDING)


@pytest.mark.parametrize("make", [decayed_factor_flow, step_defect])
@pytest.mark.parametrize("depth", [0, 2.0, "3"])
@pytest.mark.usefixtures("as_a_user")
def test_bad_depth_is_refused(make, depth):
    with pytest.raises(ValueError, match="`depth` must be a positive integer"):
        make(depth)
