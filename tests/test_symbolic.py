"""The derivations state what the theory states; every check can fail."""

import dataclasses

import pytest
import sympy as sp
from sympy import Determinant, HadamardProduct, MatMul, MatrixSymbol, Trace, Transpose
from sympy.matrices.expressions.hadamard import HadamardPower

from flowkit.symbolic import (
    UnsupportedExpressionError,
    derive,
    end_to_end_flow,
    factor_flow,
    kernel_dynamics,
    kernel_flow,
    mode_solution,
    singular_value_flow,
)
from flowkit.symbolic.balancedness import (
    _rewrite,
    conservation_claim,
    diagonal_claim,
    prove_product_rule,
)
from flowkit.symbolic.closed_forms import START, TARGET, VALUE
from flowkit.symbolic.factorization import layer_claim
from flowkit.symbolic.gradient import expand, gradient, rate_along
from flowkit.symbolic.kernel_dynamics import SOLUTION, linearised_claim, solution_claim

m, n, k = sp.symbols("m n k", integer=True, positive=True)
A, X, Y, M = (MatrixSymbol(name, m, n) for name in "AXYM")
U, V, S = MatrixSymbol("U", m, k), MatrixSymbol("V", k, n), MatrixSymbol("S", n, n)
y, a, b = sp.symbols("y a b", real=True)
MASKED = HadamardProduct(M, U * V - Y)

LOSSES = {
    "squared measurement": ((Trace(A.T * X) - y) ** 2, [X]),
    "masked factorization": (Trace(MASKED.T * MASKED) / (2 * m), [U, V]),
    "function of a trace": (sp.sin(Trace(A.T * X)), [X]),
    "log determinant": (sp.log(Determinant(S)), [S]),
    "power of a Gram matrix": (Trace((X.T * X) ** 2), [X]),
    "inverse": (Trace(S**-1 * X.T * A), [S, X]),
    "element-wise function": (Trace(A.T * X.applyfunc(sp.sin)), [X]),
    "parameter in a function": (Trace(A.T * X.applyfunc(sp.Lambda(y, sp.exp(a * y)))), [a, X]),
    "Hadamard power": (Trace(A.T * HadamardPower(X, 3)), [X]),
    "scalar times matrix": (Trace(a * X.T * X) + a**2, [a, X]),
    "Frobenius norm": (sp.sqrt(Trace(X.T * X)), [X]),
    "scalars": ((a * b - y) ** 2 / 2 + sp.exp(a), [a, b]),
    "bilinear form": (Trace(MatrixSymbol("c", 1, m) * X * MatrixSymbol("d", n, 1)) ** 2, [X]),
}


@pytest.mark.parametrize(("loss", "parameters"), LOSSES.values(), ids=LOSSES.keys())
def test_rates_are_the_entrywise_gradient(loss, parameters):
    """Against SymPy's scalar derivatives on explicit 2 x 2 matrices."""
    derivation = derive(loss, parameters)
    assert all(claim.check().passed for claim in derivation.claims)
    assert not any(isinstance(rate, sp.ZeroMatrix) for rate in derivation.rates)


def test_witness_fails_on_a_wrong_rate(monkeypatch):
    wrong = lambda loss, parameters: {p: 2 * g for p, g in gradient(loss, parameters).items()}
    monkeypatch.setattr("flowkit.symbolic.derivation.gradient", wrong)
    (claim,) = derive(Trace(X.T * X), [X]).claims
    assert not claim.check().passed


def test_time_is_no_data():
    time = sp.Symbol("t", real=True)
    assert derive(sp.exp(-time) * a**2, [a]).data == ()


def test_data_are_the_symbols_that_are_not_trained():
    derivation = derive(Trace(MASKED.T * MASKED) / (2 * m) + y * Trace(U.T * U), [U, V])
    assert [symbol.name for symbol in derivation.data] == ["M", "Y", "y"]


BAD_LOSSES = {
    "matrix": (X * X.T, [X], "`loss` must be a scalar"),
    "no parameters": (Trace(X), [], "`parameters` must name at least one"),
    "expression as parameter": (Trace(X), [2 * X], "`parameters` must hold symbols"),
    "repeated": (Trace(X), [X, X], "must not repeat"),
    "absent": (Trace(S), [S, U], "`U` does not"),
    "undefined function": (sp.Function("f")(a), [a], "`f`"),
    "adjugate-like node": (
        sp.Trace(sp.Adjoint(MatrixSymbol("Z", n, n))),
        [MatrixSymbol("Z", n, n)],
        "Adjoint",
    ),
    "entry of a matrix": (X[0, 1] ** 2, [X], "MatrixElement"),
    "piecewise": (sp.Piecewise((a, a > 0), (0, True)), [a], "Piecewise"),
}


@pytest.mark.parametrize(("loss", "parameters", "named"), BAD_LOSSES.values(), ids=BAD_LOSSES)
@pytest.mark.usefixtures("as_a_user")
def test_bad_losses_are_refused_by_name(loss, parameters, named):
    with pytest.raises(ValueError, match=named):
        derive(loss, parameters)
    assert issubclass(UnsupportedExpressionError, ValueError)


@pytest.mark.parametrize("depth", range(1, 7))
def test_factor_flow_is_the_chain_rule(depth):
    """dW_j/dt = -(W_N .. W_{j+1})^T G (W_{j-1} .. W_1)^T, written out independently."""
    flow = factor_flow(depth)
    W, (G,) = flow.state, flow.data
    for j, rate in enumerate(flow.rates):
        left = [Transpose(w) for w in W[j + 1 :]]
        right = [Transpose(w) for w in W[:j]]
        stated = MatMul(-1, *left, G, *right).doit()
        assert isinstance(expand(rate - stated), sp.ZeroMatrix)


@pytest.mark.parametrize("depth", range(2, 7))
def test_balancedness_is_conserved_exactly(depth):
    verdicts = [claim.check() for claim in factor_flow(depth).claims]
    assert len(verdicts) == depth  # a law for each pair of neighbours, and the layer flow
    assert all(verdict.passed and verdict.kind == "proved" for verdict in verdicts)


@pytest.mark.parametrize("which", range(3))
def test_the_layer_flow_fails_for_a_changed_sign_or_factor(which):
    flow = factor_flow(3)
    (G,), rates = flow.data, flow.rates
    assert layer_claim(flow.state, rates, G).check().passed
    for wrong in (-rates[which], rates[which].subs(flow.state[0], 2 * flow.state[0])):
        changed = (*rates[:which], wrong, *rates[which + 1 :])
        passed = layer_claim(flow.state, changed, G).check().passed
        assert passed == (wrong == rates[which])  # a factor's own rate does not hold it


def test_balancedness_fails_for_a_changed_sign():
    flow = factor_flow(3)
    moving = dict(zip(flow.state, flow.rates, strict=True))
    moving[flow.state[0]] = -moving[flow.state[0]]
    assert not conservation_claim(flow.conserved[0], moving).check().passed


@pytest.mark.parametrize("depth", range(1, 7))
def test_end_to_end_flow_is_proved_from_the_factor_flow(depth):
    (claim,) = end_to_end_flow(depth).claims
    assert claim.check().passed


def test_the_proof_fails_for_factors_that_break_the_law(monkeypatch):
    """With one law missing, the Gram matrices no longer reduce to powers."""
    flow = factor_flow(3)
    crippled = dataclasses.replace(flow, conserved=flow.conserved[:1])
    monkeypatch.setattr("flowkit.symbolic.factorization.factor_flow", lambda depth: crippled)
    (claim,) = end_to_end_flow(3).claims
    assert not claim.check().passed


@pytest.mark.parametrize("change", ["factor", "exponent"])
def test_the_proof_fails_for_a_wrong_end_to_end_flow(change):
    """The flow that is proved is the one that is handed out."""
    flow = end_to_end_flow(3)
    (W,), (rate,) = flow.state, flow.rates
    third, two_thirds = sp.Rational(1, 3), sp.Rational(2, 3)
    wrong = {
        "factor": 7 * rate,
        "exponent": rate.subs((W * W.T) ** two_thirds, (W * W.T) ** third),
    }[change]
    changed = dataclasses.replace(flow, rates=(sp.expand(wrong),))
    assert prove_product_rule(factor_flow(3), flow).passed
    assert not prove_product_rule(factor_flow(3), changed).passed


def test_the_diagonal_witness_fails_for_a_wrong_law():
    flow = singular_value_flow(3)
    (s,), (g,), (rate,) = flow.state, flow.data, flow.rates
    assert all(claim.check().passed for claim in flow.claims)
    assert not diagonal_claim(end_to_end_flow(3), s, g, s * rate).check().passed


def test_rewriting_moves_gram_matrices_outwards():
    p, q, r = (MatrixSymbol(name, n, n) for name in "pqr")
    assert _rewrite((p, q, q, p), {(q, q): (r, r)}) == (p, r, r, p)


def test_symbolic_depth_specialises_to_integer_depth():
    N = sp.Symbol("N", integer=True, positive=True)
    (general,), (special,) = end_to_end_flow(N).rates, end_to_end_flow(3).rates
    assert isinstance(expand(general.subs(N, 3).doit() - special), sp.ZeroMatrix)
    (law,) = singular_value_flow(N).rates
    assert sp.simplify(law.subs(N, 3) - singular_value_flow(3).rates[0]) == 0


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_singular_value_flow_is_the_published_law(depth):
    flow = singular_value_flow(depth)
    (s,), (g,), (rate,) = flow.state, flow.data, flow.rates
    assert sp.simplify(rate + depth * (s**2) ** (1 - sp.Rational(1, depth)) * g) == 0


@pytest.mark.parametrize("make", [factor_flow, end_to_end_flow, singular_value_flow, mode_solution])
@pytest.mark.parametrize("depth", [0, -1, 2.0, True, "3"])
@pytest.mark.usefixtures("as_a_user")
def test_bad_depth_is_refused(make, depth):
    with pytest.raises(ValueError, match="`depth` must be a positive integer"):
        make(depth)


@pytest.mark.parametrize("depth", [*range(1, 5), pytest.param(5, marks=pytest.mark.slow), 6])
def test_mode_solutions_solve_the_flow(depth):
    solution = mode_solution(depth)
    slope = solution.time.diff(VALUE).subs({VALUE: 0.7, TARGET: 2.0, START: 0.1})
    rate = solution.rate.subs({VALUE: 0.7, TARGET: 2.0})
    assert float(slope * rate) == pytest.approx(1, abs=1e-12)
    assert all(claim.check().passed for claim in solution.claims)


def test_kernel_flow_follows_from_parameter_flow():
    assert all(claim.check().passed for claim in kernel_flow().claims)


@pytest.mark.parametrize("which", range(2))
def test_kernel_flow_fails_for_a_changed_sign(which):
    flow = kernel_flow()
    rates = [-rate if i == which else rate for i, rate in enumerate(flow.rates)]
    wrong = dataclasses.replace(flow, rates=tuple(rates))
    assert not linearised_claim(wrong).check().passed
    assert solution_claim(wrong, SOLUTION).check().passed == (which == 1)  # f follows u


def test_another_solution_of_kernel_flow_fails():
    decay, target = kernel_dynamics.EIGENVALUE, kernel_dynamics.TARGET
    for change in ({decay: -decay}, {decay: decay**2}, {target: -target}):
        assert not solution_claim(kernel_flow(), SOLUTION.subs(change)).check().passed


def test_rate_along_refuses_what_it_cannot_differentiate():
    with pytest.raises(UnsupportedExpressionError, match="Adjoint"):
        rate_along(sp.Adjoint(S), {S: S})


def test_equations_print_as_latex_and_mathml():
    flow = factor_flow(2)
    assert r"\dot{W_{1}} &= - W_{2}^{T} G" in flow.latex()
    assert all(text.startswith("<math") and text.endswith("</math>") for text in flow.mathml())
