"""Modified flows: what descent, with or without momentum, follows beyond the limit of small steps.

The recursion x_{k+1} = x_k + beta (x_k - x_{k-1}) + eta f(x_k), with beta = 0 for plain descent, is
matched with the flow of a combination of elementary differentials of f.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache

import sympy as sp

from flowkit.claim import Claim, Verdict
from flowkit.symbolic.derivation import TIME, Derivation, Variable, derive, vanishing
from flowkit.symbolic.expansions import (
    ETA,
    Series,
    Vector,
    autonomous,
    coefficients,
    combine,
    displacement,
    elementary_differentials,
    entrywise,
)
from flowkit.symbolic.vanishing import vanishes

BETA = sp.Symbol("beta", nonnegative=True)
"""The momentum, below 1."""

HIGHEST_ORDER = 2
WITNESS_SIZE = 2  # the smallest matrices that do not commute
BARRETT = "Barrett, Dherin 2021, arXiv:2009.11162"
HAIRER = "Hairer, Lubich, Wanner 2006, Geometric numerical integration, IX.1"
KOVACHKI = "Kovachki, Stuart 2021, arXiv:1906.04285"


@cache
def modified_flow(flow: Derivation, order: int) -> Derivation:
    """The flow that steps y + eta f(y) follow up to O(eta^(order + 2)) a step.

    dy/dt = f - eta/2 f'f + eta^2 (f''(f, f)/12 + f'f'f/3), order 1 ending before eta^2. The
    coefficients are solved for, not stated: see `expansion`. Of a time-dependent flow, time is one
    more state symbol.

    Args:
        flow: The flow whose Euler steps are meant. All its data count as constant: where data
            depend on the state, like the G of `factor_flow`, derive the flow from a loss instead.
        order: 0 for the flow itself, 1 or 2.

    Returns:
        The same state and data, and eta as data, per unit of the flow's own clock (step k is at
        k eta); with the claim that one step agrees with it.

    Raises:
        ValueError: `order` is not 0, 1 or 2, or the flow has a symbol named eta.
        UnsupportedExpressionError: a rate holds a node without a derivative rule.

    Source:
        Order 1: arXiv:2009.11162, Theorem 3.1. Order 2: Hairer, Lubich, Wanner 2006, IX.1. Checked
        by tests/symbolic/test_training_modified.py and derivations/C1_modified_flow.py.
    """
    _check(flow, order, ETA)
    source = BARRETT if order < HIGHEST_ORDER else HAIRER
    modified = _assemble(flow, order, sp.Integer(0), f"modified {flow.name}, order {order}", source)
    return replace(modified, claims=(recursion_claim(modified, flow, sp.Integer(0), order),))


@cache
def momentum_flow(flow: Derivation, order: int) -> Derivation:
    """The flow that the heavy ball follows at a fixed momentum, once it has forgotten its start.

    dy/dt = f/c - eta (1 + beta)/(2 c^3) f'f + eta^2/(12 c^5) [(1 + 10 beta + beta^2) f''(f, f)
    + 4 (1 + 4 beta + beta^2) f'f'f] with c = 1 - beta. Solved for by matching the recursion
    x_{k+1} = x_k + beta (x_k - x_{k-1}) + eta f(x_k).

    Args:
        flow: The flow of f. All its data count as constant, as in `modified_flow`.
        order: 0 for the limit, 1 or 2.

    Returns:
        The same state and data, and eta and beta as data, per unit of flow time (step k is at
        k eta); with the claims that the recursion agrees with it up to O(eta^(order + 2)), and
        that it is `modified_flow` at beta = 0.

    Raises:
        ValueError: `order` is not 0, 1 or 2, or the flow depends on time or has a symbol named
            eta or beta.
        UnsupportedExpressionError: a rate holds a node without a derivative rule.

    Source:
        arXiv:1906.04285. Checked by tests/symbolic/test_training_modified.py and
        derivations/C2_momentum.py.
    """
    _check(flow, order, ETA, BETA)
    refuse_time("flow", *flow.rates)
    slow = _assemble(flow, order, BETA, f"heavy ball on {flow.name}, order {order}", KOVACHKI)
    claims = recursion_claim(slow, flow, BETA, order), _plain_claim(slow, flow, order)
    return replace(slow, claims=claims)


@cache
def penalised_flow(loss: sp.Expr, parameters: tuple[Variable, ...]) -> Derivation:
    """Gradient flow of loss + eta/4 |grad loss|^2.

    Args:
        loss: The loss, as for `derive`.
        parameters: What is trained.

    Returns:
        The flow, with eta as data, and the claim that it is the modified flow of order 1.

    Raises:
        ValueError: as for `derive`, or the loss depends on time or has a symbol named eta.

    Source:
        arXiv:2009.11162, Theorem 3.1. Checked by tests/symbolic/test_training_modified.py.
    """
    plain = derive(loss, parameters)
    refuse_names("loss", plain.state + plain.data, ETA)
    refuse_time("loss", loss)
    flow = derive(loss + ETA / 4 * square(plain.rates), parameters)
    flow = replace(flow, name="gradient flow of the penalised loss", source=BARRETT)
    claim = Claim(
        name="implicit gradient penalty",
        statement="The modified flow of order 1 is gradient flow of loss + eta/4 |grad loss|^2.",
        source=f"{BARRETT}, Theorem 3.1",
        check=lambda: _check_equal(flow, modified_flow(plain, 1)),
        formulas=flow.mathml(),
    )
    return replace(flow, claims=(*flow.claims, claim))


@cache
def expansion(order: int) -> tuple[tuple[sp.Expr, ...], ...]:
    """Coefficients of the elementary differentials in the flow that a recursion follows.

    The ansatz c_0 f + eta c_1 f'f + eta^2 (c_2 f''(f, f) + c_3 f'f'f) is inserted into
    phi_eta(y) - y + beta (phi_{-eta}(y) - y) = eta f(y) and solved power by power. One generic
    function of one variable decides: up to order 2 the elementary differentials are there distinct
    monomials in f and its derivatives, and the coefficients are the same for every field.

    Args:
        order: 0, 1 or 2.

    Returns:
        The coefficients as functions of beta, for each power of eta those of its differentials.

    Source:
        The method of Hairer, Lubich, Wanner 2006, IX.1. Checked by
        tests/symbolic/test_training_modified.py.
    """
    y = sp.Symbol("y", real=True)
    field = (sp.Function("f")(y),)
    levels = elementary_differentials(field, (y,), order)
    unknowns = [sp.symbols(f"c_{power}_:{len(level)}") for power, level in enumerate(levels)]
    rates = tuple(
        combine(*zip(c, level, strict=True)) for c, level in zip(unknowns, levels, strict=True)
    )
    solved: dict[sp.Symbol, sp.Expr] = {}
    for c, (defect,) in zip(unknowns, _defects(rates, field, (y,), BETA), strict=True):
        equations = _by_monomial(defect.subs(solved), field[0], y, order)
        (solution,) = sp.solve(equations, c, dict=True)
        solved |= solution
    return tuple(tuple(sp.factor(solved[symbol]) for symbol in c) for c in unknowns)


def _by_monomial(defect: sp.Expr, f: sp.Expr, y: sp.Symbol, order: int) -> list[sp.Expr]:
    """The coefficients of the different monomials in f and its derivatives."""
    jet = sp.symbols(f"f_:{order + 1}")
    derivatives = [(f.diff(y, k), jet[k]) for k in range(order, 0, -1)]
    polynomial = sp.expand(defect.subs([*derivatives, (f, jet[0])]))
    return sp.Poly(polynomial, *jet).coeffs()


def _defects(rates: Series, field: Vector, state: Sequence[Variable], beta: sp.Expr) -> Series:
    """By power of eta: phi_eta(y) - y + beta (phi_{-eta}(y) - y) - eta f(y)."""
    ahead = displacement(rates, state)
    back = displacement(rates, state, -1) if beta != 0 else ahead  # times zero, any will do
    return tuple(
        combine((1, forth), (beta, behind), (-1 if power == 1 else 0, field))
        for power, (forth, behind) in enumerate(zip(ahead, back, strict=True), start=1)
    )


def _assemble(flow: Derivation, order: int, beta: sp.Expr, name: str, source: str) -> Derivation:
    whole = autonomous(flow)
    levels = elementary_differentials(whole.rates, whole.state, order)
    terms = [
        (ETA**power * c.subs(BETA, beta), differential)
        for power, (level, cs) in enumerate(zip(levels, expansion(order), strict=True))
        for differential, c in zip(level, cs, strict=True)
    ]
    rates = combine(*terms)[: len(flow.rates)]
    added = tuple(s for s in (ETA, BETA) if any(rate.has(s) for rate in rates))
    return Derivation(
        name=name,
        state=flow.state,
        rates=rates,
        data=(*flow.data, *added),
        source=source,
        loss=flow.loss,
    )


def recursion_claim(slow: Derivation, flow: Derivation, beta: sp.Expr, order: int) -> Claim:
    """The claim that the points phi_{k eta}(y) of a slow flow satisfy a recursion.

    It is read off the rates of `slow`, entry by entry at size 2.
    """
    return Claim(
        name=f"steps of the {slow.name}",
        statement=f"Points eta apart on the flow obey the recursion up to O(eta^{order + 2}).",
        source=slow.source,
        check=lambda: _check_recursion(slow, flow, beta, order),
        formulas=slow.mathml(),
    )


def _check_recursion(slow: Derivation, flow: Derivation, beta: sp.Expr, order: int) -> Verdict:
    slow, flow = (autonomous(entrywise(each, WITNESS_SIZE)) for each in (slow, flow))
    rates = coefficients(slow.rates, order + 1)
    defects = _defects(rates, flow.rates, flow.state, beta)
    wrong = [sum(not vanishes(entry) for entry in defect) for defect in defects]
    return Verdict(
        passed=not any(wrong),
        kind="proved",
        measured=f"entries of the powers 1 to {order + 1} of eta that differ: {wrong}",
        expected=f"entries that differ: {[0] * (order + 1)}",
        numbers={f"entries that differ at eta^{n}": count for n, count in enumerate(wrong, 1)},
    )


def _plain_claim(slow: Derivation, flow: Derivation, order: int) -> Claim:
    return Claim(
        name=f"no momentum: {slow.name}",
        statement="At beta = 0 the flow of the heavy ball is the modified flow of descent.",
        source=slow.source,
        check=lambda: _check_equal(
            replace(slow, rates=tuple(rate.subs(BETA, 0) for rate in slow.rates)),
            modified_flow(flow, order),
        ),
    )


def _check_equal(flow: Derivation, other: Derivation) -> Verdict:
    """Entry by entry at size 2."""
    pair = (entrywise(each, WITNESS_SIZE).rates for each in (flow, other))
    return vanishing(*(sp.expand(a - b) for a, b in zip(*pair, strict=True)))


def square(vector: Vector) -> sp.Expr:
    """The sum of the squares of all entries."""
    return sp.Add(*(sp.Trace(v.T * v) if isinstance(v, sp.MatrixExpr) else v**2 for v in vector))


def refuse_time(argument: str, *expressions: sp.Basic) -> None:
    """Refuse what depends on time, where a formula holds for autonomous flows alone."""
    if any(expression.has(TIME) for expression in expressions):
        raise ValueError(f"Argument `{argument}` must not depend on time, but it contains `t`.")


def refuse_names(argument: str, symbols: Iterable[Variable], *reserved: sp.Symbol) -> None:
    """Refuse symbols that are named like one which a derivation adds."""
    names = {symbol.name for symbol in reserved}
    if taken := sorted({symbol.name for symbol in symbols} & names):
        raise ValueError(
            f"Argument `{argument}` must leave the name `{taken[0]}` free, but has such a symbol."
        )


def _check(flow: Derivation, order: int, *reserved: sp.Symbol) -> None:
    if isinstance(order, bool) or order not in range(HIGHEST_ORDER + 1):
        raise ValueError(f"Argument `order` must be 0, 1 or 2, but it is {order!r}.")
    refuse_names("flow", (*flow.state, *flow.data), *reserved)
