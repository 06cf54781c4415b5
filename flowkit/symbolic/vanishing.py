"""Proofs that expressions vanish: a number refutes, only algebra proves."""

import functools
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import mpmath
import sympy as sp
from sympy.core.function import AppliedUndef

from flowkit.claim import Verdict

POINTS = 2  # a wrong formula is wrong almost everywhere; the second is for singular ones
DIGITS = 40
CLEAR = 1e-12  # of the largest term, or of 1: 40 digits leave less of a difference that is zero
SLOW = (sp.Integral, sp.Sum, sp.Product, sp.Limit)
# What SymPy and mpmath raise where an expression has no number (a matrix inside, a function that
# mpmath lacks, a pole): then nothing is refuted, and `simplify` has to decide.
UNKNOWN = (ArithmeticError, AttributeError, NameError, NotImplementedError, TypeError, ValueError)

Number = Any  # of mpmath, which has no annotations
Point = Mapping[sp.Symbol, sp.Rational]


def vanishing(*defects: sp.Expr) -> Verdict:
    """A proof that expressions simplify to zero, or where the first of the others does not.

    `simplify` may take minutes over an expression that is not zero. So every defect is evaluated
    first, and one that is clearly not zero has failed; one that may be is left to `simplify`.
    """
    found = next(filter(None, map(counterexample, map(sp.sympify, defects))), None)
    left = [] if found else [sp.simplify(defect) for defect in defects]
    return Verdict(
        passed=found is None and all(defect == 0 for defect in left),
        kind="proved",
        measured=f"defect {found}" if found else "defects " + ", ".join(map(str, left)),
        expected="defects " + ", ".join("0" for _ in defects),
    )


def vanishes(defect: sp.Expr) -> bool:
    """Whether an expression simplifies to zero; at once where it clearly does not."""
    return vanishing(defect).passed


def counterexample(defect: sp.Expr) -> str | None:
    """A point at which an expression is clearly not zero, in words; None where none was found.

    Symbols are drawn as they are declared (positive, integer, ..), functions that are not defined
    become sines. None is no proof: the expression may vanish, or be singular or tiny at the points.
    """
    defect = _without_undefined(defect)
    symbols = sorted(defect.free_symbols, key=lambda symbol: symbol.name)
    if not all(isinstance(symbol, sp.Symbol) for symbol in symbols):
        return None
    terms, draw = sp.Add.make_args(defect), random.Random(0)
    for _ in range(POINTS):
        point = {symbol: _drawn(symbol, draw) for symbol in symbols}
        values = _values(terms, point)
        with mpmath.workdps(DIGITS):
            total = mpmath.fsum(values)
        if values and abs(total) > CLEAR * max(1, *map(abs, values)):
            where = ", ".join(f"{symbol} = {number}" for symbol, number in point.items())
            return f"{mpmath.nstr(total, 5)} at {where}" if where else f"{mpmath.nstr(total, 5)}"
    return None


def _without_undefined(defect: sp.Expr) -> sp.Expr:
    """With sin(x + 2 y + ..) + 2 for each f(x, y, ..): positive, and no two derivatives alike."""
    kinds = sorted({applied.func for applied in defect.atoms(AppliedUndef)}, key=str)
    stood_in = functools.reduce(
        lambda e, each: e.replace(each[1], _stand_in(each[0])), enumerate(kinds), defect
    )
    return stood_in.doit() if kinds else defect


def _stand_in(place: int) -> Callable[..., sp.Expr]:
    phase = sp.Rational(place + 1, 3)
    return lambda *args: 2 + sp.sin(phase + sp.Add(*(n * x for n, x in enumerate(args, 1))))


def _drawn(symbol: sp.Symbol, draw: random.Random) -> sp.Rational:
    if symbol.is_integer:
        odd = draw.random() < 0.5 if symbol.is_odd is None else symbol.is_odd
        size = sp.Integer(2 * draw.randint(1, 3) + int(odd))
    else:
        size = sp.Rational(draw.randint(5, 40), draw.choice((11, 13, 17, 19)))
    may_be_negative = symbol.is_nonnegative is None and symbol.is_positive is None
    return -size if symbol.is_nonpositive or (may_be_negative and draw.random() < 0.5) else size


def _values(terms: Sequence[sp.Expr], point: Point) -> list[Number]:
    """The values of all terms in DIGITS digits; none where one is no finite number."""
    if any(term.has(*SLOW) for term in terms):
        return []
    try:
        function = sp.lambdify(list(point), terms, "mpmath", cse=True)
        with mpmath.workdps(DIGITS):
            values = function(*(mpmath.mpf(int(x.p)) / int(x.q) for x in point.values()))
            return list(values) if all(map(mpmath.isfinite, values)) else []
    except UNKNOWN:
        return []
