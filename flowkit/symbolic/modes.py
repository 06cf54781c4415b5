"""The trajectory of one mode as an object, and what it claims."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import sympy as sp

from flowkit.claim import Claim, Verdict
from flowkit.symbolic.derivation import TIME, dotted, mathml, vanishing
from flowkit.symbolic.separation import START, TARGET, VALUE, slope

SOURCE = "arXiv:1905.13655, Theorem 3"
DIGITS = 30  # of the numbers below, so that their differences are no rounding
AGREEMENT = 1e-25  # relative; DIGITS less what differences of times lose
INTEGERS = (3, 4, 6)  # SymPy takes long over the fifth roots of unity
FAR = tuple(2**power for power in range(6, 13))  # depths on the way to the limit
SLOPE_TOLERANCE = 0.05  # the next order, 1/N^2, bends the slope by about 1 / FAR[0]
AT = sp.Integer(2)  # the target S
POINTS = (  # (s_0, s), on either side of it
    (sp.Rational(1, 10), sp.Integer(1)),
    (sp.Rational(9, 2), sp.Integer(3)),
)


@dataclass(frozen=True)
class ModeSolution:
    """The trajectory of one mode in closed form.

    Attributes:
        depth: The number of factors N: an integer, a symbol, or `oo`.
        rate: ds/dt in the symbols s and S, and N where it is one; ds/d(N t) for infinite depth.
        time: The time t from s_0 to s, in the symbols s, s_0 and S; for infinite depth the limit
            of N t. Valid on either side of S; for a symbolic N the sides are cases.
        value: s(t) in the symbols t, s_0 and S, where there is an explicit one, else None.
        source: Where the solution is published.
        claims: The solution's defining properties, each with a check.
    """

    depth: int | sp.Expr
    rate: sp.Expr
    time: sp.Expr
    value: sp.Expr | None
    source: str
    claims: tuple[Claim, ...] = field(default=(), compare=False, repr=False)

    @property
    def name(self) -> str:
        """What was solved."""
        return f"mode solution, depth {self.depth}"

    @property
    def equations(self) -> tuple[sp.Eq, ...]:
        """The rate ds/dt, the time t(s), and s(t) where there is one."""
        pairs = [(dotted(VALUE), self.rate), (TIME, self.time), (VALUE, self.value)]
        return tuple(sp.Eq(*pair, evaluate=False) for pair in pairs if pair[1] is not None)

    @property
    def times(self) -> tuple[sp.Expr, ...]:
        """The time without its cases: one expression for both sides of S, or one for each."""
        cases = isinstance(self.time, sp.Piecewise)
        return tuple(case.expr for case in self.time.args) if cases else (self.time,)


Solve = Callable[[int | sp.Expr], ModeSolution]


def separation_claim(solution: ModeSolution) -> Claim:
    """The claim that t(s) is the antiderivative of 1 / rate that vanishes at s_0."""
    slopes = [lambda time=time: slope(time) * solution.rate - 1 for time in solution.times]
    starts = [time.subs(VALUE, START) for time in solution.times]
    return Claim(
        name=f"t(s) differentiates back, depth {solution.depth}",
        statement="The derivative of t(s) is 1 / (ds/dt), and t(s_0) = 0.",
        source=SOURCE,
        check=lambda: vanishing(*(defect() for defect in slopes), *starts),
        formulas=(
            mathml(solution.rate, rate_of=VALUE),
            *(mathml(sp.Eq(TIME, time)) for time in solution.times),
        ),
    )


def value_claim(solution: ModeSolution, value: sp.Expr) -> Claim:
    """The claim that s(t) solves the flow and begins at s_0."""
    return Claim(
        name=f"s(t) solves the flow, depth {solution.depth}",
        statement="s(t) has the rate of the flow, and s(0) = s_0.",
        source=SOURCE,
        check=lambda: vanishing(
            sp.diff(value, TIME) - solution.rate.subs(VALUE, value), _at_start(value) - START
        ),
        formulas=(mathml(sp.Eq(VALUE, value)),),
    )


def _at_start(value: sp.Expr) -> sp.Expr:
    """s(0), where W(w e^w) is w because w = S/s_0 - 1 > -1; any other argument of W stays."""
    w = TARGET / START - 1
    undo = lambda z: w if sp.simplify(z - w * sp.exp(w)) == 0 else sp.LambertW(z)
    return value.subs(TIME, 0).replace(sp.LambertW, undo)


def reduction_claim(general: ModeSolution, solve: Solve) -> Claim:
    """The claim that the hypergeometric time is the elementary one at integer depths."""

    def check() -> Verdict:
        errors = {
            f"depth {depth}, s_0 = {start}": abs(
                1 - _number(general, depth, start, end) / _number(solve(depth), depth, start, end)
            )
            for depth in INTEGERS
            for start, end in POINTS
        }
        worst = max(errors.values())
        return Verdict(
            passed=bool(worst <= AGREEMENT),
            kind="measured",
            measured=f"relative difference {float(worst):.1e} in {DIGITS}-digit arithmetic",
            expected=f"at most {AGREEMENT:.0e}",
            numbers={name: float(error) for name, error in errors.items()},
        )

    return Claim(
        name="general depth reduces to integer depths",
        statement=f"2F1 gives the elementary times of N = {INTEGERS}, on both sides of S.",
        source=SOURCE,
        check=check,
    )


def limit_claim(general: ModeSolution, solve: Solve) -> Claim:
    """The claim that N t at fixed s tends to the time of infinite depth like 1/N."""

    def check() -> Verdict:
        slopes = [_slope_of_errors(general, solve(sp.oo), *ends) for ends in POINTS]
        worst = max(abs(value + 1) for value in slopes)
        return Verdict(
            passed=bool(worst <= SLOPE_TOLERANCE),
            kind="measured",
            measured=f"slopes {slopes[0]:.4f} below and {slopes[1]:.4f} above the target",
            expected=f"-1 within {SLOPE_TOLERANCE}",
            numbers={"slope below": slopes[0], "slope above": slopes[1]},
        )

    return Claim(
        name="infinite depth is the limit of N t",
        statement="|N t_N(s) - t_oo(s)| falls as 1/N at fixed s.",
        source=SOURCE,
        check=check,
    )


def _slope_of_errors(
    general: ModeSolution, limit: ModeSolution, start: sp.Expr, end: sp.Expr
) -> float:
    """The slope of log |N t_N - t_oo| against log N."""
    exact = _number(limit, sp.oo, start, end)
    errors = [abs(N * _number(general, N, start, end) - exact) for N in FAR]
    slope_of_fit, _ = np.polyfit(np.log(FAR), np.log([float(error) for error in errors]), 1)
    return float(slope_of_fit)


def _number(solution: ModeSolution, depth: int | sp.Expr, start: sp.Expr, end: sp.Expr) -> sp.Expr:
    """The time from `start` to `end` at S = AT, to DIGITS digits."""
    at = {VALUE: end, START: start, TARGET: AT}
    if isinstance(solution.depth, sp.Symbol):
        at[solution.depth] = sp.sympify(depth)
    return sp.N(solution.time.subs(at), DIGITS)
