"""The flow of the outputs of a linearised model: kernel gradient flow."""

from dataclasses import replace
from functools import cache

import sympy as sp
from sympy import MatMul, MatrixSymbol

from flowkit.claim import Claim, Verdict
from flowkit.symbolic.derivation import TIME, Derivation, derive, mathml, vanishing
from flowkit.symbolic.gradient import expand

EIGENVALUE = sp.Symbol("lambda", nonnegative=True)
START, TARGET = sp.symbols("u_0 y", real=True)
SOLUTION = TARGET + sp.exp(-EIGENVALUE * TIME) * (START - TARGET)


@cache
def kernel_flow() -> Derivation:
    """Flow of training outputs u and test outputs f under 1/2 the sum of squares on u.

    du/dt = -K (u - y) and df/dt = -k (u - y). Derived, not stated: the parameters theta of a
    linearised model with outputs u = J theta and f = J_test theta follow gradient flow, and
    K = J J^T, k = J_test J^T.

    Returns:
        State u, f and data K, k, y, with n training points, m test points and c outputs; claims
        for the derivation and for the solution u(t) = y + e^{-K t} (u_0 - y).

    Source:
        Jacot, Gabriel, Hongler 2018, arXiv:1806.07572; Arora et al. 2019, arXiv:1904.11955,
        Lemma 3.1. Checked by tests/test_symbolic.py.
    """
    n, m, c = sp.symbols("n m c", integer=True, positive=True)
    u, y, f = MatrixSymbol("u", n, c), MatrixSymbol("y", n, c), MatrixSymbol("f", m, c)
    K, k = MatrixSymbol("K", n, n), MatrixSymbol("k", m, n)
    rates = (-K * (u - y), -k * (u - y))
    flow = Derivation(
        name="kernel flow",
        state=(u, f),
        rates=rates,
        data=(K, k, y),
        source="Arora et al. 2019, arXiv:1904.11955, Lemma 3.1",
    )
    return replace(flow, claims=(linearised_claim(flow), solution_claim(flow, SOLUTION)))


def linearised_claim(flow: Derivation) -> Claim:
    """The claim that the flow is what gradient flow on the parameters makes of the outputs."""
    return Claim(
        name="kernel flow from parameter flow",
        statement="J dtheta/dt is -K (u - y) for u = J theta and K = J J^T, and likewise for f.",
        source="Arora et al. 2019, arXiv:1904.11955, Lemma 3.1",
        check=lambda: _check_linearised(flow),
        formulas=flow.mathml(),
    )


def solution_claim(flow: Derivation, solution: sp.Expr) -> Claim:
    """The claim that an expression in lambda, u_0 and y solves the flow along an eigenvector."""
    return Claim(
        name="kernel flow's solution",
        statement="Along an eigenvector of K, u(t) = y + e^{-lambda t} (u_0 - y).",
        source="Arora et al. 2019, arXiv:1904.11955, section 3",
        check=lambda: _check_solution(flow, solution),
        formulas=(mathml(sp.Eq(sp.Symbol("u"), solution)),),
    )


def _check_linearised(flow: Derivation) -> Verdict:
    (u, f), (K, k, y) = flow.state, flow.data
    width = sp.Symbol("p", integer=True, positive=True)
    J, J_test = MatrixSymbol("J", u.rows, width), MatrixSymbol("J_test", f.rows, width)
    theta = MatrixSymbol("theta", width, u.cols)
    residual = J * theta - y
    (parameter_rate,) = derive(sp.Trace(residual.T * residual) / 2, [theta]).rates
    linearised = {K: J * J.T, k: J_test * J.T, u: J * theta}
    defects = [
        expand(MatMul(jacobian, parameter_rate) - stated.subs(linearised))
        for jacobian, stated in zip((J, J_test), flow.rates, strict=True)
    ]
    return Verdict(
        passed=all(isinstance(defect, sp.ZeroMatrix) for defect in defects),
        kind="proved",
        measured=f"differences {', '.join(map(str, defects))}",
        expected="differences 0, the exact zero matrix",
    )


def _check_solution(flow: Derivation, solution: sp.Expr) -> Verdict:
    """With K, u and y as 1 x 1 matrices."""
    (u, _), (K, _, y) = flow.state, flow.data
    single = {u.rows: 1, u.cols: 1}
    at = {K: EIGENVALUE, u: solution, y: TARGET}
    matrices = {symbol.subs(single): sp.Matrix([[value]]) for symbol, value in at.items()}
    rate = flow.rates[0].subs(single).subs(matrices).doit()[0, 0]
    return vanishing(solution.diff(TIME) - rate, solution.subs(TIME, 0) - START)
