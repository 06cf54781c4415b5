"""The flow of the outputs of a linearised model: kernel gradient flow."""

from functools import cache

import sympy as sp
from sympy import MatMul, MatrixSymbol

from flowkit.claim import Claim, Verdict
from flowkit.symbolic.derivation import TIME, Derivation, derive, mathml, vanishing
from flowkit.symbolic.gradient import expand


@cache
def kernel_flow() -> Derivation:
    """Flow of the training outputs u under 1/2 the sum of squares: du/dt = -K (u - y).

    Derived, not stated: the parameters theta of a linearised model with outputs u = J theta
    follow gradient flow, and du/dt = J dtheta/dt, where K = J J^T.

    Returns:
        State u and data K, y, with n training points and c outputs; claims for the derivation
        and for the solution u(t) = y + e^{-K t} (u_0 - y).

    Source:
        Jacot, Gabriel, Hongler 2018, arXiv:1806.07572; Arora et al. 2019, arXiv:1904.11955,
        Lemma 3.1. Checked by tests/test_symbolic.py.
    """
    points, outputs = sp.symbols("n c", integer=True, positive=True)
    u, y = MatrixSymbol("u", points, outputs), MatrixSymbol("y", points, outputs)
    K = MatrixSymbol("K", points, points)
    rate = -K * (u - y)
    return Derivation(
        name="kernel flow",
        state=(u,),
        rates=(rate,),
        data=(K, y),
        source="Arora et al. 2019, arXiv:1904.11955, Lemma 3.1",
        claims=(
            Claim(
                name="kernel flow from parameter flow",
                statement="J dtheta/dt is -K (u - y) for u = J theta and K = J J^T.",
                source="Arora et al. 2019, arXiv:1904.11955, Lemma 3.1",
                check=lambda: _check_linearised(u, K, y, rate),
                formulas=(mathml(rate, rate_of=u),),
            ),
            Claim(
                name="kernel flow's solution",
                statement="Along an eigenvector of K, u(t) = y + e^{-lambda t} (u_0 - y).",
                source="Arora et al. 2019, arXiv:1904.11955, equation 5",
                check=_check_solution,
            ),
        ),
    )


def _check_linearised(
    u: MatrixSymbol, K: MatrixSymbol, y: MatrixSymbol, rate: sp.MatrixExpr
) -> Verdict:
    width = sp.Symbol("p", integer=True, positive=True)
    J, theta = MatrixSymbol("J", u.rows, width), MatrixSymbol("theta", width, u.cols)
    residual = J * theta - y
    (parameter_rate,) = derive(sp.Trace(residual.T * residual) / 2, [theta]).rates
    stated = rate.subs({K: J * J.T, u: J * theta})
    defect = expand(MatMul(J, parameter_rate) - stated)
    return Verdict(
        passed=isinstance(defect, sp.ZeroMatrix),
        kind="proved",
        measured=f"difference {defect}",
        expected="difference 0, the exact zero matrix",
    )


def _check_solution() -> Verdict:
    eigenvalue = sp.Symbol("lambda", nonnegative=True)
    start, target = sp.symbols("u_0 y", real=True)
    solution = target + sp.exp(-eigenvalue * TIME) * (start - target)
    return vanishing(
        solution.diff(TIME) + eigenvalue * (solution - target), solution.subs(TIME, 0) - start
    )
