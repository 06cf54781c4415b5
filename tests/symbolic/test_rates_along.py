"""Rates of change along a flow, of scalars and matrices, are directional derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy as sp
from expressions import ARGUMENTS, PARAMETERS, A, B, Generator, X, Y, a, b, m, n, point
from sympy import Determinant, HadamardProduct, Inverse, MatMul, MatrixSymbol, Trace, ZeroMatrix

from flowkit.lowering import lower_expression
from flowkit.symbolic import adjoints, derive, nuclear_norm, squared_norm
from flowkit.symbolic.gradient import expand, rate_along

ROUNDING = 1e-10  # relative; as for the gradients
FLOOR = 1e-3  # below it a rate is the rounding of terms of order one that cancel

VELOCITIES = {
    p: MatrixSymbol(f"V_{p.name}", *p.shape)
    if isinstance(p, MatrixSymbol)
    else sp.Symbol(f"v_{p.name}", real=True)
    for p in PARAMETERS
}


def relative_defect(expression, seed):
    """Distance of the lowered rate from `jax.jvp` of the lowered expression."""
    arrays = [jnp.asarray(array) for array in point(seed)]
    moving = [jnp.asarray(array) for array in point(seed + 1000)[: len(PARAMETERS)]]
    rate = lower_expression(rate_along(expression, VELOCITIES), (*ARGUMENTS, *VELOCITIES.values()))(
        *arrays, *moving
    )
    function = lower_expression(expression, ARGUMENTS)
    partial = lambda *parameters: function(*parameters, *arrays[len(PARAMETERS) :])
    _, slope = jax.jvp(partial, arrays[: len(PARAMETERS)], moving)
    return float(jnp.linalg.norm(rate - slope) / max(float(jnp.linalg.norm(slope)), FLOOR))


@pytest.mark.parametrize("chunk", range(4))
def test_scalars_move_at_their_directional_derivative(chunk):
    for seed in range(10 * chunk, 10 * (chunk + 1)):
        loss = Generator(seed).loss(deepest=2)
        assert relative_defect(loss, seed) < ROUNDING, f"seed {seed}: {loss}"


@pytest.mark.parametrize("chunk", range(4))
def test_matrices_move_at_their_directional_derivative(chunk):
    for seed in range(10 * chunk, 10 * (chunk + 1)):
        matrix = Generator(seed).matrix(m, n, 1 + seed % 2) + X
        assert relative_defect(matrix, seed) < ROUNDING, f"seed {seed}: {matrix}"


def test_a_wrong_sign_is_noticed(monkeypatch):
    expression = Inverse(sp.Identity(n) + X.T * X)
    assert relative_defect(expression, 0) < ROUNDING
    wrong = lambda sweep, node, C: sweep.matrix(node.arg, MatMul(node.T, C, node.T).doit())
    monkeypatch.setitem(adjoints._MATRIX, sp.Inverse, wrong)
    assert relative_defect(expression, 0) > FLOOR


S, V = MatrixSymbol("S", n, n), MatrixSymbol("V", n, n)
RATES = {
    "inverse": (Inverse(S), MatMul(-1, Inverse(S), V, Inverse(S))),
    "log determinant": (sp.log(Determinant(S)), Trace(Inverse(S) * V)),
    "power": (S**2, S * V + V * S),
    "negative power": (S**-2, -(S**-1) * V * S**-2 - S**-2 * V * S**-1),
    "Hadamard product": (
        HadamardProduct(S, S.T),
        HadamardProduct(S, V.T) + HadamardProduct(V, S.T),
    ),
    "element-wise function": (S.applyfunc(sp.sin), HadamardProduct(S.applyfunc(sp.cos), V)),
    "trace times matrix": (Trace(S) * B, Trace(V) * B),
    "constant": (B, ZeroMatrix(n, n)),
}


@pytest.mark.parametrize(("expression", "stated"), RATES.values(), ids=RATES)
def test_rates_are_the_textbook_formulas(expression, stated):
    point = [np.eye(2) * 2 + array for array in np.random.default_rng(0).normal(size=(3, 2, 2)) / 4]
    value = lambda rate: lower_expression(rate, (S, V, B))(*point)
    np.testing.assert_allclose(value(rate_along(expression, {S: V})), value(stated), rtol=1e-12)


def test_the_loss_falls_at_the_squared_norm_of_its_gradient():
    """dL/dt = -sum ||grad||^2, expanded to zero exactly."""
    residual = X * Y - A
    losses = (squared_norm(residual) / 2, (a * b - 1) ** 2 + a * Trace(A.T * X), nuclear_norm(X))
    for loss in losses:
        flow = derive(loss, [p for p in PARAMETERS if loss.has(p)])
        rates = dict(zip(flow.state, flow.rates, strict=True))
        square = lambda rate: Trace(rate.T * rate) if rate.is_Matrix else rate**2
        fall = sum((square(rate) for rate in flow.rates), sp.Integer(0))
        assert expand(rate_along(loss, rates) + fall) == 0
        assert expand(rate_along(loss, rates) + 2 * fall) != 0


def test_conserved_quantities_of_other_kinds_are_recognised():
    """A rotation keeps the norm of a matrix and of a vector, and S^-1 S is the identity."""
    skew = B - B.T
    assert rate_along(squared_norm(X), {X: X * skew}) == 0
    assert rate_along(a**2 + b**2, {a: b, b: -a}) == 0
    assert isinstance(rate_along(Inverse(S) * S, {S: V}), ZeroMatrix)


def test_traces_that_are_equal_cancel():
    assert expand(Trace(A.T * X * Y) - Trace(Y * A.T * X)) == 0
    assert expand(Trace(A.T * X) - Trace(X.T * A)) == 0
    assert expand(Trace(A.T * X * Y) - Trace(A.T * X * Y.T)) != 0
