"""What is integrated is what was derived: from a loss, from a modified flow, for any gradient."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import sympy as sp
from sympy import MatrixSymbol, Trace
from systems import completion, random_factors

import flowkit as fk
from flowkit.observables import end_to_end

m, n, k = sp.symbols("m n k", integer=True, positive=True)
U, V, Y = MatrixSymbol("U", m, k), MatrixSymbol("V", k, n), MatrixSymbol("Y", m, n)
LOSS = Trace((U * V - Y).T * (U * V - Y)) / 2
FLOW = fk.symbolic.derive(LOSS, [U, V])
TARGET = np.arange(12.0).reshape(4, 3) / 10
START = {"U": np.full((4, 2), 0.5), "V": np.array([[0.3, -0.2, 0.1], [0.1, 0.4, -0.3]])}


def written_in_jax(y):
    return jnp.sum((y["U"] @ y["V"] - TARGET) ** 2) / 2


def test_it_is_gradient_flow_of_the_loss_that_was_derived():
    derived, written = fk.DerivedFlow(FLOW, {"Y": TARGET}), fk.ModelFlow(written_in_jax)
    assert float(derived.loss(START)) == pytest.approx(float(written_in_jax(START)), rel=1e-14)
    until = fk.until.train_loss(0.1)
    found, stated = (
        fk.integrate(field, START, [0.0, 1.0, 50.0], until=until, rtol=1e-8)
        for field in (derived, written)
    )
    assert found.ts[-1] == pytest.approx(stated.ts[-1], rel=1e-9)
    assert float(derived.loss(found.final)) == pytest.approx(0.1, rel=1e-6)
    for name in ("U", "V"):
        np.testing.assert_allclose(found.final[name], stated.final[name], rtol=1e-8)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_descent_follows_modified_flows_at_their_order(order):
    x, a = sp.symbols("x a", real=True)
    flow = fk.symbolic.modified_flow(fk.symbolic.derive(a * x**4 / 4 + x**2 / 2, [x]), order)
    steps, errors = (0.1, 0.05, 0.025), []
    for step in steps:
        data = {"a": 2.0} | ({"eta": step} if order else {})
        field = fk.DerivedFlow(flow, data)
        descent = fk.descend(
            field.loss, {"x": 0.8}, optax.sgd(step), round(1 / step), learning_rate=step
        )
        end = fk.integrate(field, {"x": 0.8}, [0.0, 1.0], rtol=1e-11).final["x"]
        errors.append(abs(float(descent.final["x"] - end)))
    assert fk.fitted_order(steps, errors) == pytest.approx(order + 1, abs=0.15)


def test_data_may_move_with_the_state():
    problem, factors = completion((5, 4)), random_factors((4, 3, 5))
    product = lambda y: end_to_end((y["W_1"], y["W_2"]))
    field = fk.DerivedFlow(
        fk.symbolic.factor_flow(2),
        {"G": lambda y: problem.gradient(product(y))},
        loss=lambda y: problem.loss(product(y)),
    )
    state = {"W_1": factors[0], "W_2": factors[1]}
    rates = eqx.filter_jit(field)(0.0, state)
    for name, rate in zip(state, fk.FactorFlow(problem)(0.0, factors), strict=True):
        np.testing.assert_allclose(rates[name], rate, rtol=1e-13)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((LOSS, {"Y": TARGET}), "`derivation` must be a Derivation, .* but it is a"),
        ((FLOW, {}), r"`data` must hold a value for each of \['Y'\] and no other, but it has \[\]"),
        ((FLOW, {"Y": TARGET, "y": 0}), r"but it has \['Y', 'y'\]"),
        ((fk.symbolic.factor_flow(2), {"G": TARGET}), "`loss` must be .* depth 2 knows none"),
    ],
)
def test_incomplete_fields_are_refused(arguments, message, as_a_user):
    with pytest.raises(ValueError, match=message):
        fk.DerivedFlow(*arguments)


def test_a_loss_that_depends_on_time_is_not_one_of_the_state():
    x = sp.Symbol("x", real=True)
    flow = fk.symbolic.derive(x**2 * sp.Symbol("t", real=True), [x])
    with pytest.raises(ValueError, match=r"`loss` must be .* has one that depends on time"):
        fk.DerivedFlow(flow)
    end = fk.integrate(
        fk.DerivedFlow(flow, loss=lambda y: y["x"] ** 2), {"x": 1.0}, [0.0, 1.0], rtol=1e-9
    ).final["x"]
    assert float(end) == pytest.approx(np.exp(-1), rel=1e-7)  # dx/dt = -2 t x


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ((START["U"], START["V"]), "`y0` must be a dictionary of arrays .* but it is a `tuple`"),
        ({"U": START["U"]}, r"`y0` must hold .* \['U', 'V'\] and no other, but it has \['U'\]"),
        ({"U": np.ones((4, 2)), "V": np.ones((3, 3))}, "`V` must have shape"),
    ],
)
def test_states_that_do_not_fit_are_refused(state, message, as_a_user):
    with pytest.raises(ValueError, match=message):
        fk.integrate(fk.DerivedFlow(FLOW, {"Y": TARGET}), state, [0.0, 1.0])
