"""Closed forms of one mode of a deep linear factorization.

A mode with balanced layers and target S follows ds/dt = N s^{2-2/N} (S - s) under the loss
1/2 (s - S)^2 (Arora, Cohen, Hu, Luo 2019, arXiv:1905.13655, Theorem 3; Saxe et al. 2014 for N = 2).
"""

from dataclasses import replace
from functools import lru_cache

import sympy as sp

from flowkit.claim import Claim
from flowkit.symbolic.derivation import TIME
from flowkit.symbolic.factorization import singular_value_flow
from flowkit.symbolic.mode_forms import clock_claim, forms_claim
from flowkit.symbolic.modes import (
    ModeSolution,
    limit_claim,
    reduction_claim,
    separation_claim,
    value_claim,
)
from flowkit.symbolic.separation import (
    START,
    TARGET,
    VALUE,
    hypergeometric_primitives,
    limit_primitive,
    rational_primitive,
    same_side,
)

ELEMENTARY_DEPTH = 2  # beyond it, t(s) mixes powers with logarithms and has no elementary inverse
SOURCE = "arXiv:1905.13655, Theorem 3, integrated; N = 2: Saxe et al. 2014, arXiv:1312.6120"


@lru_cache(maxsize=None, typed=True)  # typed: 2.0 is refused even where 2 is known
def mode_solution(depth: int | sp.Expr) -> ModeSolution:
    """Solve ds/dt = N s^{2-2/N} (S - s), the flow of 1/2 (s - S)^2, by separation of variables.

    Args:
        depth: The number of factors N: a positive integer, a SymPy symbol for any real N > 1 but
            2, or `sympy.oo` for the limit in which N t is the time.

    Returns:
        t(s) for every depth, and s(t) for depths 1 and 2 and, by Lambert's W, for infinite depth.
        Time is flow time for 1/2 the square; a mean over m entries slows it by 2/m.

    Raises:
        ValueError: `depth` is neither a positive integer, nor a SymPy symbol, nor `oo`.
        ArithmeticError: an antiderivative does not differentiate back to the integrand.

    Source:
        arXiv:1905.13655, Theorem 3, integrated. Checked by tests/symbolic/test_closed_forms.py.
    """
    _check_depth(depth)
    if depth is sp.oo:
        rate, time, value = _solve_limit()
    elif isinstance(depth, sp.Symbol):
        rate, time, value = _solve_general(depth)
    else:
        rate, time, value = _solve_integer(depth)
    solution = ModeSolution(depth=depth, rate=rate, time=time, value=value, source=SOURCE)
    return replace(solution, claims=solution_claims(solution))


def solution_claims(solution: ModeSolution) -> tuple[Claim, ...]:
    """What a solution claims, read off the object that is handed out.

    Args:
        solution: A solution, whose own claims play no part.

    Returns:
        For an integer depth, how fast a mean of squares is trained; that rate and solution are as
        published; that t(s) differentiates back; that s(t) solves the flow, where there is one;
        and that a symbolic depth agrees with integer and infinite ones.
    """
    clock = (clock_claim(solution.depth),) if isinstance(solution.depth, int) else ()
    claims = (*clock, forms_claim(solution), separation_claim(solution))
    if solution.value is not None:
        claims += (value_claim(solution, solution.value),)
    if isinstance(solution.depth, sp.Symbol):
        claims += (reduction_claim(solution, mode_solution), limit_claim(solution, mode_solution))
    return claims


def _check_depth(depth: object) -> None:
    whole = isinstance(depth, int) and not isinstance(depth, bool) and depth >= 1
    if not whole and not isinstance(depth, sp.Symbol) and depth is not sp.oo:
        raise ValueError(
            f"Argument `depth` must be a positive integer, a SymPy symbol or `oo`, but it is "
            f"`{depth!r}`."
        )


def _rate(depth: int | sp.Symbol) -> sp.Expr:
    """The singular-value flow under the gradient s - S."""
    flow = singular_value_flow(depth)
    (s,), (g,) = flow.state, flow.data
    return flow.rates[0].subs({g: s - TARGET, s: VALUE})


def _between(primitive: sp.Expr) -> sp.Expr:
    return primitive - primitive.subs(VALUE, START)


def _solve_integer(depth: int) -> tuple[sp.Expr, sp.Expr, sp.Expr | None]:
    rate = _rate(depth)
    time = _between(rational_primitive(rate, depth))
    return rate, time, _explicit_value(time, rate) if depth <= ELEMENTARY_DEPTH else None


def _solve_general(depth: sp.Symbol) -> tuple[sp.Expr, sp.Expr, None]:
    rate = _rate(depth)
    below, above = map(_between, hypergeometric_primitives(rate))
    return rate, sp.Piecewise((below, VALUE < TARGET), (above, VALUE > TARGET)), None


def _solve_limit() -> tuple[sp.Expr, sp.Expr, sp.Expr]:
    """Infinite depth: each unit of N t moves the mode by the limit of rate / N."""
    depth = sp.Symbol("N", positive=True)
    rate = sp.factor(sp.limit(_rate(depth) / depth, depth, sp.oo))
    time = _between(limit_primitive(rate))
    return rate, time, _lambert_value(time)


def _explicit_value(time: sp.Expr, rate: sp.Expr) -> sp.Expr:
    """Invert t(s), written in e^{-lambda t}, lambda the decay rate at S: it cannot overflow."""
    decay_rate = -sp.diff(rate, VALUE).subs(VALUE, TARGET)
    decay = sp.Symbol("x", positive=True)
    (value,) = sp.solve(sp.Eq(same_side(time), -sp.log(decay) / decay_rate), VALUE)
    return sp.cancel(value).subs(decay, sp.exp(-decay_rate * TIME))


def _lambert_value(time: sp.Expr) -> sp.Expr:
    """Invert N t(s) at infinite depth by Lambert's W.

    With s = S / (1 + w) the law is w e^w = w_0 e^{w_0} e^{-S^2 t}. Since w > -1 on either side of
    the target (w > 0 below it), w is the principal branch on both.
    """
    w, start = sp.symbols("w w_0", positive=True)
    ratios = {VALUE: TARGET / (1 + w), START: TARGET / (1 + start)}
    elapsed = sp.simplify(same_side(time).subs(ratios))
    law = sp.expand(sp.expand_log(TARGET**2 * (elapsed - TIME), force=True))
    (root,) = sp.solve(law, w)
    return (TARGET / (1 + root)).subs(start, TARGET / START - 1)
