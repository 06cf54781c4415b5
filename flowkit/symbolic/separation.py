"""Separation of variables for one mode: antiderivatives of 1 / (ds/dt), differentiated back.

Each function returns t up to a constant, in the symbols s and S. A power series is integrated and
differentiated term by term, so that nothing rests on a table of hypergeometric identities.
"""

import sympy as sp

VALUE = sp.Symbol("s", positive=True)
START = sp.Symbol("s_0", positive=True)
TARGET = sp.Symbol("S", positive=True)

_INDEX = sp.Symbol("k", integer=True, nonnegative=True)
_GEOMETRIC = (  # the terms of 1 / (S - s), below the target and above it
    VALUE**_INDEX / TARGET ** (_INDEX + 1),
    -(TARGET**_INDEX) / VALUE ** (_INDEX + 1),
)


def rational_primitive(rate: sp.Expr, depth: int) -> sp.Expr:
    """Antiderivative for an integer depth, by partial fractions in r = (s/S)^{1/N}.

    With s = S r^N the integral is S^{2/N-2} times that of 1 / (r^{N-1} (1 - r^N)), which has no
    parameters: SymPy's integral with a symbolic S loses roots.

    Args:
        rate: ds/dt in the symbols s and S.
        depth: The number of factors N.

    Returns:
        t(s) up to a constant, real on both sides of S.

    Raises:
        ArithmeticError: the antiderivative does not differentiate back.

    Source:
        arXiv:1905.13655, Theorem 3, integrated. Checked by tests/symbolic/test_closed_forms.py.
    """
    r = sp.Symbol("r", positive=True)
    integrand = 1 / (r ** (depth - 1) * (1 - r**depth))
    ratio = (VALUE / TARGET) ** sp.Rational(1, depth)
    scale = TARGET ** (sp.Rational(2, depth) - 2)
    primitive = sp.integrate(sp.apart(integrand), r)
    return _checked(scale * _with_magnitudes(primitive).subs(r, ratio), rate)


def limit_primitive(rate: sp.Expr) -> sp.Expr:
    """Antiderivative for infinite depth, where the rate s^2 (S - s) is a polynomial.

    Args:
        rate: ds/d(N t) in the symbols s and S.

    Returns:
        N t(s) up to a constant, real on both sides of S.

    Raises:
        ArithmeticError: the antiderivative does not differentiate back.
    """
    primitive = sp.integrate(sp.apart(1 / rate, VALUE), VALUE)
    return _checked(_with_magnitudes(primitive), rate)


def hypergeometric_primitives(rate: sp.Expr) -> tuple[sp.Expr, sp.Expr]:
    """Antiderivatives for a symbolic depth N: one for s < S, one for s > S.

    1 / (S - s) is a geometric series in s/S below the target and in S/s above it. Times the power
    s^{2/N-2} / N it is integrated term by term, and the sums are

        s^{2/N-1} / ((2-N) S) 2F1(1, 2/N-1; 2/N; s/S)       for s < S, N != 2,
        s^{2/N-2} / (2 (N-1)) 2F1(1, 2-2/N; 3-2/N; S/s)     for s > S, N != 1.

    Args:
        rate: ds/dt in the symbols s, S and N.

    Returns:
        t(s) up to a constant, below and above the target.

    Raises:
        ArithmeticError: an antiderivative does not differentiate back.

    Source:
        arXiv:1905.13655, Theorem 3, integrated. Checked by tests/symbolic/test_closed_forms.py.
    """
    power = sp.powsimp(sp.simplify((TARGET - VALUE) / rate))
    terms = (_integrate_power(sp.powsimp(power * term)) for term in _GEOMETRIC)
    below, above = (_checked(_sum_as_hypergeometric(term), rate) for term in terms)
    return below, above


def slope(time: sp.Expr) -> sp.Expr:
    """The derivative by s of a time on one side of the target.

    A hypergeometric series is differentiated term by term, and the terms summed again: they are
    those of a geometric series, or the time is no solution.

    Args:
        time: A time in s and further symbols, without cases.

    Returns:
        d(time)/ds.

    Raises:
        ArithmeticError: the derivatives of the terms are no geometric series.
    """
    _, moving = sp.expand_mul(time).as_independent(VALUE, as_Add=True)
    series = moving.atoms(sp.hyper)
    if not series:
        return sp.diff(same_side(moving), VALUE)
    (one,) = series
    power = moving.xreplace({one: one.argument**_INDEX})
    term = sp.diff(sp.powsimp(sp.expand_power_base(power)), VALUE)
    ratio = sp.cancel(_coefficient_ratio(one) * _consecutive_ratio(term))
    if ratio.has(_INDEX):
        raise ArithmeticError(f"The derivatives of the terms have the ratio {ratio}.")
    return term.subs(_INDEX, 0) / (1 - ratio)


def same_side(time: sp.Expr) -> sp.Expr:
    """The same time without absolute values, whose common sign cancels: s stays on s_0's side."""
    return time.replace(sp.Abs, lambda argument: argument)


def _with_magnitudes(primitive: sp.Expr) -> sp.Expr:
    magnitude = lambda logarithm: sp.log(sp.Abs(logarithm.args[0]))
    return primitive.replace(lambda e: isinstance(e, sp.log), magnitude)


def _checked(primitive: sp.Expr, rate: sp.Expr) -> sp.Expr:
    defect = sp.simplify(slope(primitive) * rate - 1)
    if defect != 0:
        raise ArithmeticError(f"The antiderivative `{primitive}` is off by {defect}.")
    return primitive


def _integrate_power(term: sp.Expr) -> sp.Expr:
    """Antiderivative of c s^q for a symbolic q: the case q = -1 is left out."""
    integral = sp.integrate(term, VALUE)
    return integral.replace(lambda e: isinstance(e, sp.Piecewise), lambda e: e.args[0].expr)


def _sum_as_hypergeometric(term: sp.Expr) -> sp.Expr:
    """The sum of terms whose consecutive ratio is rational in k: its roots are the parameters."""
    numerator, denominator = (
        sp.Poly(part, _INDEX) for part in sp.fraction(sp.together(_consecutive_ratio(term)))
    )
    upper, lower = ([-root for root in sp.roots(part)] for part in (numerator, denominator))
    argument = sp.cancel(numerator.LC() / denominator.LC())
    first = sp.factor(sp.powsimp(term.subs(_INDEX, 0)))
    return first * sp.hyper([1, *upper], lower, argument)  # the 1 stands against the k! of 2F1


def _coefficient_ratio(series: sp.Expr) -> sp.Expr:
    """The ratio of consecutive coefficients of pFq, which is its definition."""
    rising = lambda parameters: sp.Mul(*(_INDEX + parameter for parameter in parameters))
    return rising(series.ap) / (rising(series.bq) * (_INDEX + 1))


def _consecutive_ratio(term: sp.Expr) -> sp.Expr:
    return sp.cancel(sp.powsimp(term.subs(_INDEX, _INDEX + 1) / term))
