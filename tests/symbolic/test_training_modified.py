"""Modified flows are what steps follow: derived by matching, equal to nested derivatives."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy as sp
from scipy.integrate import solve_ivp
from sympy import HadamardProduct, MatrixSymbol, Trace

from flowkit import rules
from flowkit.fields.modified import modified_rate
from flowkit.lowering import lower
from flowkit.symbolic import derive
from flowkit.symbolic.derivation import TIME
from flowkit.symbolic.expansions import ETA, along
from flowkit.symbolic.gradient import expand
from flowkit.symbolic.modified import (
    BETA,
    _check_equal,
    expansion,
    modified_flow,
    momentum_flow,
    penalised_flow,
    recursion_claim,
)

ROUNDING = 1e-12  # relative; sums of a few hundred products of numbers of order one
SLOPE = 0.1  # learning rates of 0.01 and less: the next power of eta bends the line by half this

m, n, k = sp.symbols("m n k", integer=True, positive=True)
U, V = MatrixSymbol("U", m, k), MatrixSymbol("V", k, n)
Y = MatrixSymbol("Y", m, n)
a, b, y = sp.symbols("a b y", real=True)
M = MatrixSymbol("M", m, n)
RESIDUAL, MASKED = U * V - Y, HadamardProduct(M, U * V - Y)

LOSSES = {
    "scalars": ((a * b - y) ** 2 / 2 + sp.exp(a), (a, b)),
    "factorization": (Trace(RESIDUAL.T * RESIDUAL) / 2, (U, V)),
    "masked factorization": (Trace(MASKED.T * MASKED) / (2 * m), (U, V)),
    "matrix and scalar": (Trace(U.T * U) * a**2 / 2 - a, (U, a)),
    "time": (sp.exp(-TIME) * a**4 + a * b**2, (a, b)),
}
SHAPES = {"U": (3, 2), "V": (2, 4), "Y": (3, 4), "M": (3, 4)}


def _values(symbols, key):
    """Random values of order one; a mask of ones and zeros."""
    values = {}
    for i, symbol in enumerate(symbols):
        draw = jax.random.normal(jax.random.fold_in(key, i), SHAPES.get(symbol.name, ()))
        values[symbol.name] = (draw > 0).astype(float) if symbol.name == "M" else draw
    return values


ORDERS = [(name, order) for name in LOSSES for order in (0, 1, 2)]
SLOW = ("masked factorization", 2)  # derives for ten seconds; the other losses reach order 2


@pytest.mark.parametrize(("name", "order"), [case for case in ORDERS if case != SLOW])
def test_symbolic_modified_flows_are_nested_derivatives(name, order, key):
    flow = derive(*LOSSES[name])
    state, data = _values(flow.state, key), _values(flow.data, jax.random.fold_in(key, 99))
    eta, t = jnp.asarray(0.3), jnp.asarray(0.7)
    plain = lower(flow)
    numeric = modified_rate(lambda t, y: plain(t, y, data), t, state, eta, order)
    symbolic = lower(modified_flow(flow, order))(t, state, data | {"eta": eta})
    for name, rate in numeric.items():
        scale = float(jnp.max(jnp.abs(rate)))
        assert float(jnp.max(jnp.abs(symbolic[name] - rate))) <= ROUNDING * scale


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", ["scalars", "matrix and scalar", "time"])
def test_one_step_agrees_with_the_modified_flow(name, order):
    (claim,) = modified_flow(derive(*LOSSES[name]), order).claims
    verdict = claim.check()
    assert verdict.passed, verdict.measured
    assert verdict.kind == "proved"


MUTATIONS = {
    "sign": lambda rate: rate.subs(ETA, -ETA),
    "factor": lambda rate: rate.subs(ETA, 2 * ETA),
    "exponent": lambda rate: rate.subs(ETA, ETA**2),
}


@pytest.mark.parametrize("change", MUTATIONS.values(), ids=MUTATIONS)
@pytest.mark.parametrize("make", [modified_flow, momentum_flow])
@pytest.mark.parametrize("order", [1, 2])
def test_the_proof_fails_for_a_wrong_correction(make, order, change):
    flow = derive(a**3 / 3 + y * a, [a])
    right = make(flow, order)
    beta = BETA if make is momentum_flow else sp.Integer(0)
    wrong = dataclasses.replace(right, rates=tuple(map(change, right.rates)))
    assert recursion_claim(right, flow, beta, order).check().passed
    assert not recursion_claim(wrong, flow, beta, order).check().passed


def test_the_proof_on_matrices_fails_for_factors_in_the_wrong_order(monkeypatch):
    flow = derive(*LOSSES["factorization"])
    right = modified_flow(flow, 1)
    term, swapped = ETA / 2 * Y * V.T * U.T * U, ETA / 2 * U * U.T * Y * V.T
    assert term in right.rates[0].args
    moved = expand(right.rates[0] - term + swapped)
    claim = recursion_claim(
        dataclasses.replace(right, rates=(moved, right.rates[1])), flow, sp.Integer(0), 1
    )
    assert not claim.check().passed
    monkeypatch.setattr("flowkit.symbolic.modified.WITNESS_SIZE", 1)
    assert claim.check().passed  # numbers commute: a smaller witness sees nothing


def test_the_coefficients_are_the_published_ones():
    """Descent: Hairer, Lubich, Wanner IX.1. The heavy ball: Kovachki and Stuart, to order one."""
    at_rest = [[c.subs(BETA, 0) for c in level] for level in expansion(2)]
    assert at_rest == [[1], [-sp.Rational(1, 2)], [sp.Rational(1, 12), sp.Rational(1, 3)]]
    (limit,), (first,) = expansion(1)
    assert sp.simplify(limit - 1 / (1 - BETA)) == 0
    assert sp.simplify(first + (1 + BETA) / (2 * (1 - BETA) ** 3)) == 0


def test_the_second_order_of_the_heavy_ball_is_the_one_of_its_docstring():
    curve, pull = expansion(2)[2]
    scale = 12 * (1 - BETA) ** 5
    assert sp.simplify(scale * curve - (1 + 10 * BETA + BETA**2)) == 0
    assert sp.simplify(scale * pull - 4 * (1 + 4 * BETA + BETA**2)) == 0


@pytest.mark.parametrize("order", [0, 1, 2])
def test_the_heavy_ball_on_a_quadratic_is_the_larger_root(order):
    """On f = -lam y the recursion has x_k = z^k, z^2 - (1 + beta - eta lam) z + beta = 0."""
    lam = sp.Symbol("lam", positive=True)
    (rate,) = momentum_flow(derive(lam * a**2 / 2, [a]), order).rates
    half = (1 + BETA - ETA * lam) / 2
    exact = sp.log(half + sp.sqrt(half**2 - BETA)) / ETA
    for beta in (sp.Rational(1, 4), sp.Rational(4, 9)):
        expanded = sp.series(exact.subs(BETA, beta), ETA, 0, order + 1).removeO()
        assert sp.simplify(expanded - (rate / a).subs(BETA, beta)) == 0


def _end_of_recursion(rate, eta, beta, time):
    """Where the heavy ball from two points of a flow ends, and where the flow does."""
    solution = solve_ivp(
        lambda t, y: rate(y, eta, beta),
        (0, time),
        [0.3],
        "DOP853",
        rtol=1e-13,
        atol=1e-13,
        dense_output=True,
    )
    before, now = solution.sol(0.0), solution.sol(eta)
    for _ in range(round(time / eta) - 1):
        before, now = now, now + beta * (now - before) + eta * (now - now**3)
    return float(now[0]), float(solution.y[0, -1])


@pytest.mark.parametrize("order", [0, 1, 2])
def test_the_heavy_ball_is_distant_by_the_next_order(order):
    """Halving the learning rate divides the distance over a fixed time by 2^(order + 1)."""
    (rate,) = momentum_flow(derive(a**4 / 4 - a**2 / 2, [a]), order).rates
    rate = sp.lambdify((a, ETA, BETA), rate)
    etas, distances = (0.01, 0.005, 0.0025), []
    for eta in etas:
        end, exact = _end_of_recursion(rate, eta, 0.3, time=0.5)
        distances.append(abs(end - exact))
    slope = np.polyfit(np.log(etas), np.log(distances), 1)[0]
    assert slope == pytest.approx(order + 1, abs=SLOPE)


@pytest.mark.parametrize("order", [0, 1])
def test_the_heavy_ball_is_the_rule_of_momentum(order):
    flow, beta, eta, y = derive(a**4 / 4 - a**2 / 2, [a]), 0.8, jnp.asarray(0.1), jnp.asarray(0.3)
    values = {"eta": eta, "beta": jnp.asarray(beta)}
    symbolic = lower(momentum_flow(flow, order))(0.0, {"a": y}, values)
    rule = rules.Momentum(beta)
    (numeric,) = rule.rate(lambda y: y - y**3, (y,), eta if order else None)
    assert float(symbolic["a"]) == pytest.approx(float(numeric), rel=ROUNDING)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_the_heavy_ball_follows_its_flow(order):
    for claim in momentum_flow(derive(a**3 / 3 + y * a * b**2, [a, b]), order).claims:
        assert claim.check().passed, claim.name


@pytest.mark.parametrize(
    "name", ["scalars", pytest.param("factorization", marks=pytest.mark.slow), "matrix and scalar"]
)
def test_order_one_is_gradient_flow_of_a_penalised_loss(name):
    flow = penalised_flow(*LOSSES[name])
    assert all(claim.check().passed for claim in flow.claims)
    wrong = dataclasses.replace(flow, rates=tuple(r.subs(ETA, 2 * ETA) for r in flow.rates))
    assert not _check_equal(wrong, modified_flow(derive(*LOSSES[name]), 1)).passed


def test_two_sweeps_are_the_derivative_along_a_direction():
    """(U V V^T)' along (A, B) is A V V^T + U B V^T + U V B^T."""
    A, B = MatrixSymbol("A", m, k), MatrixSymbol("B", k, n)
    (derivative,) = along((U * V * V.T,), (U, V), (A, B))
    stated = A * V * V.T + U * B * V.T + U * V * B.T
    assert isinstance(expand(derivative - stated), sp.ZeroMatrix)


@pytest.mark.usefixtures("as_a_user")
def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="`order` must be 0, 1 or 2"):
        modified_flow(derive(a**2, [a]), 3)
    eta = sp.Symbol("eta", real=True)
    with pytest.raises(ValueError, match="must leave the name `eta` free"):
        modified_flow(derive(eta * a**2, [a]), 1)
    with pytest.raises(ValueError, match="`loss` must leave the name `eta` free"):
        penalised_flow(eta * a**2, (a,))


@pytest.mark.usefixtures("as_a_user")
def test_momentum_and_penalty_refuse_time():
    """Momentum would carry time along at 1 / (1 - beta); the penalty lacks the loss's own drift."""
    loss, parameters = LOSSES["time"]
    with pytest.raises(ValueError, match="`flow` must not depend on time"):
        momentum_flow(derive(loss, parameters), 1)
    with pytest.raises(ValueError, match="`loss` must not depend on time"):
        penalised_flow(loss, parameters)
