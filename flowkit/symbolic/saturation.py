"""Two singular values that share one measurement: depth starves the weaker.

Source: Arora, Cohen, Hu, Luo 2019 (arXiv:1905.13655): one measurement, singular
vectors that stand still, and gradients in a fixed ratio a = g_r / g_q.
"""

from dataclasses import dataclass, field, replace
from functools import cache

import sympy as sp

from flowkit.claim import Claim, Verdict
from flowkit.symbolic.derivation import defined, mathml, vanishing
from flowkit.symbolic.factorization import singular_value_flow

SOURCE = "Arora, Cohen, Hu, Luo 2019, arXiv:1905.13655"
WEAK, STRONG = sp.symbols("s_r s_q", positive=True)
WEAK_START, STRONG_START = sp.symbols("s_r0 s_q0", positive=True)
RATIO = sp.Symbol("a", positive=True)
PUBLISHED_START, PUBLISHED_RATIO = sp.Rational(1, 10), sp.Rational(3, 5)
PUBLISHED_LIMITS = {3: sp.Rational("1.5625"), 4: sp.Rational("0.625")}


@dataclass(frozen=True)
class TwoCoordinates:
    """The path of two singular values whose gradients are in the ratio a = g_r / g_q.

    Attributes:
        depth: The number of factors N; a symbol stands for N >= 3.
        slope: ds_r/ds_q in s_r, s_q and a.
        primitive: An antiderivative P of s^{2/N-2}; P(s_r) - a P(s_q) is constant.
        value: s_r in s_q, a and the starts s_r0 and s_q0.
        limit: s_r for s_q -> oo, in the same symbols; for a < 1 and N >= 3 a finite number at
            equal starts.
        source: Where the path is published.
        claims: What pins it down, each with a check.
    """

    depth: int | sp.Symbol
    slope: sp.Expr
    primitive: sp.Lambda
    value: sp.Expr
    limit: sp.Expr
    source: str
    claims: tuple[Claim, ...] = field(default=(), compare=False, repr=False)

    @property
    def name(self) -> str:
        """What was derived."""
        return f"two singular values, depth {self.depth}"

    @property
    def equations(self) -> tuple[sp.Eq, ...]:
        """The path, and where it ends."""
        return defined("s_{r}", self.value), defined(r"s_{r}(\infty)", self.limit)


@cache
def two_coordinates(depth: int | sp.Symbol) -> TwoCoordinates:
    """Solve ds_r/ds_q = a (s_r/s_q)^{2-2/N}, the ratio of two singular value flows.

    Separated, s_r^{2/N-2} ds_r = a s_q^{2/N-2} ds_q: with P the power's antiderivative,
    P(s_r) - a P(s_q) keeps its value at the start. P(oo) is infinite for N <= 2, and zero for
    N >= 3: there s_r tends to a limit while s_q grows.

    Args:
        depth: The number of factors N, an integer; or a SymPy symbol, for any N >= 3.

    Returns:
        The path s_r(s_q) from any two positive starts, and its limit; no time is involved.

    Raises:
        ValueError: `depth` is neither a positive integer nor a SymPy symbol.

    Source:
        arXiv:1905.13655. Checked by tests/symbolic/test_deep_linear_saturation.py.
    """
    slope, exponent = _slope(depth)
    primitive = _primitive(exponent)
    kept = (primitive(WEAK_START), -RATIO * primitive(STRONG_START))
    far = _at_infinity(primitive, depth)
    path = TwoCoordinates(
        depth=depth,
        slope=slope,
        primitive=primitive,
        value=_inverse(exponent, *kept, RATIO * primitive(STRONG)),
        limit=sp.oo if far == sp.oo else _inverse(exponent, *kept, RATIO * far),
        source=SOURCE,
    )
    return replace(path, claims=_claims(path))


def _slope(depth: int | sp.Symbol) -> tuple[sp.Expr, sp.Expr]:
    """The ratio of the two rates, and 1 less the power of s_r in it."""
    flow = singular_value_flow(depth)
    (s,), (g,), (rate,) = flow.state, flow.data, flow.rates
    strong = sp.powdenest(rate.subs(s, STRONG))
    weak = sp.powdenest(rate.subs({s: WEAK, g: RATIO * g}, simultaneous=True))
    slope = sp.simplify(weak / strong)
    return slope, sp.simplify(1 - WEAK * slope.diff(WEAK) / slope)


def _primitive(exponent: sp.Expr) -> sp.Lambda:
    """An antiderivative P of s^{exponent - 1}."""
    s = sp.Symbol("s", positive=True)
    return sp.Lambda(s, sp.log(s) if exponent == 0 else s**exponent / exponent)


def _inverse(exponent: sp.Expr, *terms: sp.Expr) -> sp.Expr:
    """The s at which P(s) is the sum of the terms."""
    if exponent == 0:
        return sp.simplify(sp.exp(sp.Add(*terms)))
    return sp.Add(*(sp.simplify(exponent * term) for term in terms)) ** (1 / exponent)


def _at_infinity(primitive: sp.Lambda, depth: int | sp.Symbol) -> sp.Expr:
    """P(oo); a symbolic depth is 3 + k, k = 0, 1, .., so that the sign of the exponent is known."""
    k, s = sp.Symbol("k", integer=True, nonnegative=True), sp.Symbol("s", positive=True)
    value = primitive(s)
    if isinstance(depth, sp.Symbol):
        value = value.subs(depth, k + 3)
        value = value.replace(
            lambda e: isinstance(e, sp.Pow), lambda e: e.base ** sp.factor(sp.together(e.exp))
        )
    return sp.limit(value, s, sp.oo)


def _claims(path: TwoCoordinates) -> tuple[Claim, ...]:
    always = (solution_claim(path), published_claim(path))
    return (*always, saturation_claim(path)) if path.depth in PUBLISHED_LIMITS else always


def solution_claim(path: TwoCoordinates) -> Claim:
    """The claim that the path solves the equation and meets its start."""
    return Claim(
        name=f"path of two singular values, depth {path.depth}",
        statement="ds_r/ds_q = a (s_r/s_q)^{2-2/N} along the path, which meets its start.",
        source=SOURCE,
        check=lambda: _check_solution(path),
        formulas=(mathml(sp.Eq(WEAK, path.value)),),
    )


def _check_solution(path: TwoCoordinates) -> Verdict:
    """Differentiate s_r = b^k with the base b as one positive symbol, so that powers combine."""
    base, power = path.value.as_base_exp()
    b = sp.Symbol("b", positive=True)
    moved = (b**power).diff(b) * base.diff(STRONG)
    slope = sp.powdenest(path.slope.subs(WEAK, b**power), force=True)  # exponents are real
    start = path.value.subs(STRONG, STRONG_START)
    return vanishing(
        sp.simplify(moved / slope).subs(b, base) - 1, sp.powdenest(start, force=True) - WEAK_START
    )


def published_claim(path: TwoCoordinates) -> Claim:
    """The claim that the path has the published form with one constant c."""
    constant = published_constant(path.depth)
    base, power = path.value.as_base_exp()
    b = sp.Symbol("b", positive=True)

    def check() -> Verdict:
        start = constant.subs({WEAK: WEAK_START, STRONG: STRONG_START})
        along = sp.powdenest(constant.subs(WEAK, b**power), force=True).subs(b, base)
        return vanishing(along - start)

    return Claim(
        name=f"published path of two singular values, depth {path.depth}",
        statement="The path is a s_q + c for N = 1, c s_q^a for N = 2 and, for N >= 3, "
        "(a s_q^{-(N-2)/N} + c)^{-N/(N-2)}.",
        source=SOURCE,
        check=check,
        formulas=(mathml(sp.Eq(sp.Symbol("c"), constant)),),
    )


def published_constant(depth: int | sp.Symbol) -> sp.Expr:
    """The constant c of the published path, solved for."""
    if depth == 1:
        return WEAK - RATIO * STRONG
    if depth == 2:
        return WEAK / STRONG**RATIO
    power = -sp.sympify(depth - 2) / depth
    return WEAK**power - RATIO * STRONG**power


def saturation_claim(path: TwoCoordinates) -> Claim:
    """The claim on the limit of the weak value from equal starts of 0.1 at the ratio 0.6."""
    expected = PUBLISHED_LIMITS[path.depth]
    at = {WEAK_START: PUBLISHED_START, STRONG_START: PUBLISHED_START, RATIO: PUBLISHED_RATIO}

    def check() -> Verdict:
        limit, along = path.limit.subs(at), sp.limit(path.value.subs(at), STRONG, sp.oo)
        return Verdict(
            passed=limit == along == expected,
            kind="proved",
            measured=f"limit {limit}, and {along} along the path",
            expected=f"{expected} exactly",
            numbers={"limit": float(limit)},
        )

    return Claim(
        name=f"saturation of the weak singular value, depth {path.depth}",
        statement="From equal starts 0.1 with gradients in the ratio 0.6, the weak singular value "
        f"never exceeds {float(expected)}, however far the strong one grows.",
        source=SOURCE,
        check=check,
        formulas=(mathml(path.limit),),
    )
