"""What is published about one mode, held against what was derived, and the clock it runs on."""

import sympy as sp
from sympy import MatMul, MatrixSymbol

from flowkit.claim import Claim, Verdict
from flowkit.symbolic.derivation import TIME, derive, mathml
from flowkit.symbolic.modes import ModeSolution
from flowkit.symbolic.rewriting import zero_matrices
from flowkit.symbolic.separation import START, TARGET, VALUE, slope
from flowkit.symbolic.vanishing import vanishing

SOURCE = "Saxe et al. 2014, arXiv:1312.6120 (depths 1 and 2); arXiv:1905.13655, Theorem 3"

VALUES = {  # depth -> s(t)
    1: TARGET + (START - TARGET) * sp.exp(-TIME),
    2: TARGET * sp.exp(2 * TARGET * TIME) / (sp.exp(2 * TARGET * TIME) - 1 + TARGET / START),
}
PRIMITIVES = {  # depth -> t(s) up to its value at the start; of N t for infinite depth
    4: -1 / (2 * TARGET * sp.sqrt(VALUE))
    + sp.log((sp.sqrt(TARGET) + sp.sqrt(VALUE)) / (sp.sqrt(TARGET) - sp.sqrt(VALUE)))
    / (4 * TARGET ** sp.Rational(3, 2)),
    sp.oo: sp.log(VALUE / (TARGET - VALUE)) / TARGET**2 - 1 / (TARGET * VALUE),
}


def forms_claim(solution: ModeSolution) -> Claim:
    """The claim that the rate, and s(t) or t(s) where they are published, are as published."""
    stated = published_rate(solution.depth)
    return Claim(
        name=f"published forms of a mode, depth {solution.depth}",
        statement="ds/dt = N s^{2-2/N} (S - s), over N for infinite depth; with the published s(t) "
        "for N = 1 and 2, and t(s) for N = 4 and infinite depth.",
        source=SOURCE,
        check=lambda: _check_forms(solution, stated),
        formulas=(mathml(stated, rate_of=VALUE),),
    )


def published_rate(depth: int | sp.Expr) -> sp.Expr:
    """ds/dt, or ds/d(N t) for infinite depth."""
    if depth is sp.oo:
        return VALUE**2 * (TARGET - VALUE)
    return depth * VALUE ** (2 - sp.Integer(2) / depth) * (TARGET - VALUE)


def _check_forms(solution: ModeSolution, stated: sp.Expr) -> Verdict:
    """Times that agree in their slopes agree: both vanish at the start."""
    defects = [solution.rate - stated]
    if solution.depth in VALUES:
        defects.append(solution.value - VALUES[solution.depth])
    if solution.depth in PRIMITIVES:
        primitive = PRIMITIVES[solution.depth]
        defects += [slope(time) - primitive.diff(VALUE) for time in solution.times]
    return vanishing(*defects)


def clock_claim(depth: int) -> Claim:
    """The claim that training on a mean over m entries runs 2/m times as fast as on 1/2 the sum."""
    return Claim(
        name=f"clock of a mean of squares, depth {depth}",
        statement="The flow of the mean of m squares is 2/m times that of 1/2 their sum.",
        source="definition of the gradient: the losses differ by the factor 2/m",
        check=lambda: check_clock(depth, lambda count: 2 / count),
    )


def check_clock(depth: int, speed) -> Verdict:
    """Hold the rates of both losses, of factors of any sizes, against a ratio of their speeds."""
    sizes = sp.symbols(f"d_0:{depth + 1}", integer=True, positive=True)
    factors = [MatrixSymbol(f"W_{j}", sizes[j], sizes[j - 1]) for j in range(1, depth + 1)]
    count = sizes[0] * sizes[-1]
    residual = MatMul(*reversed(factors)) - MatrixSymbol("Y", sizes[-1], sizes[0])
    total = sp.Trace(residual.T * residual)
    mean, half = derive(total / count, factors), derive(total / 2, factors)
    pairs = zip(mean.rates, half.rates, strict=True)
    return zero_matrices(*(slow - speed(count) * fast for slow, fast in pairs))
