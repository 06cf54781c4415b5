"""Expectations in scaled variables, so that numbers stay within their range at any variance."""

from dataclasses import dataclass

import sympy as sp

from flowkit.symbolic.gaussian import COV, GAP, VAR_U, VAR_V

SMALL_U, SMALL_V = sp.symbols("small_u small_v", positive=True)
SCALED_U, SCALED_V = sp.symbols("scaled_u scaled_v", positive=True)
SCALED_COV = sp.Symbol("scaled_cov", real=True)
SCALED_GAP = sp.Symbol("scaled_gap", nonnegative=True)

_SYMBOLS = {
    VAR_U: SCALED_U / SMALL_U**2,
    VAR_V: SCALED_V / SMALL_V**2,
    COV: SCALED_COV / (SMALL_U * SMALL_V),
    GAP: SCALED_GAP / (SMALL_U * SMALL_V) ** 2,
}
_UNSCALED = (sp.exp, sp.sinh, sp.cosh, sp.sin, sp.cos)  # no factor leaves their arguments


@dataclass(frozen=True)
class Scaled:
    """A function of small_u u and small_v v, times powers of these two factors.

    The expectation is small_u^-degrees[0] small_v^-degrees[1] `expression`, where `expression` is
    written in the moments of small_u u and small_v v (symbols scaled_...) and in positive powers of
    both factors; only exponents keep the moments of u and v.
    """

    expression: sp.Expr
    degrees: tuple[int, int]


def scale(expression: sp.Expr) -> Scaled:
    """Draw powers of the factors out of all polynomials, roots and angles of an expression.

    Args:
        expression: In var_u, var_v, cov and gap.

    Returns:
        The same in scaled variables.
    """
    expression, *degrees = _lifted(_visit(expression))
    return Scaled(expression, (degrees[0], degrees[1]))


def _visit(expression: sp.Expr) -> sp.Expr:
    if expression in _SYMBOLS:
        return _SYMBOLS[expression]
    if not expression.args or isinstance(expression, _UNSCALED):
        return expression
    parts = [_visit(argument) for argument in expression.args]
    if expression.is_Add:
        inside, u, v = _lifted(sp.Add(*parts))
        return inside / SMALL_U**u / SMALL_V**v
    if isinstance(expression, sp.atan2):
        degrees = [_degrees(part) for part in parts]
        u, v = (max(d[i] for d in degrees) for i in (0, 1))
        return sp.atan2(*(sp.expand_power_base(p * SMALL_U**u * SMALL_V**v) for p in parts))
    return sp.powsimp(sp.expand_power_base(expression.func(*parts)))


def _lifted(expression: sp.Expr) -> tuple[sp.Expr, int, int]:
    """A sum times the least powers of both factors that leave none of its terms divided by them."""
    terms = [_degrees(term) for term in sp.Add.make_args(expression)]
    u, v = (max(degrees[i] for degrees in terms) for i in (0, 1))
    lifted = [term * SMALL_U**u * SMALL_V**v for term in sp.Add.make_args(expression)]
    return sp.Add(*lifted), u, v


def _degrees(term: sp.Expr) -> tuple[int, int]:
    """By which powers of small_u and small_v a product is divided."""
    powers = term.as_powers_dict()
    return -int(powers[SMALL_U]), -int(powers[SMALL_V])
