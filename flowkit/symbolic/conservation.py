"""Quantities that a flow conserves for every data, found by exact linear algebra.

Source: Marcotte, Gribonval, Peyre 2023 (arXiv:2307.00144).
"""

from collections.abc import Sequence
from functools import cache

import sympy as sp
from sympy import QQ, MatrixExpr
from sympy.polys.polyerrors import CoercionFailed
from sympy.polys.rings import PolyElement, PolyRing

from flowkit.claim import Claim
from flowkit.symbolic.balancedness import conservation_claim
from flowkit.symbolic.derivation import Derivation, mathml, vanishing
from flowkit.symbolic.entries import EntryFlow, Sizes, entry_flow, symbolic_sizes
from flowkit.symbolic.lie_algebra import Field, first_integrals

SOURCE = "Marcotte, Gribonval, Peyre 2023, arXiv:2307.00144"


def conserved_quantities(
    derivation: Derivation, *, degree: int = 2, sizes: Sizes | None = None
) -> tuple[sp.Expr | MatrixExpr, ...]:
    """The polynomials in the state that a flow leaves constant, whatever the data.

    All h up to a total degree with <grad h, rate> = 0, identically in the state and the data (and
    the time, where a rate holds it).

    Args:
        derivation: A flow whose rates are polynomials with rational coefficients.
        degree: The highest total degree; a flow of symbolic sizes does not use it.
        sizes: An integer for every symbolic size, by symbol or name.

    Returns:
        Functionally independent laws, the lowest degrees first, in the state or, for matrices, in
        their entries: every other law up to the degree is a function of them near a generic
        point. Without `sizes`, a flow of symbolic sizes returns the matrix laws it carries, once
        each is proved.

    Raises:
        ValueError: `degree` is no positive integer, `sizes` does not fit, a rate is no polynomial,
            or sizes are symbolic and the flow carries no law.
        ArithmeticError: the flow carries a law that it does not conserve.

    Source:
        arXiv:2307.00144, section 3. Checked by tests/symbolic/test_conservation.py.
    """
    if sizes is None and symbolic_sizes(derivation):
        return _proved(derivation)
    check_degree(degree)
    return _laws(entry_flow(derivation, sizes), degree)


def conservation_claims(flow: EntryFlow, laws: Sequence[sp.Expr]) -> tuple[Claim, ...]:
    """For each law the claim that it is constant along a flow, whatever the data.

    Args:
        flow: The flow, written out.
        laws: Expressions in its state.

    Returns:
        Claims that d(law)/dt expands to zero, one per law.
    """
    return tuple(law_claim(law, [flow.rates], flow.state) for law in laws)


def law_claim(
    law: sp.Expr, fields: Sequence[Sequence[sp.Expr]], state: Sequence[sp.Symbol]
) -> Claim:
    """The claim that <grad law, field> = 0 for each of several vector fields on the state."""
    partials = [law.diff(x) for x in state]
    along = lambda field: sp.Add(*(p * f for p, f in zip(partials, field, strict=True)))
    return Claim(
        name=f"conserved: {law}",
        statement=f"{law} is constant along the flow, for any data.",
        source=f"{SOURCE}, section 3",
        check=lambda: vanishing(*(sp.expand(along(field)) for field in fields)),
        formulas=(mathml(law),),
    )


@cache
def _laws(flow: EntryFlow, degree: int) -> tuple[sp.Expr, ...]:
    ring, fields = _fields(flow)
    return tuple(law.as_expr() for law in first_integrals(ring, fields, degree))


def _fields(flow: EntryFlow) -> tuple[PolyRing, list[Field]]:
    """The flow as sum_k (monomial k of the data) field_k: a law is constant along every field."""
    data = set().union(*(rate.free_symbols for rate in flow.rates)) - set(flow.state)
    joint = PolyRing((*flow.state, *sorted(data, key=str)), QQ)
    ring = PolyRing(flow.state, QQ)
    fields: dict[tuple, list[dict]] = {}
    for i, rate in enumerate(flow.rates):
        for exponents, coefficient in polynomial(joint, rate).terms():
            of_state, of_data = exponents[: len(flow.state)], exponents[len(flow.state) :]
            field = fields.setdefault(of_data, [{} for _ in flow.rates])
            field[i][of_state] = coefficient
    return ring, [tuple(ring.from_dict(part) for part in field) for field in fields.values()]


def polynomial(ring: PolyRing, expression: sp.Expr) -> PolyElement:
    """An expression as an element of a ring, or a ValueError that names it."""
    try:
        return ring.from_expr(expression)
    except (ValueError, CoercionFailed) as error:
        raise ValueError(
            f"Expression `{expression}` must be a polynomial with rational coefficients in "
            f"{', '.join(map(str, ring.symbols))}, but it is not."
        ) from error


def check_degree(degree: object) -> None:
    """Refuse what is no positive integer."""
    if not isinstance(degree, int) or isinstance(degree, bool) or degree < 1:
        raise ValueError(f"Argument `degree` must be a positive integer, but it is `{degree!r}`.")


def _proved(derivation: Derivation) -> tuple[MatrixExpr, ...]:
    """The matrix laws that a flow of symbolic sizes carries, each one proved."""
    if not derivation.conserved:
        raise ValueError(
            f"Argument `sizes` must give {', '.join(map(str, symbolic_sizes(derivation)))}: the "
            f"{derivation.name} carries no law of symbolic size, but laws of entries can be found."
        )
    rates = dict(zip(derivation.state, derivation.rates, strict=True))
    for law in derivation.conserved:
        verdict = conservation_claim(law, rates).check()
        if not verdict.passed:
            raise ArithmeticError(f"`{law}` is not conserved: {verdict.measured}.")
    return derivation.conserved
