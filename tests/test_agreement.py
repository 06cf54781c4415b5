"""Trajectories are compared at equal times, and only usable ones."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest
from systems import completion

import flowkit as fk
from flowkit.agreement import conserved_drift
from flowkit.trajectory import Result, Trajectory


def _trajectory(times, values, **changes):
    values = jnp.asarray(values, float)
    parts = {
        "ts": np.asarray(times, float),
        "states": values,
        "final": values[-1],
        "final_time": float(times[-1]),
        "observables": {"double": 2 * values},
        "result": Result(successful=True, reason="made up"),
        "stats": {},
    }
    return Trajectory(**parts | changes)


def test_distances_are_taken_at_the_shared_times():
    a, b = _trajectory([0, 1, 2], [0.0, 1.0, 5.0]), _trajectory([0, 2, 3], [0.0, 4.0, 9.0])
    agreement = fk.compare(a, b)
    np.testing.assert_array_equal(agreement.ts, [0, 2])
    np.testing.assert_allclose(agreement.errors, [0, 1])
    assert agreement.worst == 1
    assert agreement.relative == pytest.approx(1 / 4)


def test_a_shared_start_alone_is_no_agreement():
    a, b = _trajectory([0, 1], [1.0, 2.0]), _trajectory([0, 3], [1.0, 4.0])
    with pytest.raises(ValueError, match="must share a time after the start"):
        fk.compare(a, b)
    assert fk.compare(_trajectory([-1, 0], [5.0, 1.0]), b).ts.size == 1  # the start of one alone


def test_times_that_differ_by_rounding_are_equal():
    steps = np.cumsum([0.1] * 10)
    a, b = _trajectory(steps, np.ones(10)), _trajectory(np.arange(1, 11) / 10, np.ones(10))
    assert fk.compare(a, b).ts.size == 10


def test_times_near_zero_are_told_apart_whatever_the_horizon():
    a, b = _trajectory([0, 2e-6, 1e7], np.ones(3)), _trajectory([0, 9e-6, 1e7], np.ones(3))
    np.testing.assert_array_equal(fk.compare(a, b).ts, [0, 1e7])


def test_observables_and_functions_of_the_state_are_compared():
    a, b = _trajectory([0, 1], [1.0, 2.0]), _trajectory([0, 1], [1.0, 4.0])
    assert fk.compare(a, b, of="double").worst == 4
    assert fk.compare(a, b, of=lambda y: y**2).worst == 12


def test_states_of_many_leaves_are_compared_as_one_vector(key):
    problem = completion()
    factors = fk.initial.gaussian(problem, 2, 0.5, key=key)
    flow = fk.integrate(fk.FactorFlow(problem), factors, [0.0, 1.0], rtol=1e-9)
    descent = fk.descend(problem, factors, optax.sgd(0.1), 10, learning_rate=0.1)
    agreement = fk.compare(descent, flow)
    by_hand = np.sqrt(
        sum(np.sum((x - y) ** 2) for x, y in zip(descent.final, flow.final, strict=True))
    )
    assert agreement.errors[-1] == pytest.approx(float(by_hand))
    assert agreement.errors[0] == 0


def test_a_dense_trajectory_answers_at_the_others_times(key):
    problem = completion()
    factors = fk.initial.gaussian(problem, 2, 0.5, key=key)
    field = fk.FactorFlow(problem)
    saved = fk.integrate(field, factors, [0.0, 0.3, 0.7, 1.0], rtol=1e-9)
    dense = fk.integrate(field, factors, [0.0, 1.0], rtol=1e-9, dense=True)
    agreement = fk.compare(saved, dense)
    assert agreement.ts.size == 4
    assert agreement.worst < 1e-7


NAN = float("nan")
GOOD = _trajectory([0, 1], [1.0, 2.0])
BAD = {
    "failed": (
        {"result": Result(successful=False, reason="it broke")},
        None,
        "`a` must be a successful trajectory, but it failed: it broke",
    ),
    "not finite": ({"states": jnp.array([1.0, NAN])}, None, "`a` must be finite"),
    "another clock": ({"clock": "steps"}, None, "one clock, but they count steps and flow time"),
    "another shape": ({"states": jnp.ones((2, 3))}, None, "must agree in shape"),
    "no shared time": (
        {"ts": np.array([0.25, 0.75]), "final_time": 0.75},
        None,
        "must share saved times",
    ),
    "unknown observable": ({}, "triple", r"`triple` is none of \['double'\]"),
}


@pytest.mark.parametrize(("change", "of", "message"), BAD.values(), ids=BAD.keys())
def test_what_cannot_be_compared_is_refused(change, of, message):
    a = _trajectory([0, 1], [1.0, 2.0], **change)
    with pytest.raises(ValueError, match=message):
        fk.compare(a, GOOD, of=of)


@pytest.mark.parametrize("order", [1, 2, 3.5])
def test_fitted_order_recovers_a_power_law(order):
    steps = np.array([0.4, 0.2, 0.1, 0.05])
    assert fk.fitted_order(steps, 3 * steps**order) == pytest.approx(order, abs=1e-12)


BAD_ORDERS = {
    "lengths": ([1, 2], [1], "lists of one length"),
    "one step": ([1, 1], [1, 2], "two different steps"),
    "zero error": ([1, 2], [1, 0], r"`errors\[1\]` is 0"),
    "negative step": ([-1, 2], [1, 1], r"`steps\[0\]` is -1"),
    "nan": ([1, 2], [NAN, 1], r"`errors\[0\]` is nan"),
}


@pytest.mark.parametrize(("steps", "errors", "message"), BAD_ORDERS.values(), ids=BAD_ORDERS)
def test_orders_that_cannot_be_fitted_are_refused(steps, errors, message):
    with pytest.raises(ValueError, match=message):
        fk.fitted_order(steps, errors)


def test_drift_is_the_relative_change_of_the_conserved_quantities():
    factors = (jnp.stack([jnp.eye(2), jnp.eye(2)]), jnp.stack([jnp.eye(2), 2 * jnp.eye(2)]))
    trajectory = _trajectory([0, 1], [0.0, 0.0], states=factors)
    # D goes from 0 to 4 I - I = 3 I, of norm 3 sqrt(2); |W_1|^2 is 2.
    assert conserved_drift(trajectory) == pytest.approx(3 * 2**0.5 / 2)


def test_only_factors_have_a_balance():
    with pytest.raises(ValueError, match="must be one of factors"):
        conserved_drift(_trajectory([0, 1], np.ones((2, 3, 3))))


def test_a_single_factor_conserves_nothing():
    assert conserved_drift(_trajectory([0, 1], [0.0, 0.0], states=(jnp.ones((2, 3, 3)),))) == 0
