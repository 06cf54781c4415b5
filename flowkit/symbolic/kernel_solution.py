"""Kernel gradient flow with a ridge, and its solution at every time, at matrix level.

Sources: Jacot, Gabriel, Hongler 2018 (arXiv:1806.07572); Arora et al. 2019 (arXiv:1904.11955),
Theorem 3.2; Lee et al. 2019 (arXiv:1902.06720) for the test outputs.
"""

from dataclasses import dataclass, field, replace
from functools import cache

import sympy as sp
from sympy import MatMul, MatrixExpr, MatrixSymbol

from flowkit.claim import Claim, Verdict
from flowkit.symbolic.derivation import Derivation, derive
from flowkit.symbolic.gradient import expand, rate_along
from flowkit.symbolic.kernel_dynamics import kernel_flow

RIDGE = sp.Symbol("r", nonnegative=True)
SOURCE = "Arora et al. 2019, arXiv:1904.11955, section 3 and Theorem 3.2"
n, m, c = sp.symbols("n m c", integer=True, positive=True)
K, k = MatrixSymbol("K", n, n), MatrixSymbol("k", m, n)
y, u_0, f_0 = MatrixSymbol("y", n, c), MatrixSymbol("u_0", n, c), MatrixSymbol("f_0", m, c)
ALPHA = MatrixSymbol("alpha", n, c)
A, DECAY = MatrixSymbol("A", n, n), MatrixSymbol("E", n, n)
"""A = K + r I and E = e^{-A t}, which moves at -A E and commutes with A."""

EIGENVALUE, DECAYED = sp.symbols("a E", positive=True)


@cache
def ridge_flow() -> Derivation:
    """Flow of the dual weights alpha, theta = theta_0 + J^T alpha, under 1/2 the sum of squares.

    d(alpha)/dt = (y - u_0) - (K + r I) alpha. Derived: the parameters of a linearised model follow
    the gradient flow of 1/2 ||J theta - y||^2 + r/2 ||theta - theta_0||^2, whose gradient at
    theta_0 + J^T alpha is J^T times a function of K = J J^T; that function is the rate of alpha.

    Returns:
        State alpha (zero at the start) and data K, y, u_0, r, per unit of flow time, with the claim
        that J^T d(alpha)/dt is the flow of the parameters.

    Raises:
        ArithmeticError: a term of the parameters' flow has no factor J^T.

    Source:
        arXiv:1904.11955, section 3; with the ridge, kernel ridge regression. Checked by
        tests/symbolic/test_kernel_solution.py.
    """
    J, parameter_rate = _parameter_rate()
    flow = Derivation(
        name="kernel ridge flow",
        state=(ALPHA,),
        rates=(_without_left_factor(parameter_rate, J),),
        data=(K, y, u_0, RIDGE),
        source=SOURCE,
    )
    return replace(flow, claims=(_derived_claim(flow),))


def _parameter_rate() -> tuple[MatrixSymbol, MatrixExpr]:
    """J, and the flow of the parameters at theta_0 + J^T alpha where J theta_0 = u_0."""
    width = sp.Symbol("p", integer=True, positive=True)
    J, theta, start = (
        MatrixSymbol(name, *shape)
        for name, shape in (("J", (n, width)), ("theta", (width, c)), ("theta_0", (width, c)))
    )
    residual, shift = J * theta - y, theta - start
    loss = sp.Trace(residual.T * residual) / 2 + RIDGE * sp.Trace(shift.T * shift) / 2
    (rate,) = derive(loss, [theta]).rates
    at = expand(rate.subs(theta, start + J.T * ALPHA))
    return J, at.subs(J * start, u_0)


def _without_left_factor(rate: MatrixExpr, J: MatrixSymbol) -> MatrixExpr:
    """X of J^T X, with J J^T written as K."""
    terms = []
    for term in sp.MatAdd.make_args(expand(rate)):
        coefficient, factors = term.as_coeff_matrices()
        if factors[0] != J.T:
            raise ArithmeticError(f"`{term}` has no factor `{J.T}` on its left.")
        terms.append(MatMul(coefficient, *factors[1:]).subs(J * J.T, K))
    return sp.MatAdd(*terms).doit()


def _derived_claim(flow: Derivation) -> Claim:
    def check() -> Verdict:
        J, parameter_rate = _parameter_rate()
        pulled_back = MatMul(J.T, flow.rates[0].subs(K, J * J.T))
        published = y - u_0 - K * ALPHA - RIDGE * ALPHA
        return _zero_matrices(pulled_back - parameter_rate, flow.rates[0] - published)

    return Claim(
        name="ridge flow from parameter flow",
        statement="At theta_0 + J^T alpha the parameters move by J^T d(alpha)/dt, "
        "d(alpha)/dt = (y - u_0) - (K + r I) alpha.",
        source=SOURCE,
        check=check,
        formulas=flow.mathml(),
    )


@dataclass(frozen=True)
class KernelSolution:
    """The solution of kernel flow with A = K + r I, in the decay E = e^{-A t}.

    Attributes:
        weights: alpha(t).
        train: Outputs u(t) on the training points.
        test: Outputs f(t) on the test points.
        source: Where it is published.
        claims: What is stated about it, each with a check.
        name: What was solved.
    """

    weights: MatrixExpr
    train: MatrixExpr
    test: MatrixExpr
    source: str
    claims: tuple[Claim, ...] = field(default=(), compare=False, repr=False)
    name: str = "solution of the kernel flow"

    @property
    def equations(self) -> tuple[sp.Eq, ...]:
        """The weights and the outputs."""
        names = {"alpha": self.weights, "u": self.train, "f": self.test}
        return tuple(
            sp.Eq(MatrixSymbol(name, *value.shape), value, evaluate=False)
            for name, value in names.items()
        )

    def at(self, decay: MatrixExpr) -> tuple[MatrixExpr, ...]:
        """Weights and outputs for a given decay: the identity at t = 0, zero at t = oo."""
        return tuple(expand(x.subs(DECAY, decay)) for x in (self.weights, self.train, self.test))


@cache
def kernel_solution() -> KernelSolution:
    """Solve kernel flow from u_0 and f_0.

    With A = K + r I,

        alpha(t) = A^{-1} (I - e^{-A t}) (y - u_0),    u = u_0 + K alpha,    f = f_0 + k alpha.

    Along an eigenvector of A the flow is a scalar equation, which SymPy solves; what that makes of
    an eigenvalue is then applied to the matrix.

    Returns:
        The solution under 1/2 the sum of squares, in flow time, with claims for its equations, its
        start and its end, which is kernel (ridge) regression.

    Source:
        arXiv:1904.11955, Theorem 3.2; arXiv:1902.06720. Checked by
        tests/symbolic/test_kernel_solution.py.
    """
    weights = _apply(_solve_mode(), y - u_0)
    solution = KernelSolution(weights, u_0 + K * weights, f_0 + k * weights, source=SOURCE)
    return replace(solution, claims=solution_claims(solution))


def _solve_mode() -> sp.Expr:
    """Solve d(alpha)/dt = 1 - a alpha from 0, a an eigenvalue of A, in E = e^{-a t}."""
    time, alpha = sp.Symbol("t", positive=True), sp.Function("alpha")
    equation = sp.Eq(alpha(time).diff(time), 1 - EIGENVALUE * alpha(time))
    solved = sp.dsolve(equation, alpha(time), ics={alpha(0): 0}).rhs
    return sp.expand(solved).subs(sp.exp(-EIGENVALUE * time), DECAYED)


def _apply(mode: sp.Expr, drive: MatrixExpr) -> MatrixExpr:
    """The same function of A and E, a sum of products of their powers, times the drive."""
    total = sp.ZeroMatrix(n, n)
    for term in sp.Add.make_args(mode):
        powers = term.as_powers_dict()
        factors = [A ** powers[EIGENVALUE], DECAY ** powers[DECAYED]]
        total += MatMul(term.as_coeff_Mul()[0], *factors).doit()
    return total * drive


def solution_claims(solution: KernelSolution) -> tuple[Claim, ...]:
    """The claims that a solution moves, starts and ends as it should."""
    claim = lambda name, statement, check: Claim(
        name=name, statement=statement, source=SOURCE, check=lambda: check(solution)
    )
    return (
        claim("weights of the kernel flow", "alpha(t) solves the ridge flow.", _check_weights),
        claim("outputs of the kernel flow", "u(t) and f(t) solve kernel flow.", _check_outputs),
        claim("start of the kernel flow", "At t = 0, u = u_0 and f = f_0.", _check_start),
        claim("end of the kernel flow", "f ends at f_0 + k A^{-1} (y - u_0).", _check_end),
    )


def _check_weights(solution: KernelSolution) -> Verdict:
    (rate,) = ridge_flow().rates
    stated = rate.subs(K, A - RIDGE * sp.Identity(n)).subs(ALPHA, solution.weights)
    return _zero_matrices(rate_along(solution.weights, {DECAY: -A * DECAY}) - stated)


def _check_outputs(solution: KernelSolution) -> Verdict:
    """Without a ridge A is K, and u and f have the rates of `kernel_flow`."""
    flow = kernel_flow()
    u, f = flow.state
    train, test = (x.subs(A, K) for x in (solution.train, solution.test))
    return _zero_matrices(
        *(
            rate_along(outputs, {DECAY: -K * DECAY}) - rate.subs({u: train, f: test})
            for outputs, rate in zip((train, test), flow.rates, strict=True)
        )
    )


def _check_start(solution: KernelSolution) -> Verdict:
    weights, train, test = solution.at(sp.Identity(n))
    return _zero_matrices(weights, train - u_0, test - f_0)


def _check_end(solution: KernelSolution) -> Verdict:
    """Regression on the test points; without a ridge the training points are met exactly."""
    _, train, test = solution.at(sp.ZeroMatrix(n, n))
    return _zero_matrices(test - f_0 - k * A.I * (y - u_0), train.subs(A, K) - y)


def _zero_matrices(*defects: MatrixExpr) -> Verdict:
    """A proof that matrix expressions expand to zero, or what is left of them."""
    left = [expand(defect) for defect in defects]
    return Verdict(
        passed=all(isinstance(defect, sp.ZeroMatrix) for defect in left),
        kind="proved",
        measured=f"differences {', '.join(map(str, left))}",
        expected="differences 0, the exact zero matrix",
    )
