"""Gaussian expectations of smooth functions: generating functions, integration by parts, Price.

A term c x^n exp(a x^2 + b x) erf(k x) is closed under all that is needed. Its exponential is
absorbed by completing the square; E[u h] = E[u] E[h] + var_u E[dh/du] + cov E[dh/dv] then lowers
the powers; and what is left, E[erf(k u) erf(l v)], follows from Price's theorem.

Sources: Price 1958 (A useful theorem for nonlinear devices having Gaussian inputs); Stein 1981
(Estimation of the mean of a multivariate normal distribution), Lemma 1; Williams 1997 (Computing
with infinite networks) for the arc sine.
"""

from collections import defaultdict
from dataclasses import dataclass

import sympy as sp

from flowkit.symbolic.gaussian import COV, Gaussian


class NotElementaryError(ValueError):
    """A function that is no sum of terms c x^n exp(a x^2 + b x) erf(k x), a <= 0."""


@dataclass(frozen=True)
class Term:
    """coefficient * x^degree * exp(square x^2 + linear x) * erf(rate x); rate 0: without erf."""

    coefficient: sp.Expr = sp.S.One
    degree: int = 0
    square: sp.Expr = sp.S.Zero
    linear: sp.Expr = sp.S.Zero
    rate: sp.Expr = sp.S.Zero


def smooth_expectation(function: sp.Expr, x: sp.Symbol) -> sp.Expr:
    """E[f(u) f(v)] in the symbols var_u, var_v and cov.

    Args:
        function: f as an expression in `x`: a linear combination of products of powers, erf(k x),
            sines, cosines and exponentials of quadratics, with real constants.
        x: Its symbol.

    Returns:
        The expectation, pairs of exponentials written as hyperbolic functions of the covariance.

    Raises:
        NotElementaryError: `function` is no such combination; the message names the term.

    Source:
        See the module. Checked by tests/symbolic/test_duals_generating.py.
    """
    terms, factors = terms_of(function, x), defaultdict(lambda: sp.S.Zero)
    for first in terms:
        for second in terms:
            exponent, factor = _pair(first, second)
            factors[exponent] += factor
    tidy = {exponent: _tidied(factor) for exponent, factor in factors.items()}
    return _hyperbolic(tidy)


def terms_of(function: sp.Expr, x: sp.Symbol) -> tuple[Term, ...]:
    """Split a function of `x` into terms; sines and cosines become complex exponentials."""
    exponential = (sp.sin, sp.cos, sp.sinh, sp.cosh)
    rewritten = function.rewrite(exponential, sp.exp).rewrite(sp.erfc, sp.erf)
    summands = sp.Add.make_args(sp.expand(rewritten))
    return tuple(_term(summand, x) for summand in summands if summand != 0)


def _term(summand: sp.Expr, x: sp.Symbol) -> Term:
    coefficient, rest = summand.as_independent(x, as_Add=False)
    degree, exponent, rate = 0, sp.S.Zero, sp.S.Zero
    for factor in sp.Mul.make_args(rest):
        base, power = factor.as_base_exp()
        if base == x and power.is_Integer and power > 0:
            degree += int(power)
        elif isinstance(factor, sp.exp):
            exponent += factor.exp
        elif isinstance(factor, sp.erf) and rate == 0 and not (factor.args[0] / x).has(x):
            rate = factor.args[0] / x
        elif factor != 1:
            raise NotElementaryError(f"Cannot integrate `{summand}` against a Gaussian.")
    return Term(coefficient, degree, *_quadratic(exponent, x), rate)


def _quadratic(exponent: sp.Expr, x: sp.Symbol) -> tuple[sp.Expr, sp.Expr]:
    """The a and b of a x^2 + b x, a <= 0."""
    polynomial = sp.Poly(exponent, x) if exponent.is_polynomial(x) else None
    if polynomial is None or polynomial.degree() > 2 or polynomial.coeff_monomial(x**2).is_positive:
        raise NotElementaryError(f"Cannot integrate `exp({exponent})` against every Gaussian.")
    return polynomial.coeff_monomial(x**2), polynomial.coeff_monomial(x)


def _pair(first: Term, second: Term) -> tuple[sp.Expr, sp.Expr]:
    """Exponent and factor of E[first(u) second(v)]."""
    scale, exponent, law = Gaussian().tilted(
        first.square, first.linear, second.square, second.linear
    )
    mean = _moment(first.degree, second.degree, first.rate, second.rate, law)
    return exponent, first.coefficient * second.coefficient * scale * mean


def _moment(m: int, n: int, k: sp.Expr, l: sp.Expr, law: Gaussian) -> sp.Expr:
    """E[u^m v^n erf(k u) erf(l v)], by parts; a rate of 0 stands for a missing factor."""
    if m == n == 0:
        return _error_moment(k, l, law)
    if m == 0:
        return _moment(n, m, l, k, law.swapped)
    total = law.mean_u * _moment(m - 1, n, k, l, law)
    if m > 1:
        total += (m - 1) * law.uu * _moment(m - 2, n, k, l, law)
    if n > 0:
        total += n * law.uv * _moment(m - 1, n - 1, k, l, law)
    if k != 0:
        total += law.uu * _derivative_moment(m - 1, n, k, l, law)
    if l != 0:
        total += law.uv * _derivative_moment(n, m - 1, l, k, law.swapped)
    return total


def _derivative_moment(m: int, n: int, k: sp.Expr, l: sp.Expr, law: Gaussian) -> sp.Expr:
    """E[u^m v^n erf'(k u) erf(l v)], where erf'(k u) = (2 k / sqrt(pi)) e^{-k^2 u^2}."""
    _require_centred(law)
    scale, _, tilted = law.tilted(-(k**2), sp.S.Zero, sp.S.Zero, sp.S.Zero)
    return 2 * k / sp.sqrt(sp.pi) * scale * _moment(m, n, sp.S.Zero, l, tilted)


def _error_moment(k: sp.Expr, l: sp.Expr, law: Gaussian) -> sp.Expr:
    """E[erf(k u) erf(l v)] of a centred pair; a single erf is odd, and has mean zero.

    By Price's theorem its derivative by the covariance t is E[erf'(k u) erf'(l v)] =
    2 q / (pi sqrt(p - q^2 t^2)), q = 2 k l, p = (1 + 2 k^2 var_u)(1 + 2 l^2 var_v), and at t = 0
    it is zero. In w = q t / sqrt(p - q^2 t^2) this is the integral of 2 / (pi (1 + w^2)) from 0:
    the published arc sine as an arc tangent, which keeps its digits at high correlations.
    """
    if k == 0 and l == 0:
        return sp.S.One
    _require_centred(law)
    if k == 0 or l == 0:
        return sp.S.Zero
    w = sp.Symbol("w", real=True)
    integral = sp.integrate(2 / (sp.pi * (1 + w**2)), w)
    root, _, _ = law.tilted(-(k**2), sp.S.Zero, -(l**2), sp.S.Zero)  # 1 / sqrt(p - q^2 t^2)
    return integral.subs(w, 2 * k * l * law.uv * root)


def _require_centred(law: Gaussian) -> None:
    if not law.centred:
        raise NotElementaryError("Cannot integrate erf(k x) times exp(b x) against a Gaussian.")


def _tidied(factor: sp.Expr) -> sp.Expr:
    """Collect the arc tangents and the square roots, and factor what multiplies each.

    What stands under a root is named, or its sign would be lost in a factor; a half-integer power
    of it is the root times a whole power.
    """
    halves = {p.base for p in factor.atoms(sp.Pow) if p.exp.is_Rational and p.exp.q == 2}
    squares = {base: sp.Dummy("square", positive=True) for base in halves if base.free_symbols}
    roots = {square: sp.Dummy("root") for square in squares.values()}
    angles = {angle: sp.Dummy("angle") for angle in factor.atoms(sp.atan)}
    named = (
        factor.subs(angles)
        .subs(squares)
        .replace(
            lambda e: e.is_Pow and e.base in roots and not e.exp.is_Integer,
            lambda e: roots[e.base] * e.base ** (e.exp - sp.S.Half),
        )
    )
    symbols = (*roots.values(), *angles.values())
    parts = sp.collect(sp.expand(named), symbols, evaluate=False)
    known = {square: base for base, square in squares.items()}
    signed = {sp.expand(-base): -square for base, square in squares.items()} | squares
    tidied = sp.Add(*(sp.factor(c.subs(known)).subs(signed) * part for part, c in parts.items()))
    back = {root: sp.sqrt(square) for square, root in roots.items()}
    back |= {symbol: angle for angle, symbol in angles.items()}
    return tidied.subs(back).subs(known)


def _hyperbolic(factors: dict[sp.Expr, sp.Expr]) -> sp.Expr:
    """Sum factor e^exponent, a pair p e^{A+B} + q e^{A-B} as e^A ((p+q) cosh B + (p-q) sinh B).

    The two of a pair differ by the sign of the covariance. The difference of its exponentials
    would cancel for small covariances.
    """
    total, left = sp.S.Zero, dict(factors)
    while left:
        exponent, plus = left.popitem()
        partner = exponent.subs(COV, -COV)
        if partner == exponent or partner not in left:
            total += plus * sp.exp(exponent)
            continue
        minus = left.pop(partner)
        middle, half = sp.expand(exponent + partner) / 2, sp.expand(exponent - partner) / 2
        total += sp.exp(middle) * _sum(plus, minus) * sp.cosh(half)
        total += sp.exp(middle) * _sum(plus, -minus) * sp.sinh(half)
    return total


def _sum(first: sp.Expr, second: sp.Expr) -> sp.Expr:
    return sp.factor_terms(sp.expand(first + second))
