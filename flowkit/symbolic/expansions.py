"""Taylor expansions of flows in the learning rate, from derivatives of fields along directions."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

import sympy as sp
from sympy import MatAdd, MatrixExpr, MatrixSymbol, Trace

from flowkit.symbolic.derivation import TIME, Derivation, Variable
from flowkit.symbolic.gradient import Expression, expand, gradient
from flowkit.symbolic.witness import entries_at_size, flat

ETA = sp.Symbol("eta", positive=True)
"""The learning rate."""

Vector = tuple[Expression, ...]  # one component per state symbol
Series = tuple[Vector, ...]  # coefficients of rising powers of eta


def along(field: Vector, state: Sequence[Variable], direction: Vector) -> Vector:
    """The derivative f'v of a vector field along a direction.

    Matrix fields take two reverse sweeps: u -> f'^T u is linear, so that f'v is the gradient of
    <v, f'^T u> with respect to u. It thus knows every node that `gradient` knows.

    Args:
        field: The components f, in the symbols of the state.
        state: The symbols to differentiate by.
        direction: The component of v for each state symbol.

    Returns:
        The components of f'v.

    Raises:
        UnsupportedExpressionError: a node that depends on the state has no rule.
    """
    pairs = list(zip(state, direction, strict=True))
    if any(component.has(MatrixSymbol) for component in field):
        return tuple(_by_two_sweeps(component, pairs) for component in field)
    return tuple(sp.Add(*(f.diff(s) * v for s, v in pairs)) for f in field)


def _by_two_sweeps(
    component: Expression, pairs: Sequence[tuple[Variable, Expression]]
) -> Expression:
    is_matrix = isinstance(component, MatrixExpr)
    u = MatrixSymbol("_u", *component.shape) if is_matrix else sp.Dummy("u", real=True)
    pulled = gradient(_inner(u, component), [symbol for symbol, _ in pairs])
    paired = sp.Add(*(_inner(v, pulled[symbol]) for symbol, v in pairs))
    return gradient(paired, [u])[u]


def _inner(left: Expression, right: Expression) -> sp.Expr:
    return Trace(left.T * right).doit() if isinstance(right, MatrixExpr) else left * right


def combine(*terms: tuple[sp.Expr | int, Vector]) -> Vector:
    """The sum of coefficient * vector over the terms, expanded."""
    columns = zip(*([c * entry for entry in vector] for c, vector in terms), strict=True)
    return tuple(
        expand(MatAdd(*column)) if isinstance(column[0], MatrixExpr) else sp.expand(sp.Add(*column))
        for column in columns
    )


def elementary_differentials(
    field: Vector, state: Sequence[Variable], order: int
) -> tuple[tuple[Vector, ...], ...]:
    """The elementary differentials of a field with up to order + 1 factors of it, by order.

    Order 0: f. Order 1: f'f. Order 2: f''(f, f) and f'f'f.

    Args:
        field: The field f.
        state: Its symbols.
        order: 0, 1 or 2.

    Returns:
        A tuple of vectors for each order.

    Source:
        Hairer, Lubich, Wanner 2006, "Geometric numerical integration", III.1. Checked by
        tests/symbolic/test_training_modified.py.
    """
    levels: list[tuple[Vector, ...]] = [(field,)]
    bend = along(field, state, field) if order >= 1 else field
    if order >= 1:
        levels.append((bend,))
    if order >= 2:
        pull = along(field, state, bend)
        twist = along(bend, state, field)  # f''(f, f) + f'f'f
        levels.append((combine((1, twist), (-1, pull)), pull))
    return tuple(levels)


def displacement(rates: Series, state: Sequence[Variable], sign: int = 1) -> Series:
    """Taylor coefficients in eta of phi(y) - y, phi being the flow over the time +eta or -eta.

    phi(y) - y = sum_k (sign eta)^k / k! D^{k-1} F with D the derivative along F, where the rate
    F = F_0 + eta F_1 + ... depends on eta itself.

    Args:
        rates: The coefficients F_0, F_1, ... of the rate.
        state: Its symbols.
        sign: 1 for the flow ahead, -1 for the flow back.

    Returns:
        The coefficients of eta^1, eta^2, ..., as many as `rates` has.

    Source:
        The Lie series; Hairer, Lubich, Wanner 2006, III.5. Checked by
        tests/symbolic/test_training_modified.py.
    """
    lie = [rates]
    while len(lie) < len(rates):
        lie.append(_derivative_along(lie[-1][:-1], rates, state))
    weight = lambda k: sp.Rational(sign**k, sp.factorial(k))
    return tuple(
        combine(*((weight(k), lie[k - 1][n - k]) for k in range(1, n + 1)))
        for n in range(1, len(rates) + 1)
    )


def _derivative_along(series: Series, rates: Series, state: Sequence[Variable]) -> Series:
    """The derivative of a series along a series of rates: a Cauchy product."""
    return tuple(
        combine(*((1, along(series[i], state, rates[n - i])) for i in range(n + 1)))
        for n in range(len(series))
    )


def coefficients(rates: Vector, length: int) -> Series:
    """The coefficients of eta^0, eta^1, ... of scalar rates that are polynomials in eta."""
    expanded = [sp.expand(rate) for rate in rates]
    return tuple(tuple(rate.coeff(ETA, power) for rate in expanded) for power in range(length))


def autonomous(flow: Derivation) -> Derivation:
    """The flow with time as one more state symbol, of rate one, if its rates depend on it."""
    if not any(rate.has(TIME) for rate in flow.rates):
        return flow
    return replace(flow, state=(*flow.state, TIME), rates=(*flow.rates, sp.Integer(1)))


def entrywise(flow: Derivation, size: int) -> Derivation:
    """The flow of the single entries, every symbolic size of a matrix being fixed.

    Args:
        flow: A flow of matrices and scalars.
        size: What each symbolic size becomes.

    Returns:
        The same flow with scalar state alone, without claims.
    """
    entries = entries_at_size(size, sp.Tuple(*flow.state, *flow.data))
    write_out = lambda parts: tuple(chain.from_iterable(flat(part, entries) for part in parts))
    return replace(
        flow,
        state=write_out(flow.state),
        rates=write_out(flow.rates),
        data=write_out(flow.data),
        conserved=(),
        claims=(),
    )
