"""A product of two numbers that need not be balanced, in closed form.

Sources: Saxe, McClelland, Ganguli 2014 (arXiv:1312.6120); Tarmoun, Franca, Haeffele, Vidal 2021
(Understanding the dynamics of gradient flow in overparameterized linear models).
"""

from dataclasses import dataclass, field, replace
from functools import cache

import sympy as sp

from flowkit.claim import Claim, Verdict
from flowkit.symbolic.derivation import TIME, Derivation, defined, derive, mathml, vanishing

SOURCE = "Tarmoun et al. 2021, scalar factors; Saxe et al. 2014, arXiv:1312.6120"
U, V, TARGET = sp.symbols("u v s", real=True)
PRODUCT, START = sp.symbols("z z_0", real=True)
IMBALANCE = sp.Symbol("lambda", positive=True)


@dataclass(frozen=True)
class ScalarFactors:
    """The product z = u v under 1/2 (u v - s)^2, for lambda = u^2 - v^2 > 0.

    Attributes:
        factors: The flow of u and v, which conserves u^2 - v^2.
        rate: dz/dt in z, s and lambda.
        speed: w = sqrt(lambda^2 + 4 s^2), the rate at which the solution's exponential grows.
        odds: R(z), which grows as e^{w t} along the flow, in z, s and lambda.
        time: t from z_0 to z, in z, z_0, s and lambda.
        value: z at the time t, in t, z_0, s and lambda.
        source: Where the equation is published.
        claims: What pins them down, each with a check.
    """

    factors: Derivation
    rate: sp.Expr
    speed: sp.Expr
    odds: sp.Expr
    time: sp.Expr
    value: sp.Expr
    source: str
    claims: tuple[Claim, ...] = field(default=(), compare=False, repr=False)

    @property
    def name(self) -> str:
        """What was derived."""
        return "two scalar factors"

    @property
    def equations(self) -> tuple[sp.Eq, ...]:
        """The rate of the product, the time and the product at a time."""
        parts = {r"\dot{z}": self.rate, "t": self.time, "z(t)": self.value}
        return tuple(defined(name, value) for name, value in parts.items())


@cache
def scalar_factors() -> ScalarFactors:
    """Eliminate u and v from the flow of their product, and solve it.

    dz/dt = (u^2 + v^2) (s - z), and (u^2 + v^2)^2 = lambda^2 + 4 z^2. With z = lambda/2 sinh(x)
    and y = e^x the equation is dy/dt = lambda/2 (y_+ - y) (y - y_-), whose roots are
    y_+- = (2 s +- w)/lambda: the odds R = (y - y_-)/(y_+ - y) grow as e^{w t}.

    Returns:
        z(t) and t(z), in flow time of 1/2 the square; for a negative lambda exchange u and v, and
        for lambda = 0 see `mode_solution(2)`.

    Source:
        Tarmoun et al. 2021. Checked by tests/symbolic/test_deep_linear_scalars.py.
    """
    factors = _factors()
    rate = _eliminated(factors)
    y = sp.Symbol("y", positive=True)
    z_of_y = IMBALANCE * (y - 1 / y) / 4
    speed, odds_of_y = _odds(rate, z_of_y, y)
    odds = odds_of_y.subs(y, _grown(PRODUCT))
    start = odds.subs(PRODUCT, START)
    solution = ScalarFactors(
        factors=factors,
        rate=rate,
        speed=speed,
        odds=odds,
        time=sp.log(odds / start) / speed,
        value=_inverted(odds_of_y, z_of_y, y, start, speed),
        source=SOURCE,
    )
    claims = (elimination_claim(solution), time_claim(solution), value_claim(solution))
    return replace(solution, claims=claims)


def _factors() -> Derivation:
    flow = derive((U * V - TARGET) ** 2 / 2, [U, V])
    law = U**2 - V**2
    conserved = Claim(
        name="imbalance of two scalar factors",
        statement="u^2 - v^2 is constant along the flow.",
        source=SOURCE,
        check=lambda: vanishing(_along(law, flow)),
        formulas=(mathml(law),),
    )
    return replace(
        flow,
        name="flow of two scalar factors",
        source=SOURCE,
        conserved=(law,),
        claims=(*flow.claims, conserved),
    )


def _along(expression: sp.Expr, flow: Derivation) -> sp.Expr:
    """The time derivative of a scalar expression along a scalar flow."""
    return sp.Add(
        *(expression.diff(x) * rate for x, rate in zip(flow.state, flow.rates, strict=True))
    )


def _eliminated(factors: Derivation) -> sp.Expr:
    """dz/dt with u^2 and v^2 solved from u v = z and the law u^2 - v^2 = lambda."""
    square = sp.Symbol("q", positive=True)  # u^2, the positive root of q - z^2 / q = lambda
    (law,) = factors.conserved
    equation = sp.numer(sp.together(law.subs(V, PRODUCT / U).subs(U, sp.sqrt(square)) - IMBALANCE))
    root = max(sp.solve(equation, square), key=lambda q: q.subs({PRODUCT: 1, IMBALANCE: 1}))
    rate = sp.factor(_along(U * V, factors)).subs(V, PRODUCT / U).subs(U, sp.sqrt(square))
    return sp.factor(sp.radsimp(sp.simplify(rate.subs(square, root))))


def _grown(z: sp.Expr) -> sp.Expr:
    """The y = e^x at which z is lambda/2 sinh(x)."""
    return (2 * z + sp.sqrt(IMBALANCE**2 + 4 * z**2)) / IMBALANCE


def whole_roots(expression: sp.Expr) -> sp.Expr:
    """The expression with its square roots taken of factored arguments, where squares show."""
    is_root = lambda e: isinstance(e, sp.Pow) and abs(e.exp) == sp.Rational(1, 2)
    return expression.replace(is_root, lambda e: sp.factor(e.base) ** e.exp)


def _odds(rate: sp.Expr, z_of_y: sp.Expr, y: sp.Symbol) -> tuple[sp.Expr, sp.Expr]:
    """Separate dy/dt, a quadratic in y: the rate of log R, and R = (y - y_-)/(y_+ - y)."""
    moved = whole_roots(rate.subs(PRODUCT, z_of_y)) / z_of_y.diff(y)
    quadratic = sp.Poly(sp.cancel(sp.simplify(moved)), y)
    lower, upper = sorted(sp.roots(quadratic), key=lambda e: e.subs({TARGET: 1, IMBALANCE: 1}))
    speed = sp.simplify(-quadratic.LC() * (upper - lower))
    return speed, (y - lower) / (upper - y)


def _inverted(
    odds: sp.Expr, z_of_y: sp.Expr, y: sp.Symbol, start: sp.Expr, speed: sp.Expr
) -> sp.Expr:
    """z(t), written in 1/R, which decays and cannot overflow; y is linear fractional in it."""
    inverse_odds = sp.Symbol("r", real=True)
    (solved,) = sp.solve(sp.Eq(1 / odds, inverse_odds), y)
    return z_of_y.subs(y, solved).subs(inverse_odds, sp.exp(-speed * TIME) / start)


def elimination_claim(solution: ScalarFactors) -> Claim:
    """The claim that the product obeys an equation of its own, the published one."""
    stated = sp.sqrt(IMBALANCE**2 + 4 * PRODUCT**2) * (TARGET - PRODUCT)

    def check() -> Verdict:
        (law,) = solution.factors.conserved
        in_factors = solution.rate.subs({PRODUCT: U * V, IMBALANCE: law})
        moved = _along(U * V, solution.factors)
        return vanishing(solution.rate - stated, sp.expand(whole_roots(in_factors) - moved))

    return Claim(
        name="flow of a product of two numbers",
        statement="dz/dt = sqrt(lambda^2 + 4 z^2) (s - z), where z = u v and lambda = u^2 - v^2.",
        source=SOURCE,
        check=check,
        formulas=(mathml(solution.rate, rate_of=PRODUCT),),
    )


def time_claim(solution: ScalarFactors) -> Claim:
    """The claim that t(z) differentiates back to the flow."""
    return Claim(
        name="t(z) of two scalar factors differentiates back",
        statement="The derivative of t(z) is 1 / (sqrt(lambda^2 + 4 z^2) (s - z)), and t(z_0) = 0.",
        source=SOURCE,
        check=lambda: vanishing(
            solution.time.diff(PRODUCT) * solution.rate - 1, solution.time.subs(PRODUCT, START)
        ),
        formulas=(mathml(sp.Eq(TIME, solution.time)),),
    )


def value_claim(solution: ScalarFactors) -> Claim:
    """The claim that z(t) solves the flow from z_0."""
    return Claim(
        name="z(t) of two scalar factors",
        statement="dz/dt = sqrt(lambda^2 + 4 z^2) (s - z), and z(0) = z_0.",
        source=SOURCE,
        check=lambda: _check_value(solution),
        formulas=(mathml(sp.Eq(PRODUCT, solution.value)),),
    )


def _check_value(solution: ScalarFactors) -> Verdict:
    """Rationalise: s and z_0 as lambda/2 sinh, and the decay e^{-w t} as 1/(1 + g), g > 0.

    Then lambda^2 + 4 z^2 is the square of a quotient of positive terms, whose root is no choice.
    """
    c, y, g = sp.symbols("c y g", positive=True)
    half_sinh = lambda e: IMBALANCE * (e - 1 / e) / 4
    decay = sp.exp(-solution.speed * TIME)

    def rational(expression: sp.Expr) -> sp.Expr:
        inserted = expression.subs(decay, 1 / (1 + g))
        return sp.factor(whole_roots(inserted.subs({TARGET: half_sinh(c), START: half_sinh(y)})))

    value, moved = rational(solution.value), rational(solution.value.diff(TIME))
    stated = solution.rate.subs({PRODUCT: value, TARGET: half_sinh(c)}, simultaneous=True)
    defect = moved - whole_roots(stated)
    is_rational = defect.is_rational_function(c, y, g, IMBALANCE)
    left = sp.cancel(defect) if is_rational else defect
    start = vanishing(solution.value.subs(TIME, 0) - START)
    return Verdict(
        passed=left == 0 and start.passed,
        kind="proved",
        measured=f"rational: {is_rational}, defect of the rate {left}; start: {start.measured}",
        expected="rational: True, defect of the rate 0; start: defects 0",
    )
