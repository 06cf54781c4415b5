"""What pins a dual activation down: Price's theorem and one-dimensional limits."""

import itertools
from collections.abc import Callable

import mpmath
import sympy as sp

from flowkit.claim import Claim, Verdict
from flowkit.symbolic.derivation import mathml, vanishing
from flowkit.symbolic.gaussian import COV, VAR_U, VAR_V
from flowkit.symbolic.polar import HalfPowers

DIGITS = 30
BOUND = 1e-20  # both sides are evaluated to 30 digits
VARIANCES = ((sp.Rational(1, 2), sp.Integer(2)), (sp.Integer(3), sp.Integer(3)))


def price_claim(name: str, kappa: sp.Expr, kappa_dot: sp.Expr) -> Claim:
    """The claim that d E[s(u) s(v)] / d cov is E[s'(u) s'(v)], an exact identity."""
    return Claim(
        name=f"Price's theorem, {name}",
        statement="The derivative of E[s(u) s(v)] by the covariance is E[s'(u) s'(v)].",
        source="Price 1958; arXiv:1602.05897",
        check=lambda: vanishing(sp.diff(kappa, COV) - kappa_dot),
        formulas=(mathml(kappa), mathml(kappa_dot)),
    )


def arc_cosine_claim(kappa: sp.Expr, kappa_dot: sp.Expr) -> Claim:
    """The claim that ReLU's expectations are the published arc-cosine kernels, and c is 2."""
    deviations = sp.sqrt(VAR_U * VAR_V)
    rho = COV / deviations
    angle = sp.pi - sp.acos(rho)
    stated = deviations * (rho * angle + sp.sqrt(1 - rho**2)) / (2 * sp.pi), angle / (2 * sp.pi)

    def check() -> Verdict:
        """An angle has several names: these agree where their slopes and one value do."""
        value, slope = kappa - stated[0], kappa_dot - stated[1]
        starts = value, value.diff(COV), slope
        square = kappa.subs({VAR_U: 1, VAR_V: 1, COV: 1})
        return vanishing(
            value.diff(COV, 2),
            slope.diff(COV),
            *(start.subs(COV, 0) for start in starts),
            1 / square - 2,
        )

    return Claim(
        name="arc-cosine kernels, relu",
        statement="At correlation rho and deviations a and b, E[s(u) s(v)] is "
        "a b (rho (pi - acos rho) + sqrt(1 - rho^2)) / (2 pi) and E[s'(u) s'(v)] is "
        "(pi - acos rho) / (2 pi); 1 / E[s(x)^2] of a standard normal x is 2.",
        source="Cho, Saul 2009, Kernel methods for deep learning; arXiv:1904.11955, section 3",
        check=check,
        formulas=tuple(mathml(expression) for expression in stated),
    )


def limit_claim(name: str, symbol: str, expectation: sp.Expr, function: HalfPowers) -> Claim:
    """The claim that an expectation of half powers has its one-dimensional limits, exactly."""
    return Claim(
        name=f"one-dimensional limits of {symbol}, {name}",
        statement=f"At correlation 1, 0, -1, {symbol} is E[f(x)^2], E[f(x)]^2, E[f(x) f(-x)] of a "
        f"standard normal x, times (var_u var_v)^(k/2) for f of degree k.",
        source="u = v, independence, u = -v; one-dimensional Gaussian integrals",
        check=lambda: _check_limits(expectation, function),
    )


def _check_limits(expectation: sp.Expr, function: HalfPowers) -> Verdict:
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


def measured_limit_claim(
    name: str, symbol: str, expectation: sp.Expr, function: sp.Expr, x: sp.Symbol
) -> Claim:
    """The claim that an expectation of f has its one-dimensional limits, in 30 digits."""
    return Claim(
        name=f"one-dimensional limits of {symbol}, {name}",
        statement=f"At correlation 1, 0, -1 and standard normal x, {symbol} is E[f(a x) f(b x)], "
        f"E[f(a x)] E[f(b x)], E[f(a x) f(-b x)] for deviations a and b.",
        source="u = v, independence, u = -v; one-dimensional Gaussian integrals",
        check=lambda: _measure_limits(expectation, function, x),
    )


def _measure_limits(expectation: sp.Expr, function: sp.Expr, x: sp.Symbol) -> Verdict:
    """The worst error relative to 1 + the value, over correlations and variances."""
    f = sp.lambdify(x, function, "mpmath")
    value = sp.lambdify((VAR_U, VAR_V, COV), expectation, "mpmath")
    errors = []
    with mpmath.workdps(DIGITS):
        for (var_u, var_v), correlation in itertools.product(VARIANCES, (1, 0, -1)):
            a, b = (mpmath.sqrt(mpmath.mpf(int(v.p)) / int(v.q)) for v in (var_u, var_v))
            limit = _one_dimensional(f, a, b, correlation)
            found = value(a * a, b * b, correlation * a * b)
            errors.append(float(abs(found - limit) / (1 + abs(limit))))
    worst = max(errors)
    return Verdict(
        passed=worst < BOUND,
        kind="measured",
        measured=f"largest relative error {worst:.1e}",
        expected=f"below {BOUND:.0e}",
        numbers={"largest relative error": worst},
    )


def _one_dimensional(f: Callable, a: object, b: object, correlation: int) -> object:
    if correlation == 0:
        return _mean(lambda z: f(a * z)) * _mean(lambda z: f(b * z))
    return _mean(lambda z: f(a * z) * f(correlation * b * z))


def _mean(integrand: Callable) -> object:
    """E[g(z)] of a standard normal z, by the trapezoidal rule: error below 1e-25 for entire g.

    Truncated at 16 deviations, where even e^{3.5 z} times the density is below 1e-30.
    """
    step, reach = mpmath.mpf(1) / 8, 128
    points = (step * k for k in range(-reach, reach + 1))
    return step * mpmath.fsum(mpmath.npdf(z) * integrand(z) for z in points)
