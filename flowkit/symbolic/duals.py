"""Dual activations: Gaussian expectations of an activation and of its derivative.

Sources: Cho, Saul 2009 (Kernel methods for deep learning); Daniely, Frostig, Singer 2016
(arXiv:1602.05897); Price 1958 (A useful theorem for nonlinear devices having Gaussian inputs).
"""

from dataclasses import dataclass, field
from functools import cache

import sympy as sp

from flowkit.claim import Claim, Verdict
from flowkit.symbolic.derivation import mathml, vanishing

VAR_U = sp.Symbol("var_u", positive=True)
VAR_V = sp.Symbol("var_v", positive=True)
COV = sp.Symbol("cov", real=True)
CORRELATION = COV / sp.sqrt(VAR_U * VAR_V)


@dataclass(frozen=True)
class DualActivation:
    """The dual of an activation s: expectations over (u, v) ~ N(0, [[var_u, cov], [cov, var_v]]).

    Attributes:
        name: The activation.
        kappa: E[s(u) s(v)] in the symbols var_u, var_v and cov.
        kappa_dot: E[s'(u) s'(v)] in the same symbols.
        source: How it was derived, and where it is published.
        claims: What pins both expressions down, each with a check.
    """

    name: str
    kappa: sp.Expr
    kappa_dot: sp.Expr
    source: str
    claims: tuple[Claim, ...] = field(default=(), compare=False, repr=False)

    @property
    def equations(self) -> tuple[sp.Eq, ...]:
        """Both expectations; the dot marks that of the derivatives."""
        pairs = [(r"\kappa", self.kappa), (r"\dot{\kappa}", self.kappa_dot)]
        return tuple(sp.Eq(sp.Symbol(name), value, evaluate=False) for name, value in pairs)


@dataclass(frozen=True)
class _HalfPowers:
    """The function right * x^degree for x > 0 and left * x^degree for x < 0."""

    degree: int
    right: int
    left: int

    @property
    def derivative(self) -> "_HalfPowers":
        return _HalfPowers(self.degree - 1, self.degree * self.right, self.degree * self.left)

    @property
    def mirrored(self) -> "_HalfPowers":
        """The function x -> f(-x)."""
        sign = (-1) ** self.degree
        return _HalfPowers(self.degree, sign * self.left, sign * self.right)

    def times(self, other: "_HalfPowers") -> "_HalfPowers":
        right, left = self.right * other.right, self.left * other.left
        return _HalfPowers(self.degree + other.degree, right, left)

    def gaussian_mean(self) -> sp.Expr:
        """E[f(x)] of a standard normal x, by a plain integral."""
        x = sp.Symbol("x", positive=True)
        both_sides = self.right * x**self.degree + self.left * (-x) ** self.degree
        return sp.integrate(both_sides * sp.exp(-(x**2) / 2), (x, 0, sp.oo)) / sp.sqrt(2 * sp.pi)


_ACTIVATIONS = {
    "relu": _HalfPowers(1, right=1, left=0),
    "abs": _HalfPowers(1, right=1, left=-1),
    "identity": _HalfPowers(1, right=1, left=1),
}


def dual(activation: str) -> DualActivation:
    """Derive E[s(u) s(v)] and E[s'(u) s'(v)] over N(0, [[var_u, cov], [cov, var_v]]).

    In polar coordinates u = sqrt(var_u) r cos(phi), v = sqrt(var_v) r cos(theta - phi), where
    cos(theta) is the correlation, the measure is r e^{-r^2/2} / (2 pi) dr dphi. A function that is
    a multiple of x^k on either side of 0 leaves a radial moment and one integral per sector.

    Args:
        activation: "relu", "abs" or "identity".

    Returns:
        Both expectations, with Price's theorem and the one-dimensional limits as claims. Cached.

    Raises:
        ValueError: `activation` is not among the names above.

    Source:
        Cho, Saul 2009, section 2; arXiv:1602.05897, section 4. Checked by tests/test_duals.py.
    """
    if not isinstance(activation, str) or activation not in _ACTIVATIONS:
        names = ", ".join(f"`{name}`" for name in _ACTIVATIONS)
        raise ValueError(
            f"Argument `activation` must be one of {names}, but it is `{activation!r}`."
        )
    return _derive_dual(activation)


@cache
def _derive_dual(name: str) -> DualActivation:
    function = _ACTIVATIONS[name]
    kappa, kappa_dot = _polar_expectation(function), _polar_expectation(function.derivative)
    return DualActivation(
        name=name,
        kappa=kappa,
        kappa_dot=kappa_dot,
        source="polar integration; Cho, Saul 2009, section 2",
        claims=(
            _price_claim(name, kappa, kappa_dot),
            _limit_claim(name, "E[s(u) s(v)]", kappa, function),
            _limit_claim(name, "E[s'(u) s'(v)]", kappa_dot, function.derivative),
        ),
    )


def _polar_expectation(function: _HalfPowers) -> sp.Expr:
    """E[f(u) f(v)] as radial moment times the sum over the four sectors of constant signs."""
    radius, angle, theta = sp.symbols("r phi theta", positive=True)
    right, left, degree = function.right, function.left, function.degree
    quarter = sp.pi / 2
    sectors = (  # factor, from, to: u > 0 for |phi| < pi/2 and v > 0 for |theta - phi| < pi/2
        (right * right, theta - quarter, quarter),
        (left * right, quarter, theta + quarter),
        (left * left, theta + quarter, 3 * quarter),
        (right * left, 3 * quarter, theta + 3 * quarter),
    )
    integrand = (sp.cos(angle) * sp.cos(theta - angle)) ** degree
    parts = [f * sp.integrate(integrand, (angle, lo, hi)) for f, lo, hi in sectors]
    moment = radius ** (2 * degree + 1) * sp.exp(-(radius**2) / 2)
    radial = sp.integrate(moment, (radius, 0, sp.oo)) / (2 * sp.pi)
    return _in_covariances(radial * sp.simplify(sp.Add(*parts)), theta, degree)


def _in_covariances(expectation: sp.Expr, theta: sp.Symbol, degree: int) -> sp.Expr:
    """Replace the angle by covariances; the sine is sqrt((1 - rho)(1 + rho)), exact near 1."""
    rho = CORRELATION
    sine = sp.sqrt((1 - rho) * (1 + rho))
    values = {sp.cos(theta): rho, sp.sin(theta): sine, theta: sp.acos(rho)}
    scale = sp.sqrt(VAR_U * VAR_V) ** degree
    return sp.expand_mul(scale * sp.expand_trig(expectation).subs(values), deep=False)


def _price_claim(name: str, kappa: sp.Expr, kappa_dot: sp.Expr) -> Claim:
    return Claim(
        name=f"Price's theorem, {name}",
        statement="The derivative of E[s(u) s(v)] by the covariance is E[s'(u) s'(v)].",
        source="Price 1958; arXiv:1602.05897, section 4",
        check=lambda: vanishing(sp.diff(kappa, COV) - kappa_dot),
        formulas=(mathml(kappa), mathml(kappa_dot)),
    )


def _limit_claim(name: str, symbol: str, expectation: sp.Expr, function: _HalfPowers) -> Claim:
    return Claim(
        name=f"one-dimensional limits of {symbol}, {name}",
        statement=f"At correlation 1, 0, -1, {symbol} is E[f(x)^2], E[f(x)]^2, E[f(x) f(-x)] of a "
        f"standard normal x, times (var_u var_v)^(k/2) for f of degree k.",
        source="u = v, independence, u = -v; one-dimensional Gaussian integrals",
        check=lambda: _check_limits(expectation, function),
    )


def _check_limits(expectation: sp.Expr, function: _HalfPowers) -> Verdict:
    deviations = sp.sqrt(VAR_U * VAR_V)
    expected = {
        1: function.times(function).gaussian_mean(),
        0: function.gaussian_mean() ** 2,
        -1: function.times(function.mirrored).gaussian_mean(),
    }
    return vanishing(
        *(
            expectation.subs(COV, correlation * deviations) - deviations**function.degree * value
            for correlation, value in expected.items()
        )
    )
