"""Closed forms of one mode of a deep linear factorization.

A mode with balanced layers and target S follows ds/dt = N s^{2-2/N} (S - s) under the loss
1/2 (s - S)^2 (Arora, Cohen, Hu, Luo 2019, arXiv:1905.13655, Theorem 3; Saxe et al. 2014 for N = 2).
"""

from dataclasses import dataclass, field
from functools import cache

import sympy as sp

from flowkit.claim import Claim
from flowkit.symbolic.derivation import TIME, dotted, mathml, vanishing
from flowkit.symbolic.factorization import singular_value_flow

VALUE = sp.Symbol("s", positive=True)
START = sp.Symbol("s_0", positive=True)
TARGET = sp.Symbol("S", positive=True)
ELEMENTARY_DEPTH = 2  # beyond it, t(s) mixes powers with logarithms and has no elementary inverse


@dataclass(frozen=True)
class ModeSolution:
    """The trajectory of one mode in closed form.

    Attributes:
        depth: The number of factors N.
        rate: ds/dt in the symbols s and S.
        time: The time t from s_0 to s, in the symbols s, s_0 and S; valid on either side of S.
        value: s(t) in the symbols t, s_0 and S, where an elementary one exists, else None.
        source: Where the solution is published.
        claims: The solution's defining properties, each with a check.
    """

    depth: int
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
        """The rate ds/dt, the time t(s), and s(t) where it is elementary."""
        pairs = [(dotted(VALUE), self.rate), (TIME, self.time), (VALUE, self.value)]
        return tuple(sp.Eq(*pair, evaluate=False) for pair in pairs if pair[1] is not None)


@cache
def mode_solution(depth: int) -> ModeSolution:
    """Solve ds/dt = N s^{2-2/N} (S - s), the flow of 1/2 (s - S)^2, by separation of variables.

    With s = S r^N the time is S^{2/N-2} times an antiderivative of 1 / (r^{N-1} (1 - r^N)), a
    rational function without parameters: SymPy's integral with a symbolic S loses roots.

    Args:
        depth: The number of factors N.

    Returns:
        t(s) for every depth, and s(t) for depths 1 and 2. Time is flow time for 1/2 the square;
        a mean over m entries slows it by 2/m.

    Raises:
        ValueError: `depth` is not a positive integer.
        ArithmeticError: the antiderivative does not differentiate back to the integrand.

    Source:
        arXiv:1905.13655, Theorem 3, integrated. Checked by tests/test_symbolic.py.
    """
    flow = singular_value_flow(depth)  # refuses a bad depth
    (s,), (g,) = flow.state, flow.data
    if not isinstance(depth, int):
        raise ValueError(f"Argument `depth` must be a positive integer, but it is `{depth!r}`.")
    rate = flow.rates[0].subs({g: s - TARGET, s: VALUE})
    primitive = _primitive(depth)
    ratio = lambda value: (value / TARGET) ** sp.Rational(1, depth)
    scale = TARGET ** (sp.Rational(2, depth) - 2)
    time = scale * (primitive(ratio(VALUE)) - primitive(ratio(START)))
    value = _explicit_value(time, rate) if depth <= ELEMENTARY_DEPTH else None
    return ModeSolution(
        depth=depth,
        rate=rate,
        time=time,
        value=value,
        source="arXiv:1905.13655, Theorem 3, integrated; N = 2: Saxe et al. 2014, arXiv:1312.6120",
        claims=_claims(depth, rate, time, value),
    )


def _primitive(depth: int) -> sp.Lambda:
    """Antiderivative of 1 / (r^{N-1} (1 - r^N)), real on both sides of r = 1."""
    r = sp.Symbol("r", positive=True)
    integrand = 1 / (r ** (depth - 1) * (1 - r**depth))
    antiderivative = sp.integrate(sp.apart(integrand), r)
    defect = sp.simplify(sp.diff(antiderivative, r) - integrand)
    if defect != 0:
        raise ArithmeticError(f"The antiderivative at depth {depth} is off by {defect}.")
    magnitude = lambda logarithm: sp.log(sp.Abs(logarithm.args[0]))
    return sp.Lambda(r, antiderivative.replace(lambda e: isinstance(e, sp.log), magnitude))


def _same_side(time: sp.Expr) -> sp.Expr:
    """The same time without absolute values, whose common sign cancels: s stays on s_0's side."""
    return time.replace(sp.Abs, lambda argument: argument)


def _explicit_value(time: sp.Expr, rate: sp.Expr) -> sp.Expr:
    """Invert t(s), written in e^{-lambda t}, lambda the decay rate at S: it cannot overflow."""
    decay_rate = -sp.diff(rate, VALUE).subs(VALUE, TARGET)
    decay = sp.Symbol("x", positive=True)
    (value,) = sp.solve(sp.Eq(_same_side(time), -sp.log(decay) / decay_rate), VALUE)
    return sp.cancel(value).subs(decay, sp.exp(-decay_rate * TIME))


def _claims(depth: int, rate: sp.Expr, time: sp.Expr, value: sp.Expr | None) -> tuple[Claim, ...]:
    source = "arXiv:1905.13655, Theorem 3"
    separated = Claim(
        name=f"t(s) differentiates back, depth {depth}",
        statement="The derivative of t(s) is 1 / (N s^{2-2/N} (S - s)), and t(s_0) = 0.",
        source=source,
        check=lambda: vanishing(
            sp.diff(_same_side(time), VALUE) * rate - 1, time.subs(VALUE, START)
        ),
        formulas=(mathml(rate, rate_of=VALUE), mathml(sp.Eq(TIME, time))),
    )
    if value is None:
        return (separated,)
    solved = Claim(
        name=f"s(t) solves the flow, depth {depth}",
        statement="ds/dt = N s^{2-2/N} (S - s), and s(0) = s_0.",
        source=source,
        check=lambda: vanishing(
            sp.diff(value, TIME) - rate.subs(VALUE, value), value.subs(TIME, 0) - START
        ),
        formulas=(mathml(sp.Eq(VALUE, value)),),
    )
    return separated, solved
