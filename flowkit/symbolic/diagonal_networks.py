"""Diagonal networks beta = u^2 - v^2: the path, and the penalty that its end minimises.

Source: Woodworth, Gunasekar, Lee, Moroshko, Savarese, Golan, Soudry, Srebro 2020
(arXiv:2002.09277), Theorem 1.
"""

from dataclasses import dataclass, field, replace
from functools import cache

import sympy as sp

from flowkit.claim import Claim, Verdict
from flowkit.symbolic.derivation import Derivation, defined, derive, mathml, vanishing
from flowkit.symbolic.scalars import whole_roots

SOURCE = "Woodworth et al. 2020, arXiv:2002.09277, Theorem 1"
U, V = sp.symbols("u v", positive=True)
SLOPE = sp.Symbol("c", real=True)  # the derivative of the loss by beta
PUSH = sp.Symbol("C", real=True)  # its integral over the time
SCALE = sp.Symbol("alpha", positive=True)
RATIO = sp.Symbol("z", real=True)  # beta / alpha^2


@dataclass(frozen=True)
class DiagonalNetwork:
    """One coordinate of beta = u^2 - v^2, both factors starting at alpha.

    Attributes:
        factors: The flow of u and v for any loss with the derivative c by beta.
        gain: What log(u/v) is per C, the integral of c over the time.
        path: beta in alpha and C.
        penalty: q(z), z = beta/alpha^2, whose slope is log(u/v).
        source: Where the penalty is published.
        claims: What is conserved, what beta is, and what its limit minimises, with checks.
    """

    factors: Derivation
    gain: sp.Expr
    path: sp.Expr
    penalty: sp.Expr
    source: str
    claims: tuple[Claim, ...] = field(default=(), compare=False, repr=False)

    @property
    def name(self) -> str:
        """What was derived."""
        return "diagonal network"

    @property
    def equations(self) -> tuple[sp.Eq, ...]:
        """The path, and the penalty that its limit minimises."""
        return defined(r"\beta", self.path), defined("q(z)", self.penalty)


@cache
def diagonal_network() -> DiagonalNetwork:
    """Integrate the flow of a diagonal network, and read off what its limit minimises.

    log u moves at -2 c and log v at 2 c: u v stays alpha^2, and log(u/v) is -4 C. So
    beta = 2 alpha^2 sinh(-4 C). For the loss 1/2 ||X beta - y||^2, whose c is X^T r, all
    coordinates together are 2 alpha^2 sinh(X^T nu), nu = -4 times the integral of r. The penalty
    is the integral of the inverse, q'(z) = arcsinh(z/2).

    Returns:
        One coordinate; C is in flow time of the loss whose derivative c is.

    Source:
        arXiv:2002.09277, Theorem 1. Checked by tests/symbolic/test_deep_linear_scalars.py.
    """
    factors = _factors()
    log_rates = [rate / x for x, rate in zip(factors.state, factors.rates, strict=True)]
    pairs = zip(factors.state, log_rates, strict=True)
    moved = {x: SCALE * sp.exp(sp.expand(rate / SLOPE) * PUSH) for x, rate in pairs}
    network = DiagonalNetwork(
        factors=factors,
        gain=sp.simplify((log_rates[0] - log_rates[1]) / SLOPE),
        path=_beta().subs(moved),
        penalty=_penalty(),
        source=SOURCE,
    )
    claims = (
        path_claim(network),
        regression_claim(network),
        stationarity_claim(network),
        convexity_claim(network),
        regimes_claim(network),
    )
    return replace(network, claims=claims)


def _beta() -> sp.Expr:
    return U**2 - V**2


def _factors() -> Derivation:
    """The flow of u and v: by the chain rule, that of c beta at fixed c."""
    flow = derive(SLOPE * _beta(), [U, V])
    law = U * V
    rate = sum(law.diff(x) * rate for x, rate in zip(flow.state, flow.rates, strict=True))
    conserved = Claim(
        name="product of the factors of a diagonal network",
        statement="u v is constant along the flow, for any loss.",
        source=SOURCE,
        check=lambda: vanishing(rate),
        formulas=(mathml(law),),
    )
    return replace(
        flow,
        name="flow of a diagonal network",
        source=SOURCE,
        conserved=(law,),
        claims=(*flow.claims, conserved),
    )


def _penalty() -> sp.Expr:
    """The antiderivative, from 0, of the x at which 2 sinh(x) is z."""
    zeta = sp.Symbol("zeta", real=True)
    inverse = sp.asinh(zeta / 2)
    if 2 * sp.sinh(inverse) != zeta:
        raise ArithmeticError(f"`{inverse}` is not the inverse of 2 sinh.")
    return sp.integrate(inverse, (zeta, 0, RATIO))


def path_claim(network: DiagonalNetwork) -> Claim:
    """The claim that beta is 2 alpha^2 sinh(-4 C), on the path of the flow itself."""
    return Claim(
        name="path of a diagonal network",
        statement="beta = 2 alpha^2 sinh(-4 C), C the integral of the loss's derivative by beta.",
        source=SOURCE,
        check=lambda: _check_path(network),
        formulas=(mathml(network.path),),
    )


def _check_path(network: DiagonalNetwork) -> Verdict:
    """Against the published form; and dbeta/dC by the flow, u^2 + v^2 being known from u v."""
    stated = 2 * SCALE**2 * sp.sinh(-4 * PUSH)
    pairs = zip(network.factors.state, network.factors.rates, strict=True)
    moved = sp.Add(*(_beta().diff(x) * rate for x, rate in pairs)) / SLOPE
    sum_of_squares = sp.sqrt(network.path**2 + 4 * SCALE**4)
    along = sp.expand(moved).subs(U**2, sum_of_squares - V**2)
    return vanishing(
        (network.path - stated).rewrite(sp.exp),
        whole_roots(sp.expand(network.path.diff(PUSH) - along)),
    )


def regression_claim(network: DiagonalNetwork) -> Claim:
    """The claim that for 1/2 ||X beta - y||^2 log(u/v) moves along the rows of X."""
    return Claim(
        name="diagonal network on linear measurements",
        statement="d log(u_i/v_i)/dt = -4 (X^T r)_i with r = X beta - y, so that log(u/v) is "
        "X^T nu for nu = -4 times the integral of r.",
        source=SOURCE,
        check=lambda: _check_regression(network),
    )


def _check_regression(network: DiagonalNetwork, measurements: int = 2, size: int = 3) -> Verdict:
    """From the gradient of the loss itself, entry by entry at an explicit size."""
    X = sp.Matrix(measurements, size, sp.symbols(f"X_:{measurements}:{size}", real=True))
    y = sp.Matrix(sp.symbols(f"y_:{measurements}", real=True))
    us, vs = (sp.symbols(f"{name}_:{size}", positive=True) for name in "uv")
    residual = X * sp.Matrix([u**2 - v**2 for u, v in zip(us, vs, strict=True)]) - y
    flow = derive(residual.dot(residual) / 2, [*us, *vs])
    log_rates = [rate / x for x, rate in zip(flow.state, flow.rates, strict=True)]
    slopes = X.T * residual
    return vanishing(
        *(log_rates[i] - log_rates[size + i] - network.gain * slopes[i] for i in range(size))
    )


def stationarity_claim(network: DiagonalNetwork) -> Claim:
    """The claim that the slope of the penalty along the path is log(u/v) = -4 C."""

    def check() -> Verdict:
        slope = network.penalty.diff(RATIO).subs(RATIO, network.path / SCALE**2)
        defect = slope - network.gain * PUSH
        return vanishing(whole_roots(sp.expand(defect.diff(PUSH))), defect.subs(PUSH, 0))

    return Claim(
        name="stationarity of the limit of a diagonal network",
        statement="q'(beta_i/alpha^2) = (X^T nu)_i all along the path: where X beta = y it is the "
        "KKT condition of the least sum of q(beta_i/alpha^2).",
        source=SOURCE,
        check=check,
        formulas=(mathml(network.penalty),),
    )


def convexity_claim(network: DiagonalNetwork) -> Claim:
    """The claim that q is strictly convex, so that the KKT point is the one minimiser."""

    def check() -> Verdict:
        curvature = sp.simplify(network.penalty.diff(RATIO, 2))
        least = network.penalty.diff(RATIO).subs(RATIO, 0), network.penalty.subs(RATIO, 0)
        return Verdict(
            passed=bool(curvature.is_positive) and least == (0, 0),
            kind="proved",
            measured=f"q'' = {curvature}, positive: {curvature.is_positive}; q'(0), q(0) = {least}",
            expected="q'' positive, q'(0) = q(0) = 0",
        )

    return Claim(
        name="convexity of the penalty of a diagonal network",
        statement="q is strictly convex with its least value 0 at 0.",
        source=SOURCE,
        check=check,
    )


def regimes_claim(network: DiagonalNetwork) -> Claim:
    """The claim on large and small starts: q is quadratic at zero, and grows as |z| log |z|."""

    def check() -> Verdict:
        z = sp.Symbol("z", positive=True)
        penalty = network.penalty.subs(RATIO, z).rewrite(sp.log)
        kernel = sp.limit(network.penalty / RATIO**2, RATIO, 0)
        rich = sp.limit(penalty / (z * sp.log(z)), z, sp.oo)
        return vanishing(kernel - sp.Rational(1, 4), rich - 1)

    return Claim(
        name="kernel and rich regime of a diagonal network",
        statement="q(z)/z^2 tends to 1/4 at zero (large alpha: the 2-norm), q(z)/(z log z) to 1 at "
        "infinity (small alpha: the 1-norm).",
        source=SOURCE,
        check=check,
    )
