"""Conditions hold where they say, and none of them at the saddle of a small initialisation."""

import jax.numpy as jnp
import numpy as np
import pytest
from systems import completion

import flowkit as fk
from flowkit import until
from flowkit.observables import effective_rank, nuclear_norm

WELL = fk.ModelFlow(lambda y: 0.5 * jnp.sum(y**2))  # y(t) = y(0) e^-t
HORIZON = [0.0, 1e9]


def test_relative_change_is_met_at_its_root():
    """For y e^-t the condition t e^-t |y| <= tol e^-t |y| + ... reads t |dy/dt| = tol |y|."""
    offset = fk.ModelFlow(lambda y: 0.5 * jnp.sum((y - 1.0) ** 2))  # y = 1 + e^-t from y = 2
    end = fk.integrate(
        offset, jnp.full(1, 2.0), HORIZON, until=until.relative_change(1e-3), rtol=1e-9
    )
    t = end.final_time
    assert t * np.exp(-t) / (1 + np.exp(-t)) == pytest.approx(1e-3, rel=1e-5)
    assert end.result.reason == "the relative change fell to 0.001"


@pytest.mark.slow
@pytest.mark.parametrize("depth", [2, 3])
@pytest.mark.parametrize("scale", [1e-3, 1e-9])
def test_relative_change_does_not_fire_at_the_saddle(depth, scale, key):
    problem = completion()
    factors = fk.initial.gaussian(problem, depth, scale, key=key)
    field = fk.FactorFlow(problem)
    rate = np.sqrt(sum(np.sum(np.square(r)) for r in field(0.0, factors)))
    size = np.sqrt(sum(np.sum(np.square(W)) for W in factors))
    if depth == 3:
        assert 1e-3 * rate / size < 0.03, "the flow should be slow at its start"
    end = fk.integrate(field, factors, HORIZON, until=until.relative_change(0.03), rtol=1e-4)
    assert end.result.successful
    assert field.loss(end.final) < 0.1 * field.loss(factors)


def test_an_observable_is_met_from_above_and_from_below(key):
    problem = completion()
    factors = fk.initial.gaussian(problem, 2, 1e-3, key=key)
    for name, value in (("norm", 1.5), ("rank", 1.8)):
        observables = {"norm": nuclear_norm, "rank": effective_rank}
        end = fk.integrate(
            fk.FactorFlow(problem),
            factors,
            [0.0, 1e3],
            observables=observables,
            until=until.observable(name, value),
        )
        assert float(observables[name](end.final)) == pytest.approx(value, rel=1e-9)
        assert end.result.reason == f"{name} reached {value}"


def test_the_first_of_several_conditions_ends_the_solve():
    both = until.first_of(until.time(2.0), until.train_loss(1e-9))
    assert fk.integrate(WELL, jnp.ones(1), HORIZON, until=both).final_time == pytest.approx(2.0)
    both = until.first_of(until.time(200.0), until.train_loss(1e-3))
    end = fk.integrate(WELL, jnp.ones(1), HORIZON, until=both, rtol=1e-9)
    assert end.final_time == pytest.approx(0.5 * np.log(500.0), rel=1e-8)


@pytest.mark.slow
def test_a_train_loss_is_met_on_the_way_below_zero():
    """The loss 5 e^{-4t} - 1 falls to the value at t = log(5 / (1 + value)) / 4."""
    field = fk.ModelFlow(lambda y: jnp.sum(y**2) - 1.0)
    condition = until.train_loss(1e-3)
    end = fk.integrate(field, jnp.array([1.0, 2.0]), [0.0, 5.0], until=condition, rtol=1e-9)
    assert end.result.reason == "train loss fell to 0.001"
    assert end.final_time == pytest.approx(np.log(5 / 1.001) / 4, rel=1e-8)


def test_the_gap_of_a_loss_falls_with_it_through_any_sign():
    field, condition = fk.ModelFlow(lambda y: y), until.train_loss(1e-3)
    losses = jnp.array([1e300, 1.0, 1.001e-3, 1e-3, 0.999e-3, 1e-300, 0.0, -1e-300, -1.0, -1e300])
    gaps = np.array([condition.gap(field, jnp.zeros(()), loss) for loss in losses])
    assert np.isfinite(gaps).all()
    assert (np.diff(gaps) <= 0).all()
    np.testing.assert_array_equal(np.sign(gaps), [1, 1, 1, 0, -1, -1, -1, -1, -1, -1])
    np.testing.assert_allclose(gaps[:2], np.log([1e303, 1e3]), rtol=1e-12)


def test_relative_change_is_met_where_the_loss_is_below_zero():
    """A narrow Gaussian's likelihood: y = 1 + d e^{-100 t}, from a positive loss to a negative."""
    loss = lambda y: jnp.sum((y - 1) ** 2 / 0.02 + 0.5 * np.log(2 * np.pi * 0.01))
    end = fk.integrate(
        fk.ModelFlow(loss), jnp.array([0.0, 2.0]), [0.0, 9.0], until=until.relative_change(1e-3)
    )
    assert end.result.reason == "the relative change fell to 0.001"
    assert float(loss(end.final)) < 0
    rest = 100 * end.final_time * np.exp(-100 * end.final_time)
    assert rest == pytest.approx(1e-3, rel=1e-3)


def test_half_of_a_negative_loss_is_not_asked_for():
    with pytest.raises(ValueError, match=r"starts below zero, .* but it starts at -9"):
        fk.integrate(
            fk.ModelFlow(lambda y: jnp.sum(y**2) - 10.0),
            jnp.ones(1),
            [0.0, 1.0],
            until=until.relative_change(1e-3),
        )


@pytest.mark.parametrize("target", [0.0, 1.0], ids=["minimum", "saddle"])
def test_a_flow_at_rest_has_settled(target):
    field = fk.ModelFlow(lambda y: (y[0] * y[1] - target) ** 2)
    end = fk.integrate(field, jnp.zeros(2), HORIZON, until=until.relative_change(1e-3))
    assert end.result.reason == "the relative change fell to 0.001 before the first step"
    assert end.final_time == 0


def test_a_body_that_falls_from_rest_has_not_settled():
    """Its position does not move yet, but its state does."""
    field = fk.ModelFlow(lambda y: jnp.sum((y - 1) ** 2), rule=fk.rules.HeavyBall(1.0))
    condition = until.relative_change(1e-3).begin(field, jnp.zeros(()), jnp.zeros(2), {})
    state = field.lift(0.0, jnp.zeros(2))
    assert condition.gap(field, jnp.zeros(()), state) > 0
    assert condition.gap(field, jnp.full((), 1e-9), state) > 0


BAD = {
    "no loss": (lambda: until.train_loss(0.0), "`value` must be positive, but it is 0.0"),
    "not a number": (lambda: until.train_loss(float("nan")), "`value` must be finite"),
    "text": (lambda: until.time("late"), "`value` must be a number, but it is 'late'"),
    "no change": (lambda: until.relative_change(-1), "`tolerance` must be positive"),
    "infinite": (lambda: until.observable("norm", np.inf), "`value` must be finite"),
    "nothing": (lambda: until.first_of(), "`conditions` must be conditions"),
    "no condition": (lambda: until.first_of(1.0), "`conditions` must be conditions"),
}


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize(("make", "message"), BAD.values(), ids=BAD.keys())
def test_what_no_flow_can_meet_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("observables", "message"),
    [
        ({}, r"name one of the `observables` \[\], but it names 'norm'"),
        ({"norm": lambda y: y}, r"'norm' has shape \(2,\)"),
    ],
)
def test_an_observable_must_be_recorded_and_one_number(observables, message):
    with pytest.raises(ValueError, match=message):
        fk.integrate(
            WELL,
            jnp.ones(2),
            [0.0, 1.0],
            observables=observables,
            until=until.observable("norm", 1),
        )


def test_a_condition_that_was_not_begun_says_so():
    condition = until.relative_change(0.1)
    with pytest.raises(RuntimeError, match="before it was begun"):
        condition.gap(WELL, jnp.zeros(()), jnp.ones(2))
